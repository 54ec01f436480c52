package app

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/klamm-gateway/klamm"

// brokerTalk are the packages that talk to brokers; the record type itself may
// be used everywhere.
var brokerTalk = []string{"github.com/twmb/franz-go/pkg/kadm", "github.com/twmb/franz-go/pkg/kfake"}

func TestImportsFollowTheHouseRules(t *testing.T) {
	root := ".."
	h := house{rooms: readRooms(t, filepath.Join(root, "ARCHITECTURE.md")), used: map[string]map[string]bool{}}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "testdata" || ownModule(path)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		rel, _ := filepath.Rel(root, path)
		h.check(t, filepath.ToSlash(rel), path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for room, may := range h.rooms {
		used := h.used[room]
		if used == nil {
			t.Errorf("ARCHITECTURE.md has %s in its table of rooms, and there is no such package", room)
			continue
		}
		for _, m := range may {
			if m != "*" && !used[m] {
				t.Errorf("ARCHITECTURE.md lets %s import %s, which it does not", room, m)
			}
		}
	}
}

// A house is what ARCHITECTURE.md says of the packages, and what was found.
type house struct {
	// rooms says what each package may import of klamm. A name that ends in "/*"
	// stands for every package below that has no line of its own, and "*" for all.
	rooms map[string][]string
	// used are the entries of each room that an import has needed.
	used map[string]map[string]bool
}

// readRooms reads the table of section 2: the first name of a line's first cell, and all
// names of its last one.
func readRooms(t *testing.T, path string) map[string][]string {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## 2. ")
	section, _, _ = strings.Cut(section, "\n### ")
	rooms := map[string][]string{}
	name := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 3 || !strings.HasPrefix(cells[0], "| `") {
			continue
		}
		room := name.FindStringSubmatch(cells[0])[1]
		if _, twice := rooms[room]; twice {
			t.Errorf("%s: %s stands in the table twice", path, room)
		}
		switch last := strings.TrimSuffix(cells[2], " |"); last {
		case "-":
			rooms[room] = nil
		case "everything":
			rooms[room] = []string{"*"}
		default:
			for _, m := range name.FindAllStringSubmatch(last, -1) {
				rooms[room] = append(rooms[room], m[1])
			}
			if len(rooms[room]) == 0 {
				t.Errorf("%s: want names in backquotes, everything or - in the last cell of %s", path, room)
			}
		}
	}
	if len(rooms) < 20 {
		t.Fatalf("%s: the table of section 2 was not found", path)
	}
	return rooms
}

// ownModule says whether a folder is a module of its own, as a user's program is.
func ownModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func (h house) check(t *testing.T, rel, path string) {
	t.Helper()
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), path, source, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	room := rel[:strings.LastIndex(rel, "/")]
	if strings.HasSuffix(room, "test") { // conformance suites start whole servers
		return
	}
	entry := room
	may, ok := h.rooms[entry]
	if !ok {
		entry = room[:strings.IndexByte(room+"/", '/')] + "/*"
		may, ok = h.rooms[entry]
	}
	if !ok {
		t.Errorf("%s: package %s is not in the table of rooms; add it to section 2 of ARCHITECTURE.md", rel, room)
		return
	}
	if h.used[entry] == nil {
		h.used[entry] = map[string]bool{}
	}
	for _, spec := range f.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		if slices.Contains(brokerTalk, imported) && room != "kafka" && room != "broker" && room != "bench" {
			t.Errorf("%s imports %s: only kafka and broker talk to brokers", rel, imported)
		}
		short, own := strings.CutPrefix(imported, module+"/")
		if !own {
			continue
		}
		if by, ok := allowed(may, short); ok {
			h.used[entry][by] = true
		} else {
			t.Errorf("%s imports %s, but ARCHITECTURE.md lets %s import only %v", rel, short, room, may)
		}
	}
}

// allowed returns the entry that allows an import, if one does.
func allowed(may []string, imported string) (by string, ok bool) {
	for _, m := range may {
		if m == "*" || m == imported || strings.HasSuffix(m, "/*") && strings.HasPrefix(imported, strings.TrimSuffix(m, "*")) {
			return m, true
		}
	}
	return "", false
}
