package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/scan"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

func TestValidate(t *testing.T) {
	const u = "https://192.0.2.1/"
	one := map[string]secret.Ref{"a": given("b")}
	for _, c := range []struct {
		name string
		in   Config
		want string // the fields with problems
	}{
		{"nothing", Config{}, "url"},
		{"a host is enough", Config{URL: "http://h"}, ""},
		{"everything", Config{URL: u + "*/<$.key>?a=<$.value.a>", PathParameters: []string{"<$.topic>"}, Method: "HEAD", Headers: map[string]string{"X-A": "<$.key>", "Host": "h"}, Query: map[string]string{"q": "<$>"},
			Body: &Body{Template: "<$.body>"}, Auth: &Auth{OAuth: &OAuth{TokenURL: u, ClientID: "a", ClientSecret: given("b"), Headers: one, Query: one, Body: one, TLS: &TLS{}}},
			Connection: &Connection{Headers: one, Query: one, Body: one, Blank: []string{"e"}}, Sign: &Sign{[]secret.Ref{given("x")}}, TLS: &TLS{MinVersion: "1.3", ServerName: "a.b"}, Rate: 300}, ""},
		{"another scheme", Config{URL: "ftp://h/"}, "url"},
		{"no host", Config{URL: "http:///x"}, "url"},
		{"only a port", Config{URL: "http://:80/x"}, "url"},
		{"credentials", Config{URL: "http://a:b@h/"}, "url"},
		{"credentials with placeholders behind", Config{URL: "http://a:b@h/<$.key>"}, "url"},
		{"a scheme with placeholders", Config{URL: "<$.value.scheme>://h/"}, "url"},
		{"a host with placeholders", Config{URL: "http://<$.value.host>/"}, "url"},
		{"the end of a host", Config{URL: "http://h<$.value.host>"}, "url"},
		{"a port with placeholders", Config{URL: "http://h:<$.value.port>/"}, "url"},
		{"a slash within a placeholder for a host", Config{URL: "http://h<$.a/b>/"}, "url"},
		{"a user with placeholders", Config{URL: "http://<$.key>@h/"}, "url"},
		{"a * in the host", Config{URL: "http://*.h/", PathParameters: []string{"a"}}, "url"},
		{"a backslash behind the host", Config{URL: `http://h\<$.key>`}, "url"},
		{"a name in the query", Config{URL: u + "?<$.key>=1"}, "url"},
		{"a part of a name in the query", Config{URL: u + "?a=1&b<$.key>=1"}, "url"},
		{"a * for a name in the query", Config{URL: u + "?*=1", PathParameters: []string{"a"}}, "url"},
		{"a fragment", Config{URL: u + "<$.key>#<$.key>"}, "url"},
		{"a placeholder that is not closed", Config{URL: u + "<$.key"}, "url"},
		{"a placeholder with blanks", Config{URL: u + "<$.key >"}, "url"},
		{"a huge URL", Config{URL: u + strings.Repeat("a", maxURL)}, "url"},
		{"too few path parameters", Config{URL: u + "*/*", PathParameters: []string{"a"}}, "path_parameters"},
		{"a bad path parameter", Config{URL: u + "*", PathParameters: []string{"<$."}}, "path_parameters[0]"},
		{"a path parameter that leads away", Config{URL: u + "*/b", PathParameters: []string{".."}}, "url"},
		{"a method", Config{URL: u, Method: "TRACE"}, "method"},
		{"header names", Config{URL: u, Headers: map[string]string{"a b": "", "Connection": "", "content-length": "1"}}, "headers.Connection headers.a b headers.content-length"},
		{"a header value", Config{URL: u, Headers: map[string]string{"a": "b\nc"}}, "headers.a"},
		{"a header twice", Config{URL: u, Headers: map[string]string{"a": "1", "A": "2"}}, "headers.a"},
		{"headers that records must not set", Config{URL: u, Headers: map[string]string{"Host": "<$.key>", "authorization": "<$.key>", "X-Forwarded-For": "<$.key>", "X-Amz-Date": "<$.key>", "Klamm-Topic": "<$.key>", "Via": "<$.key>"}},
			"headers.Host headers.Klamm-Topic headers.Via headers.X-Amz-Date headers.X-Forwarded-For headers.authorization"},
		{"a signature of one's own", Config{URL: u, Headers: map[string]string{"webhook-id": "1"}, Sign: &Sign{[]secret.Ref{given("x")}}}, "headers.webhook-id"},
		{"a bad header placeholder", Config{URL: u, Headers: map[string]string{"a": "<$[x]>"}}, "headers.a"},
		{"a bad query", Config{URL: u, Query: map[string]string{"": "x", "a": "<$.a"}}, "query. query.a"},
		{"an empty body", Config{URL: u, Body: &Body{}}, "body.template"},
		{"an escape", Config{URL: u, Body: &Body{Template: "x", Escape: "yaml"}}, "body.escape"},
		{"a media type", Config{URL: u, Body: &Body{Template: "1", ContentType: "a\nb"}}, "body.content_type"},
		{"no JSON", Config{URL: u, Body: &Body{Template: "hello <$.key>"}}, "body.template"},
		{"a placeholder behind a backslash", Config{URL: u, Body: &Body{Template: `{"a":"\<$.key>"}`}}, "body.template"},
		{"a placeholder within an escape", Config{URL: u, Body: &Body{Template: `{"a":"\u00<$.key>41"}`}}, "body.template"},
		{"a placeholder beside a number", Config{URL: u, Body: &Body{Template: `[1<$.key>]`}}, "body.template"},
		{"a member's name without quotes", Config{URL: u, Body: &Body{Template: `{<$.key>:1}`}}, "body.template"},
		{"no auth", Config{URL: u, Auth: &Auth{}}, "auth"},
		{"two auths", Config{URL: u, Auth: &Auth{Bearer: given("a"), Basic: &Basic{"a", given("b")}}}, "auth"},
		{"basic", Config{URL: u, Auth: &Auth{Basic: &Basic{Username: "a:b"}}}, "auth.basic.password auth.basic.username"},
		{"an API key", Config{URL: u, Auth: &Auth{APIKey: &APIKey{Header: "Host"}}}, "auth.api_key.header auth.api_key.value"},
		{"oauth", Config{URL: u, Auth: &Auth{OAuth: &OAuth{Method: "DELETE", TLS: &TLS{MinVersion: "1.1"}, Headers: map[string]secret.Ref{"a b": given("x")}}}},
			"auth.oauth.client_id auth.oauth.client_secret auth.oauth.headers.a b auth.oauth.method auth.oauth.tls.min_version auth.oauth.token_url"},
		{"TLS of a token endpoint without it", Config{URL: u, Auth: &Auth{OAuth: &OAuth{TokenURL: "http://h/", ClientID: "a", ClientSecret: given("b"), TLS: &TLS{}}}}, "auth.oauth.tls"},
		{"connection", Config{URL: u, Connection: &Connection{Headers: map[string]secret.Ref{"Host": given("x")}, Query: map[string]secret.Ref{"a": {}}, Body: map[string]secret.Ref{"": given("b")}}},
			"connection.body. connection.headers.Host connection.query.a"},
		{"no signing secret", Config{URL: u, Sign: &Sign{}}, "sign.secrets"},
		{"TLS without it", Config{URL: "http://h/", TLS: &TLS{}}, "tls"},
		{"half a certificate", Config{URL: u, TLS: &TLS{Key: given("x"), ServerName: "a b"}}, "tls.certificate tls.server_name"},
		{"a rate", Config{URL: u, Rate: -1}, "rate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := map[string]bool{}
			c.in.Validate(func(path, problem string) { got[path] = true })
			if fields := strings.Join(sorted(got), " "); fields != c.want {
				t.Errorf("problems at %q, want %q", fields, c.want)
			}
		})
	}
}

var epoch = time.Unix(0, 0)

func TestPositionsAreToldWithinTheText(t *testing.T) {
	c := Config{URL: "http://192.0.2.1/é<$.a..b>", Headers: map[string]string{"X": "é<$.a[b]>", "Y": "<$.a"}}
	got := map[string]string{}
	c.Validate(func(path, problem string) { got[path] = problem })
	for path, want := range map[string]string{"url": "character 23: ", "headers.X": "character 6: ", "headers.Y": "character 1: "} {
		if !strings.HasPrefix(got[path], want) {
			t.Errorf("%s: %q, want %q", path, got[path], want)
		}
	}
}

func TestConfigurationSurvivesJSON(t *testing.T) {
	one := map[string]secret.Ref{"a": given("b")}
	for _, c := range []Config{
		{URL: "http://h"},
		{URL: "http://h", PathParameters: []string{}},
		{URL: "http://h", Auth: &Auth{Bearer: secret.Ref{Env: "X"}}, TLS: &TLS{CA: secret.Ref{File: "x"}}, Connection: &Connection{Headers: one, Query: one, Body: one, Blank: []string{"e"}}, Sign: &Sign{[]secret.Ref{given("x")}}},
	} {
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var back Config
		if err := json.Unmarshal(raw, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, back); diff != "" {
			t.Error(diff)
		}
	}
}

// aimed makes the request of a configuration, or none if it has problems.
func aimed(t *testing.T, c Config, e *event.Event) (*http.Request, error) {
	valid := true
	p := c.plan(func(string, string) { valid = false })
	if !valid || p.short {
		return nil, nil
	}
	p.seal()
	w := &webhook{plan: p, method: "POST", headers: p.fixed, pipe: []string{"p"}}
	w.documents.New = func() any { return new([]byte) }
	if !p.made {
		w.url = p.base
	}
	r := request{url: w.url, headers: w.head([]*event.Event{e})}
	if p.made && !p.moving {
		u, err := p.url(nil)
		if err != nil {
			return nil, err
		}
		r.url = u
	}
	if err := w.fill(&r, e); err != nil {
		if !target.FailureOf(err).Final {
			t.Errorf("%v is not permanent", err)
		}
		return nil, err
	}
	if r.url == nil {
		t.Fatal("no URL")
	}
	return w.request(t.Context(), &r, nil, nil), nil
}

// FuzzURL checks that no record leads to another host, adds a parameter or a
// segment, or breaks the request line.
func FuzzURL(f *testing.F) {
	f.Add("/a/<$.key>/b?c=<$.value>&d=e", []byte("k"), []byte("v"))
	f.Add("/<$.key>", []byte("../x"), []byte("v"))
	f.Add("/a;<$.key>?x=%zz<$.key>", []byte("..;/"), []byte("\x00\r\n"))
	f.Add("/*/<$.value[0]>", []byte("@evil.example/"), []byte(`["#?&"]`))
	f.Add("<$.key>", []byte(".evil.example"), []byte(":81"))
	f.Fuzz(func(t *testing.T, rest string, key, value []byte) {
		if rest != "" && !strings.ContainsAny(rest[:1], "/?<#") {
			return // it belongs to the host that is configured
		}
		e := targettest.Event(1, string(key), string(value))
		for _, c := range []Config{{URL: "http://good.example" + rest}, {URL: "http://good.example" + rest, PathParameters: []string{"<$.key>", "<$.value>"}}} {
			req, err := aimed(t, c, e)
			if req == nil || err != nil {
				continue
			}
			if req.URL.Host != "good.example" || req.URL.Scheme != "http" || req.URL.User != nil {
				t.Fatalf("%s goes to %s", rest, req.URL)
			}
			line := req.URL.RequestURI()
			if !strings.HasPrefix(line, "/") || strings.ContainsFunc(line, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
				t.Fatalf("%q gives %q", rest, line)
			}
			if !strings.Contains(rest, "<$") {
				continue
			}
			back, err := url.Parse("http://good.example" + line)
			if err != nil || back.Host != "good.example" || back.Fragment != "" {
				t.Fatalf("%q gives %q: %v", rest, line, err)
			}
			// The same with harmless values has as many segments and parameters.
			mild, err := aimed(t, c, targettest.Event(1, "k", `"v"`))
			if mild == nil || err != nil {
				continue
			}
			shape := func(u *url.URL) string {
				line := u.RequestURI()
				path, query, _ := strings.Cut(line, "?")
				return fmt.Sprint(strings.Count(path, "/"), strings.Count(query, "&"), strings.Count(line, "?"), strings.Count(line, "#"), strings.Count(path, ";"))
			}
			if shape(req.URL) != shape(mild.URL) {
				t.Fatalf("%q gives %q with a record and %q with another", rest, line, mild.URL.RequestURI())
			}
		}
	})
}

// FuzzTemplatedHeader checks that no record breaks out of a header.
func FuzzTemplatedHeader(f *testing.F) {
	f.Add("X-A", "a <$.key>", []byte("k"), []byte("v"))
	f.Add("X-A", "<$.value>", []byte("k"), []byte("\"a\\r\\nX-Evil: 1\""))
	f.Add("Host", "<$.headers.n[0]>", []byte("\r\n"), []byte("\x00"))
	f.Fuzz(func(t *testing.T, name, value string, key, data []byte) {
		e := targettest.Event(1, string(key), string(data))
		e.Record.Headers = []kgo.RecordHeader{{Key: "n", Value: data}}
		req, err := aimed(t, Config{URL: "http://good.example", Headers: map[string]string{name: value}}, e)
		if req == nil || err != nil {
			return
		}
		for name, values := range req.Header {
			for _, v := range values {
				if strings.ContainsAny(name+v, "\r\n\x00") {
					t.Errorf("header %q: %q", name, v)
				}
			}
		}
		if reserved[http.CanonicalHeaderKey(name)] {
			t.Errorf("%q is sent", name)
		}
	})
}

// FuzzBody checks that a JSON text stays JSON whatever the record is.
func FuzzBody(f *testing.F) {
	f.Add(`{"a":"<$.key>","<$.value>":<$.value>}`, []byte("k"), []byte("v"))
	f.Add(`"<$.key>\\<$.value>"`, []byte(`"`), []byte(`\`))
	f.Add("<$>", []byte("\x00"), []byte("\xff"))
	f.Fuzz(func(t *testing.T, template string, key, value []byte) {
		e := targettest.Event(1, string(key), string(value))
		var p plan
		valid := true
		(&Body{Template: template}).plan(&p, func(string, string) { valid = false })
		if !valid {
			return
		}
		p.seal()
		err := p.paths.Find(p.document(nil, e), func(values [][]byte) error {
			body, err := p.render(values)
			if err == nil && !scan.Valid(body) {
				t.Errorf("%q gives %q", template, body)
			}
			p.escape = "form"
			form, err := p.render(values)
			if err == nil && utf8.ValidString(template) && strings.Count(string(form), "&") != strings.Count(p.body.String(), "&") && !strings.Contains(template, "<$[") && !strings.Contains(template, "']") {
				t.Errorf("%q gives the form %q", template, form)
			}
			return err
		})
		if err != nil && !target.FailureOf(err).Final {
			t.Error(err)
		}
	})
}

// FuzzTokens reads answers of token endpoints.
func FuzzTokens(f *testing.F) {
	f.Add([]byte(`{"access_token":"a","token_type":"b","expires_in":1e300}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		_ = errorCode(answer)
		tok, err := tokenOf(answer, epoch)
		if err != nil {
			return
		}
		if strings.ContainsAny(tok.header, "\r\n\x00") || tok.until.Sub(epoch) > longestToken || !tok.until.After(epoch) || tok.renew.After(tok.until) || tok.renew.Before(epoch) {
			t.Errorf("%q gives %+v", answer, tok)
		}
	})
}
