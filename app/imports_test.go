package app

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/klamm-gateway/klamm"

// rooms says what each package may import of klamm, as ARCHITECTURE.md does.
// An entry that ends in "/*" stands for every package below it.
var rooms = map[string][]string{
	"accesslog":         {},
	"app":               {"*"},
	"bench":             {"broker", "event", "function", "rule", "scan"},
	"broker":            {},
	"broker/brokertest": {"broker"},
	"catalog":           {"function", "kafka", "rule", "secret", "table", "transform"},
	"cmd/klamm":         {"trace", "app", "bench", "broker", "config", "event", "function", "gate", "kafka", "openapi", "rule", "schema", "target/all", "target/log", "transform"},
	"certificate":       {"secret"},
	"cloudevent":        {"scan"},
	"console":           {},
	"config":            {"accesslog", "catalog", "certificate", "cloudevent", "front", "front/*", "function", "gate", "kafka", "objectstore", "schema", "secret", "shape", "target", "target/all", "throttle"},
	"config/reference":  {"config", "target/all"},
	"deploy/chaos":      {"kafka"},
	"deploy/siege":      {},
	"deploy/soak":       {"kafka"},
	"event":             {"scan"},
	"front":             {"accesslog", "trace", "gate", "kafka", "scan", "shape"},
	"front/auth":        {"certificate", "front", "gate", "iam", "kafka", "secret", "table"},
	"front/aws":         {"catalog", "event", "front", "function", "gate", "pipe", "rule", "scan", "schedule", "schema", "target", "target/bus", "target/log", "target/webhook", "transform"},
	"front/klamm":       {"catalog", "cloudevent", "console", "event", "front", "front/auth", "function", "gate", "history", "kafka", "peer", "pipe", "rule", "scan", "transform"},
	"front/light":       {"cloudevent", "event", "front", "gate", "kafka", "peer", "rule", "scan", "schema"},
	"front/confluent2":  {"cloudevent", "front", "gate", "kafka", "peer", "scan", "schema"},
	"front/confluent3":  {"front", "gate", "kafka", "scan", "schema"},
	"front/ingress":     {"front", "gate", "kafka", "scan", "secret"},
	"front/route":       {"front", "gate", "kafka", "shape"},
	"front/registry":    {"front", "gate", "registry", "schema"},
	"front/connect":     {"catalog", "front", "gate", "kafka", "pipe", "target/sink"},
	"front/*":           {"front", "gate", "kafka", "scan"},
	"history":           {},
	"iam":               {},
	"function":          {"cloudevent", "scan", "secret", "trace"},
	"gate":              {"catalog", "event", "function", "iam", "kafka", "peer", "registry", "rule", "schema", "table", "throttle", "transform"},
	"kafka":             {"certificate", "secret"},
	"objectstore":       {"secret"},
	"peer":              {"kafka", "table"},
	"pipe":              {"catalog", "event", "function", "kafka", "rule", "scan", "schema", "secret", "table", "target", "trace", "transform"},
	"registry":          {"kafka", "scan", "schema", "table"},
	"rule":              {"scan"},
	"scan":              {},
	"replay":            {"catalog", "event", "kafka"},
	"schedule":          {},
	"openapi":           {},
	"schema":            {"certificate", "scan", "secret"},
	"shape":             {"schema"},
	"secret":            {},
	"table":             {"kafka"},
	"target":            {"event", "function", "secret"},
	"target/function":   {"event", "function", "target"},
	"target/*":          {"trace", "target", "event", "scan", "secret", "transform"},
	"target/all":        {"target", "target/*"},
	"throttle":          {},
	"tick":              {"catalog", "event", "kafka", "schedule", "table"},
	"trace":             {},
	"transform":         {"event", "scan"},
}

// brokerTalk are the packages that talk to brokers; the record type itself may
// be used everywhere.
var brokerTalk = []string{"github.com/twmb/franz-go/pkg/kadm", "github.com/twmb/franz-go/pkg/kfake"}

func TestImportsFollowTheHouseRules(t *testing.T) {
	root := ".."
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
		checkFile(t, filepath.ToSlash(rel), path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// ownModule says whether a folder is a module of its own, as a user's program is.
func ownModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func checkFile(t *testing.T, rel, path string) {
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
	may, ok := rooms[room]
	if !ok {
		may, ok = rooms[room[:strings.IndexByte(room+"/", '/')]+"/*"]
	}
	if !ok {
		t.Errorf("%s: package %s is not in the table of rooms; add it there and to ARCHITECTURE.md", rel, room)
		return
	}
	for _, spec := range f.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		if slices.Contains(brokerTalk, imported) && room != "kafka" && room != "broker" && room != "bench" {
			t.Errorf("%s imports %s: only kafka and broker talk to brokers", rel, imported)
		}
		short, own := strings.CutPrefix(imported, module+"/")
		if own && !allowed(may, short) {
			t.Errorf("%s imports %s, but %s may import only %v", rel, short, room, may)
		}
	}
}

func allowed(may []string, imported string) bool {
	for _, m := range may {
		if m == "*" || m == imported || strings.HasSuffix(m, "/*") && strings.HasPrefix(imported, strings.TrimSuffix(m, "*")) {
			return true
		}
	}
	return false
}
