package console_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/console"
)

// sources gives every file below assets by its path there.
func sources(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	root := os.DirFS("assets")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		all[name], err = fs.ReadFile(root, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func get(t *testing.T, name string, headers map[string]string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, console.Prefix+name, nil)
	for k, v := range headers {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	console.Serve(w, r, name)
	return w.Result()
}

func body(t *testing.T, from *http.Response) []byte {
	t.Helper()
	defer func() { _ = from.Body.Close() }()
	data, err := io.ReadAll(from.Body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestEveryFileIsServed(t *testing.T) {
	kinds := map[string]string{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	weight := 0
	for name, want := range sources(t) {
		plain := get(t, name, nil)
		if got := body(t, plain); plain.StatusCode != http.StatusOK || !bytes.Equal(got, want) {
			t.Errorf("%s: status %d, %d bytes, want 200 and %d bytes", name, plain.StatusCode, len(got), len(want))
		}
		if got := plain.Header.Get("Content-Type"); got != kinds[path.Ext(name)] || got == "" {
			t.Errorf("%s: Content-Type %q, want %q", name, got, kinds[path.Ext(name)])
		}
		held(t, name, plain.Header)

		etag := plain.Header.Get("ETag")
		again := get(t, name, map[string]string{"If-None-Match": etag})
		if got := body(t, again); again.StatusCode != http.StatusNotModified || len(got) != 0 || etag == "" {
			t.Errorf("%s: asked again with ETag %q: status %d with %d bytes, want 304 without", name, etag, again.StatusCode, len(got))
		}
		held(t, name, again.Header)

		packed := get(t, name, map[string]string{"Accept-Encoding": "br, gzip"})
		data := body(t, packed)
		weight += len(data)
		if packed.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s: not compressed for who takes gzip", name)
			continue
		}
		unpack, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := io.ReadAll(unpack); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: unpacked it is %d bytes (%v), want %d", name, len(got), err, len(want))
		}
	}
	if weight > 300_000 {
		t.Errorf("all files together are %d bytes with gzip; even who opens every screen is to load less than 300 kB", weight)
	}
}

// held fails if an answer does not hold a browser back.
func held(t *testing.T, name string, h http.Header) {
	t.Helper()
	policy := h.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "require-trusted-types-for 'script'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("%s: the policy %q does not say %s", name, policy, want)
		}
	}
	for _, worse := range []string{"unsafe-", "*", "data:", "http:", "https:"} {
		if strings.Contains(policy, worse) {
			t.Errorf("%s: the policy %q says %s", name, policy, worse)
		}
	}
	if got := h.Get("X-Content-Type-Options"); got != "nosniff" {
		t.Errorf("%s: X-Content-Type-Options %q, want nosniff", name, got)
	}
}

func TestTheFirstPage(t *testing.T) {
	first, named := body(t, get(t, "", nil)), body(t, get(t, "index.html", nil))
	if !bytes.Equal(first, named) || !bytes.Contains(first, []byte("<!doctype html>")) {
		t.Errorf("the empty path is not the first page: %.80q", first)
	}
	there := sources(t)
	for _, at := range regexp.MustCompile(`(?:href|src)="([^"#]+)"`).FindAllStringSubmatch(string(first), -1) {
		if _, ok := there[strings.TrimPrefix(at[1], console.Prefix)]; !ok || !strings.HasPrefix(at[1], console.Prefix) {
			t.Errorf("the first page asks for %s, which is not there", at[1])
		}
	}
}

func TestWhatIsNotThere(t *testing.T) {
	for _, name := range []string{"nothing.js", "js", "../console.go", "js/../index.html", "/index.html", "assets/index.html", "index.html/"} {
		answer := get(t, name, nil)
		if got := body(t, answer); answer.StatusCode != http.StatusNotFound {
			t.Errorf("%q: status %d with %.40q, want 404", name, answer.StatusCode, got)
		}
		held(t, name, answer.Header)
	}
}

func TestWhoWantsTheConsole(t *testing.T) {
	for name, test := range map[string]struct {
		accept []string
		want   bool
	}{
		"a browser":      {[]string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, true},
		"with a quality": {[]string{"application/json, Text/HTML;q=0.5"}, true},
		"two headers":    {[]string{"application/json", "text/html"}, true},
		"curl":           {[]string{"*/*"}, false},
		"a client":       {[]string{"application/vnd.kafka.v2+json, application/json"}, false},
		"any text":       {[]string{"text/*"}, false},
		"nothing said":   {nil, false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Accept"] = test.accept
		if got := console.Wants(r); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestModulesImportWhatThereIs(t *testing.T) {
	there := sources(t)
	imports := regexp.MustCompile(`(?m)^(?:(?:import|export|\})[^'"\n]*\bfrom|import)\s+['"]([^'"\n]+)['"];$|\bimport\(['"]([^'"\n]+)['"]`)
	screens := regexp.MustCompile(`screen\('[^']*', '([a-z]+)'`)
	seen := 0
	for name, source := range there {
		if path.Ext(name) != ".js" {
			continue
		}
		for _, at := range imports.FindAllSubmatch(source, -1) {
			seen++
			wanted := string(at[1]) + string(at[2])
			if _, ok := there[path.Join(path.Dir(name), wanted)]; !ok || !strings.HasPrefix(wanted, "./") && !strings.HasPrefix(wanted, "../") {
				t.Errorf("%s imports %s, which is not there", name, wanted)
			}
		}
	}
	if seen < 40 {
		t.Errorf("only %d imports were found", seen)
	}
	list := screens.FindAllSubmatch(there["js/screens.js"], -1)
	if len(list) < 18 {
		t.Errorf("the list has %d screens, want 18 at least", len(list))
	}
	for _, at := range list {
		source, ok := there["js/screens/"+string(at[1])+".js"]
		if !ok || !regexp.MustCompile(`export (async )?(function|const) show\b`).Match(source) {
			t.Errorf("js/screens/%s.js is not there, or exports no show", at[1])
		}
	}
}

// TestNothingIsParsedAsMarkup keeps out of the sources what would let a browser take text
// for markup or programs, or load from elsewhere.
func TestNothingIsParsedAsMarkup(t *testing.T) {
	never := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setHTMLUnsafe|createContextualFragment|DOMParser|srcdoc|javascript:|['"]style['"]|\bstyle=|\bstyle:|\.style\b|\.cssText|https?://(?:www\.w3\.org/2000/svg)?`)
	names := "http://www.w3.org/2000/svg"
	for name, source := range sources(t) {
		if kind := path.Ext(name); kind != ".js" && kind != ".html" {
			continue
		}
		for i, line := range strings.Split(string(source), "\n") {
			if comment := strings.Index(line, "// "); comment >= 0 && strings.TrimSpace(line[:comment]) == "" {
				continue
			}
			for _, found := range never.FindAllString(line, -1) {
				if found != names && !placeholder.MatchString(line) {
					t.Errorf("%s:%d: %s in %q", name, i+1, found, strings.TrimSpace(line))
				}
			}
		}
	}
}

// placeholder is where the address of something else stands as an example for a reader.
var placeholder = regexp.MustCompile(`https?://[^'"` + "`" + `]*(?:example\.(?:com|org)|127\.0\.0\.1|localhost)|startsWith\('https?://|https\?:`)
