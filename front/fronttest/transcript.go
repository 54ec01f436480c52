package fronttest

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/kafka"
)

var update = flag.Bool("update", false, "rewrite the transcripts with the answers that were got")

// A Mask stands in transcripts for what differs from run to run: matches of the
// pattern in an answer's body become the text.
type Mask struct {
	Pattern *regexp.Regexp
	Text    string
}

// Transcripts runs every file DIR/*.txt as a subtest of its name. A file is
//
//	# What the case shows.
//	! topic {topic} 2
//	POST /topics/{topic}
//	Content-Type: text/plain
//
//	hello
//	----
//	200
//	Content-Type: application/vnd.kafka.v2+json
//
//	{"offsets":...}
//
// The line with "!" creates a topic with so many partitions first. {topic},
// {topic2} and so on are names of the case's own; {missing} is one that nobody
// creates. A body that begins with go:" is a string literal of Go. Further
// requests follow after a line ====. Of the answer everything counts but the HTTP
// headers Date, Content-Length and X-Request-Id. A request that has changed nothing
// is repeated for a while if its answer is another one: on a real cluster what was
// done before may take effect later. With -update the files are rewritten.
func (s *Server) Transcripts(t *testing.T, dir string, masks ...Mask) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := s.play(t, string(text), masks)
			if got == string(text) {
				return
			}
			if !*update {
				t.Errorf("%s (-want +got):\n%s", file, cmp.Diff(strings.Split(string(text), "\n"), strings.Split(got, "\n")))
				return
			}
			if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
}

const (
	endOfRequest = "\n----\n"
	nextRequest  = "\n====\n"
)

// play runs one transcript and returns it with the answers that were got.
func (s *Server) play(t *testing.T, text string, masks []Mask) string {
	t.Helper()
	names := newNames(t)
	var out strings.Builder
	end := time.Now().Add(patience)
	for i, exchange := range strings.Split(strings.TrimSuffix(text, "\n"), nextRequest) {
		if i > 0 {
			out.WriteString(nextRequest)
		}
		request, want, _ := strings.Cut(exchange+"\n", endOfRequest)
		request = strings.TrimSuffix(request, "\n")
		out.WriteString(request + endOfRequest)
		line, request := s.directives(t, names, request)
		got := names.hide(s.send(t, names.show(line), names.show(request), masks))
		for !*update && strings.TrimSpace(got) != strings.TrimSpace(want) && changesNothing(line, got) && time.Now().Before(end) {
			<-time.After(50 * time.Millisecond)
			got = names.hide(s.send(t, names.show(line), names.show(request), masks))
		}
		out.WriteString(got)
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}

// patience is how long the requests of a transcript are repeated, all together.
const patience = 30 * time.Second

// changesNothing says whether a request with such an answer can be repeated: one that
// was refused, and one that reads, unless it moves on by what it has read.
func changesNothing(line, answer string) bool {
	if answer >= "4" {
		return true
	}
	if !strings.HasPrefix(line, "GET ") && !strings.HasPrefix(line, "HEAD ") {
		return false
	}
	return !strings.HasPrefix(line, "GET /consumers/") || !strings.Contains(line, "/records") || strings.HasSuffix(answer, "\n[]")
}

// directives does what stands before a request, and returns its first line and the
// rest.
func (s *Server) directives(t *testing.T, names *names, request string) (line, rest string) {
	t.Helper()
	for {
		line, request, _ = strings.Cut(request, "\n")
		directive, isDirective := strings.CutPrefix(line, "! ")
		switch {
		case isDirective:
			s.prepare(t, names.show(directive))
		case !strings.HasPrefix(line, "#"):
			return line, request
		}
	}
}

// prepare does what a line with "!" says.
func (s *Server) prepare(t *testing.T, directive string) {
	t.Helper()
	var name string
	var partitions int32
	if _, err := fmt.Sscanf(directive, "topic %s %d", &name, &partitions); err != nil {
		t.Fatalf("%q: want topic NAME PARTITIONS", directive)
	}
	s.Topic(t, name, partitions)
}

// Topic creates a topic and waits until it can be described.
func (s *Server) Topic(t testing.TB, name string, partitions int32) {
	t.Helper()
	if err := s.Cluster.EnsureTopic(t.Context(), name, partitions, nil); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; {
		topic, err := s.Cluster.Topic(t.Context(), name)
		if err == nil && len(topic.Partitions) == int(partitions) && !slices.ContainsFunc(topic.Partitions, func(p kafka.Partition) bool { return p.Leader < 0 }) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("topic %s is not there after a minute: %v", name, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// send sends a request; line is its method and path, rest its headers and body.
func (s *Server) send(t *testing.T, line, rest string, masks []Mask) string {
	t.Helper()
	method, path, ok := strings.Cut(line, " ")
	if !ok {
		t.Fatalf("%q: want a method and a path", line)
	}
	head, body, _ := strings.Cut("\n"+rest, "\n\n")
	if literal, isLiteral := strings.CutPrefix(body, "go:"); isLiteral {
		var err error
		if body, err = strconv.Unquote(literal); err != nil {
			t.Fatalf("%s: %v", literal, err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for field := range strings.SplitSeq(strings.TrimPrefix(head, "\n"), "\n") {
		if name, value, ok := strings.Cut(field, ": "); ok {
			req.Header.Add(name, value)
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return write(resp, string(answer), masks)
}

var client = &http.Client{
	Timeout:       2 * time.Minute,
	Transport:     &http.Transport{DisableCompression: true, DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// write writes an answer down.
func write(resp *http.Response, body string, masks []Mask) string {
	var out strings.Builder
	fmt.Fprintln(&out, resp.StatusCode)
	for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
		if name == "Date" || name == "Content-Length" || name == "Connection" || name == "X-Request-Id" {
			continue
		}
		for _, value := range resp.Header[name] {
			fmt.Fprintf(&out, "%s: %s\n", name, value)
		}
	}
	if body == "" {
		return strings.TrimSuffix(out.String(), "\n")
	}
	for _, m := range masks {
		body = m.Pattern.ReplaceAllString(body, m.Text)
	}
	return out.String() + "\n" + body
}

// names are the topic names of one case.
type names struct {
	unique string
	real   map[string]string // by placeholder
}

var placeholder = regexp.MustCompile(`\{(topic\d*|missing)\}`)

func newNames(t *testing.T) *names {
	return &names{unique: fmt.Sprintf("%s-%d", strings.ReplaceAll(t.Name(), "/", "-"), time.Now().UnixNano()), real: map[string]string{}}
}

// show puts the case's names in the place of placeholders.
func (n *names) show(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(p string) string {
		n.real[p] = strings.Trim(p, "{}") + "-" + n.unique
		return n.real[p]
	})
}

// hide does the reverse.
func (n *names) hide(text string) string {
	for p, name := range n.real {
		text = strings.ReplaceAll(text, name, p)
	}
	return text
}
