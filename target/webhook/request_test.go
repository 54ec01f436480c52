package webhook

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

// A seen is a request as it came.
type seen struct {
	Method, URI, Host string
	Header            http.Header
	Body              string
}

// A receiver remembers requests and answers as it is told to.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex // guards everything below
	got  []seen
	serv http.HandlerFunc // nil: 200
}

func newReceiver(t testing.TB, answer http.HandlerFunc) *receiver {
	r := &receiver{}
	r.serv = answer
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	r.got = append(r.got, seen{req.Method, req.RequestURI, req.Host, req.Header, string(body)})
	answer := r.serv
	r.mu.Unlock()
	if answer != nil {
		answer(w, req)
	}
}

func (r *receiver) all() []seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]seen(nil), r.got...)
}

func (r *receiver) last(t testing.TB) seen {
	t.Helper()
	all := r.all()
	if len(all) == 0 {
		t.Fatal("nothing arrived")
	}
	return all[len(all)-1]
}

// open opens a target that shares nothing with another one.
func open(raw json.RawMessage, env target.Env) (target.Target, error) { return Kind().Open(raw, env) }

// opened opens a target in the given environment.
func opened(t testing.TB, c Config, env target.Env) *webhook {
	t.Helper()
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	tg, err := open(raw, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tg.Close() })
	return tg.(*webhook)
}

func given(value string) secret.Ref { return secret.Ref{Value: value} }

// order is the event of the tests about requests.
func order() *event.Event {
	e := targettest.Event(7, "c 7/é", `{"id":7,"name":"Kim & \"Söhne\" <x>","tags":["new","eu"],"odd":"a\r\nX-Evil: 1","dots":"..","up":"../../admin","nothing":null,"host":"evil.example"}`)
	e.Record.Headers = []kgo.RecordHeader{{Key: "tenant", Value: []byte("acme")}}
	return e
}

func TestRequests(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config // URL is what follows the host
		uri    string
		header map[string]string
		body   string
	}{
		{"placeholders in path and query", Config{URL: "/t/<$.topic>/<$.key>/<$.value.id>?who=<$.value.name>"}, "/t/source/c%207%2F%C3%A9/7?who=Kim%20%26%20%22S%C3%B6hne%22%20%3Cx%3E", nil, ""},
		{"a placeholder beside literals", Config{URL: "/a-<$.value.id>.json?q=<<$.value.id>>"}, "/a-7.json?q=%3C7%3E", nil, ""},
		{"an array is JSON", Config{URL: "/?tags=<$.value.tags>&one=<$.value.tags[1]>&e"}, "/?tags=%5B%22new%22%2C%22eu%22%5D&one=eu&e", nil, ""},
		{"what is missing in a query is empty", Config{URL: "?a=<$.value.gone>&b=<$.value.nothing>"}, "/?a=&b=", nil, ""},
		{"what cannot stand in a URL is encoded", Config{URL: "/a b/ü/%2F/%zz/<$.value.id>?q=ü \"&r=[1]"}, "/a%20b/%C3%BC/%2F/%25zz/7?q=%C3%BC%20%22&r=%5B1%5D", nil, ""},
		{"also where nothing has placeholders", Config{URL: "/a b?q=a b&r[0]=ü"}, "/a%20b?q=a%20b&r%5B0%5D=%C3%BC", nil, ""},
		{"path parameters", Config{URL: "/*/x/*?q=*", PathParameters: []string{"<$.value.id>", "a/b <$.key>", "1&2=3", "more"}}, "/7/x/a%2Fb%20c%207%2F%C3%A9?q=1%262%3D3", nil, ""},
		{"an empty path parameter", Config{URL: "/a/*/b", PathParameters: []string{"<$.value.gone>"}}, "/a//b", nil, ""},
		{"a * without path parameters", Config{URL: "/a/*?b=<$.value.id>"}, "/a/*?b=7", nil, ""},
		{"query wins over the URL", Config{URL: "/?a=1&b=2&%61=3", Query: map[string]string{"a": "x&y=<$.value.id>", "c d": "é"}}, "/?b=2&a=x%26y%3D7&c%20d=%C3%A9", nil, ""},
		{"names from the record", Config{URL: "/?tenant=1&id=2", Query: map[string]string{"q": "3"}, Connection: &Connection{Query: map[string]secret.Ref{"new": given("theirs")}},
			NamedQuery: map[string]string{"<$.value.name>": "<$.value.id>", "<$.value.gone>": "x", "<$.value.tags[0]>": "y", "<$.value.tags[1]>": "a&b=c", "<$.value.id>": "<$.value.gone>"}},
			"/?tenant=1&id=2&q=3&7=&Kim%20%26%20%22S%C3%B6hne%22%20%3Cx%3E=7&eu=a%26b%3Dc&new=theirs", nil, ""},
		{"no name from the record twice, nor one that is configured", Config{URL: "/?tenant=1&%65u=2", NamedQuery: map[string]string{"<$.value.tags[0]>": "1", "<$.value['tags'][0]>": "2", "<$.value.tags[1]>": "3"}},
			"/?tenant=1&%65u=2&new=1", nil, ""},
		{"the connection wins over all", Config{URL: "/?a=1&b=2", Query: map[string]string{"a": "3", "c": "4"}, Headers: map[string]string{"X-A": "mine", "x-b": "mine <$.value.id>"},
			Connection: &Connection{Query: map[string]secret.Ref{"a": given("s&t"), "b": given("u")}, Headers: map[string]secret.Ref{"x-a": given("theirs"), "X-B": given("theirs")}, Body: map[string]secret.Ref{"id": given("q\"r")}}},
			"/?c=4&a=s%26t&b=u", map[string]string{"X-A": "theirs", "X-B": "theirs"}, `{"name":"Kim & \"Söhne\" <x>","tags":["new","eu"],"odd":"a\r\nX-Evil: 1","dots":"..","up":"../../admin","nothing":null,"host":"evil.example","id":"q\"r"}`},
		{"headers with placeholders", Config{Headers: map[string]string{"X-Who": "<$.headers.tenant[0]>/<$.value.id>", "X-Gone": "<$.value.gone>", "X-Name": "<$.value.name>", "Content-Type": "application/vnd.<$.topic>+json"}},
			"/", map[string]string{"X-Who": "acme/7", "X-Gone": "", "X-Name": `Kim & "Söhne" <x>`, "Content-Type": "application/vnd.source+json"}, ""},
		{"a header over klamm's own", Config{Headers: map[string]string{"Klamm-Topic": "mine", "host": "other.example"}}, "/", map[string]string{"Klamm-Topic": "mine"}, ""},
		{"a JSON body", Config{Body: &Body{Template: `{"id": <$.value.id>, "text": "n: <$.value.name>, <$.value.tags><$.value.gone>", "gone": <$.value.gone>, "<$.key>": <$.value.tags>}`}},
			"/", map[string]string{"Content-Type": "application/json"}, `{"id": 7, "text": "n: Kim & \"Söhne\" <x>, [\"new\",\"eu\"]", "gone": null, "c 7/é": ["new","eu"]}`},
		{"a form", Config{Body: &Body{Template: "id=<$.value.id>&name=<$.value.name>", Escape: "form"}}, "/", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, "id=7&name=Kim%20%26%20%22S%C3%B6hne%22%20%3Cx%3E"},
		{"XML", Config{Body: &Body{Template: `<o id="<$.value.id>"><$.value.name></o>`, Escape: "xml"}}, "/", map[string]string{"Content-Type": "application/xml"}, "<o id=\"7\">Kim &amp; &#34;Söhne&#34; &lt;x&gt;</o>"},
		{"text", Config{Body: &Body{Template: "<$.body.name>!", Escape: "none", ContentType: "text/markdown"}}, "/", map[string]string{"Content-Type": "text/markdown"}, `Kim & "Söhne" <x>!`},
		{"a body that is always the same", Config{Body: &Body{Template: "ping", Escape: "none"}, Headers: map[string]string{"Content-Type": "text/x-ping"}}, "/", map[string]string{"Content-Type": "text/x-ping"}, "ping"},
		{"basic", Config{Auth: &Auth{Basic: &Basic{"kim", given("p:w")}}}, "/", map[string]string{"Authorization": "Basic a2ltOnA6dw=="}, ""},
		{"an API key", Config{Auth: &Auth{APIKey: &APIKey{"X-Api-Key", given("k")}}, Headers: map[string]string{"x-api-key": "mine"}}, "/", map[string]string{"X-Api-Key": "k"}, ""},
		{"bearer", Config{Auth: &Auth{Bearer: given("tok")}, Headers: map[string]string{"authorization": "mine"}}, "/", map[string]string{"Authorization": "Bearer tok"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver(t, nil)
			c.config.URL = r.URL + c.config.URL
			w := opened(t, c.config, targettest.Env(t, ""))
			if err := w.Deliver(t.Context(), []*event.Event{order()}); err != nil {
				t.Fatal(err)
			}
			got := r.last(t)
			if got.URI != c.uri {
				t.Errorf("URI %s, want %s", got.URI, c.uri)
			}
			for name, want := range c.header {
				if value := got.Header.Get(name); value != want {
					t.Errorf("%s is %q, want %q", name, value, want)
				}
			}
			want := c.body
			if want == "" {
				want = string(order().Record.Value)
			}
			if diff := cmp.Diff(want, got.Body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if got.Header.Get("Klamm-Delivery-Id") != "id-7" || got.Header.Get("Klamm-Pipe") != "test" {
				t.Errorf("klamm's own headers: %v", got.Header)
			}
		})
	}
}

func TestMethods(t *testing.T) {
	r := newReceiver(t, nil)
	for _, method := range []string{"", "POST", "PUT", "PATCH", "GET", "DELETE", "HEAD", "OPTIONS"} {
		w := opened(t, Config{URL: r.URL, Method: method}, targettest.Env(t, ""))
		if err := w.Deliver(t.Context(), []*event.Event{order()}); err != nil {
			t.Fatal(err)
		}
		want := method
		if want == "" {
			want = "POST"
		}
		if got := r.last(t); got.Method != want || got.Body != string(order().Record.Value) {
			t.Errorf("%s: %s with %d bytes", method, got.Method, len(got.Body))
		}
	}
}

func TestRecordsThatMakeNoRequest(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config // URL is what follows the host
	}{
		{"a line end in a header", Config{Headers: map[string]string{"X-Odd": "<$.value.odd>"}}},
		{"bytes in a header that are not UTF-8", Config{Headers: map[string]string{"X-Odd": "<$.value>"}}},
		{"a huge header", Config{Headers: map[string]string{"X-Odd": strings.Repeat("<$.value>", 60)}}},
		{"dots for a segment", Config{URL: "/a/<$.value.dots>/b"}},
		{"a dot and a dot", Config{URL: "/a/.<$.value.gone>./b"}},
		{"encoded dots", Config{URL: "/a/%2e<$.value.gone>%2E/b"}},
		{"dots with a parameter", Config{URL: "/a/<$.value.dots>;v=1/b"}},
		{"dots in a path parameter", Config{URL: "/a/*", PathParameters: []string{"<$.value.up>"}}},
		{"a way up", Config{URL: "/a/<$.value.up>"}},
		{"an empty segment", Config{URL: "/customers/<$.value.gone>"}},
		{"a null segment", Config{URL: "/customers/<$.value.nothing>/x"}},
		{"a huge URL", Config{URL: "/?q=" + strings.Repeat("<$.value>", 60)}},
		{"a huge path", Config{URL: "/" + strings.Repeat("<$.value>", 60)}},
		{"too few path parameters", Config{URL: "/*/*", PathParameters: []string{"a"}}},
		{"no path parameters", Config{URL: "/*", PathParameters: []string{}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver(t, nil)
			c.config.URL = r.URL + c.config.URL
			e := order()
			if strings.Contains(c.name, "UTF-8") {
				e.Record.Value = []byte("\"\xff\"")
			}
			err := opened(t, c.config, targettest.Env(t, "")).Deliver(t.Context(), []*event.Event{e})
			if err == nil || !target.FailureOf(err).Final {
				t.Errorf("got %v, want a permanent error", err)
			}
			if err != nil && (!strings.Contains(err.Error(), "INVALID_PARAMETER") || strings.Contains(err.Error(), "evil")) {
				t.Errorf("the error is %q", err)
			}
			if n := len(r.all()); n > 0 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestBatchesHaveNoPlaceholdersOfOneRecord(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
		ok     bool
	}{
		{"topic and partition are those of all", Config{URL: "http://192.0.2.1/<$.topic>?p=<$.partition>"}, true},
		{"a key", Config{URL: "http://192.0.2.1/<$.key>"}, false},
		{"a header of the body", Config{URL: "http://192.0.2.1/", Headers: map[string]string{"X": "<$.body.id>"}}, false},
		{"the whole record", Config{URL: "http://192.0.2.1/", Query: map[string]string{"x": "<$>"}}, false},
		{"a body", Config{URL: "http://192.0.2.1/", Body: &Body{Template: "1"}}, false},
	} {
		raw, _ := json.Marshal(c.config)
		if _, err := open(raw, targettest.Env(t, "json")); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := open(raw, targettest.Env(t, "")); err != nil {
			t.Errorf("%s: one by one: %v", c.name, err)
		}
	}
	r := newReceiver(t, nil)
	w := opened(t, Config{URL: r.URL + "/<$.topic>/<$.partition>", Connection: &Connection{Body: map[string]secret.Ref{"a": given("b")}}}, targettest.Env(t, "json"))
	if err := w.Deliver(t.Context(), []*event.Event{targettest.Event(1, "a", "1"), targettest.Event(2, "b", "2")}); err != nil {
		t.Fatal(err)
	}
	if got := r.last(t); got.URI != "/source/3" || got.Body != "[1,2]" {
		t.Errorf("%s %s", got.URI, got.Body)
	}
}

func TestTransformedBodyIsThereForTemplates(t *testing.T) {
	r := newReceiver(t, nil)
	w := opened(t, Config{URL: r.URL, Headers: map[string]string{"X-Sum": "<$.body.sum>"}, Body: &Body{Template: `{"all": <$.body>, "first": <$.value.id>}`}}, targettest.Env(t, ""))
	e := order()
	e.Body = json.RawMessage(`{"sum": 12.50}`)
	if err := w.Deliver(t.Context(), []*event.Event{e}); err != nil {
		t.Fatal(err)
	}
	if got := r.last(t); got.Header.Get("X-Sum") != "12.50" || got.Body != `{"all": {"sum": 12.50}, "first": 7}` {
		t.Errorf("%q %s", got.Header.Get("X-Sum"), got.Body)
	}
}

func TestMembersOfTheConnection(t *testing.T) {
	members := []member{{"a", `"x"`}, {"b c", `"y"`}}
	for _, c := range []struct{ in, want string }{
		{`{}`, `{"a":"x","b c":"y"}`},
		{` { "a" : 1 , "z" : [ {"a":1} ] } `, `{"z" : [ {"a":1} ],"a":"x","b c":"y"}`},
		{`{"\u0061":1,"b c":2,"d":3}`, `{"d":3,"a":"x","b c":"y"}`},
		{`[1]`, `[1]`}, {`"a"`, `"a"`}, {`{"a":`, `{"a":`}, {"", ""}, {"text", "text"},
	} {
		if got := string(withMembers([]byte(c.in), members)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.in, got, c.want)
		}
	}
}
