package auth

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/secret"
)

const (
	vectorKey    = "AKIAKLAMMEXAMPLE0001"
	vectorSecret = "klamm/TestSecretKey+0123456789abcdefABCD"
	vectorTime   = "20260115T093000Z"
	tempKey      = "ASIAKLAMMEXAMPLE0002"
	tempToken    = "FQoGZXIvYXdzEXAMPLE=="
)

func vectorNow() time.Time {
	t, _ := time.Parse(stampForm, vectorTime)
	return t
}

func testEnv(t *testing.T) Env {
	t.Helper()
	return Env{Account: "111122223333", Region: "eu-west-3", Secret: secret.Local, Metrics: prometheus.NewRegistry(),
		Log: slog.New(slog.DiscardHandler), now: time.Now, Read: func(string) ([]byte, error) { return nil, errors.New("no file") }}
}

func iamConfig() *IAM {
	return &IAM{Keys: []AccessKey{
		{AccessKeyID: vectorKey, Secret: secret.Ref{Value: vectorSecret}, User: "alice", Groups: []string{"ingest"}},
		{AccessKeyID: tempKey, Secret: secret.Ref{Value: vectorSecret}, SessionToken: secret.Ref{Value: tempToken}, Role: "ingest", SessionName: "s1", Expires: "2027-01-01T00:00:00Z"},
		{AccessKeyID: "AKIAKLAMMDISABLED003", Secret: secret.Ref{Value: vectorSecret}, User: "off", Enabled: new(bool)},
	}}
}

func newTestSigV4(t *testing.T, change func(*IAM)) *sigv4 {
	t.Helper()
	cfg, env := iamConfig(), testEnv(t)
	if change != nil {
		change(cfg)
	}
	env.now = vectorNow
	s, err := newSigV4(t.Context(), cfg, env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// received makes the request that a server gets.
func received(t *testing.T, method, target string, header http.Header, body string) *http.Request {
	t.Helper()
	text := method + " " + target + " HTTP/1.1\r\nHost: gw.example.net\r\n"
	for name, values := range header {
		for _, v := range values {
			text += name + ": " + v + "\r\n"
		}
	}
	if body != "" {
		text += "Content-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text + "\r\n" + body)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The vectors of gateway-policies.md 1.3.5.
func TestCanonicalRequestVectors(t *testing.T) {
	const telemetry = `{"records":[{"value":{"deviceid":"d-17","heartrate":72}}]}`
	date := func(more ...string) http.Header {
		h := http.Header{"X-Amz-Date": {vectorTime}}
		for i := 0; i < len(more); i += 2 {
			h.Add(more[i], more[i+1])
		}
		return h
	}
	for _, tc := range []struct {
		name, method, target string
		header               http.Header
		body, signed         string
		digest, signature    string
	}{
		{"V1", "GET", "/prod/topics", date(), "", "host;x-amz-date",
			"edb6d3d2c01273f9b3faff3779e5018c1f049e41c188997e69ee92256ba3fb96", "4d34b25ed917f33e192ab762c52fe38f1a122d1e57659e70d573d026a78278ed"},
		{"V2", "POST", "/prod/topics/telemetry", date("Content-Type", "application/vnd.kafka.json.v2+json"), telemetry, "content-type;host;x-amz-date",
			"8c3a867b98163fb877b584c0fbe6ef2bde7e2d62de6000e05508cabadbb02938", "e37ce845b98e19cae8e4eb8b129ed68eb0510d029ca4cb4d8eb2d4ab4b2f5ebc"},
		{"V3", "GET", "/prod/topics/a%20b/partitions/0/messages?offset=5&count=2&count=10&empty=", date(), "", "host;x-amz-date",
			"b1abb6faf53cdb3815c25d399de2fd643c4f6a2d7689c36b88dab433431bd31e", "007379a5210fb3105ca708cb160c699860015d9081e9658150f38e599bf467cb"},
		{"V4", "GET", "/prod/topics", date("X-Amz-Security-Token", tempToken), "", "host;x-amz-date;x-amz-security-token",
			"c2d0ff7271b4a9368b699aa5b1a50718ba3bbfb83ec5a5b0fc4b79334908f421", "408eb7ccc2da67ebe5d9930a5c8a8389ee3462d04d9eb3308eec86c116dc5b54"},
		{"V5", "GET", "/prod/topics?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + vectorKey + "%2F20260115%2Feu-west-3%2Fexecute-api%2Faws4_request&X-Amz-Date=" + vectorTime +
			"&X-Amz-Expires=300&X-Amz-SignedHeaders=host&X-Amz-Signature=x", nil, "", "host",
			"7749a57b3d66ebb4748531adcdcbfd71d4987278c7e5601e18475266156e7e1e", "f43fae5ba3d15748a82319d2da417dd8e682f5368b1a8670cfe30b357b413cdb"},
		{"V6", "GET", "/prod/topics", date("X-Note", "   a   b  ", "X-Note", "c"), "", "host;x-amz-date;x-note",
			"eab90440ec255ad5195ada89e995753a65c4d7395119c208676deb8f7964957d", "4a1ef17b0652c26b753ab3f58c97b2a2a876cbe6f62b4e164a61c6b7596d890b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := received(t, tc.method, tc.target, tc.header, tc.body)
			digest := sha256.Sum256([]byte(tc.body))
			canonical := appendCanonical(nil, r, form{host: r.Host}, strings.Split(tc.signed, ";"), hex.EncodeToString(digest[:]))
			got := sha256.Sum256(canonical)
			if hex.EncodeToString(got[:]) != tc.digest {
				t.Errorf("digest %x, want %s of\n%s", got, tc.digest, canonical)
			}
			s := scope{"20260115", "eu-west-3", "execute-api"}
			if mac := hex.EncodeToString(sum(signingKey(vectorSecret, s), appendToSign(nil, vectorTime, s, canonical))); mac != tc.signature {
				t.Errorf("signature %s, want %s", mac, tc.signature)
			}
		})
	}
}

// One case of AWS's own suite (kafka-auth.md C6).
func TestCanonicalRequestOfTheOfficialSuite(t *testing.T) {
	r := received(t, "GET", "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1", http.Header{"X-Amz-Date": {"20150830T123600Z"}}, "")
	r.Host = "example.amazonaws.com"
	empty := sha256.Sum256(nil)
	canonical := appendCanonical(nil, r, form{host: r.Host}, []string{"host", "x-amz-date"}, hex.EncodeToString(empty[:]))
	s := scope{"20150830", "us-east-1", "service"}
	got := hex.EncodeToString(sum(signingKey("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", s), appendToSign(nil, "20150830T123600Z", s, canonical)))
	if want := "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"; got != want {
		t.Errorf("signature %s, want %s of\n%s", got, want, canonical)
	}
}

func TestCanonicalParts(t *testing.T) {
	for in, want := range map[string]string{
		"": "/", "/": "/", "//a///b/": "/a/b/", "/a/./b/../c": "/a/c", "/../..": "/", "/a%2Fb": "/a%252Fb", "/a b": "/a%20b", "/~.-_": "/~.-_", "/a/.": "/a/",
	} {
		if got := string(appendPath(nil, in, false)); got != want {
			t.Errorf("path %q: got %q, want %q", in, got, want)
		}
	}
	if got := string(appendPath(nil, "/a%20b", true)); got != "/a%20b" {
		t.Errorf("single encoding: got %q", got)
	}
	for in, want := range map[string]string{
		"": "", "b&a": "a=&b=", "a-b=1&a=2": "a=2&a-b=1", "x=%2f": "x=%2F", "x=1+2": "x=1%2B2", "x=%zz": "x=%25zz", "a=2&a=10": "a=10&a=2",
		"X-Amz-Signature=1&a=1": "a=1", "&&a=b=c": "a=b%3Dc", "u=ü": "u=%C3%BC",
	} {
		if got := canonicalQuery(in, queryPlus); got != want {
			t.Errorf("query %q: got %q, want %q", in, got, want)
		}
	}
}

// signedRequest is signed as clients do, and arrives.
func signedRequest(t *testing.T, key aws.Credentials, method, target string, header http.Header, body string, at time.Time, with func(*http.Request)) *http.Request {
	t.Helper()
	out, err := http.NewRequest(method, "http://gw.example.net"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range header {
		out.Header[name] = v
	}
	digest := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(t.Context(), key, out, hex.EncodeToString(digest[:]), "execute-api", "eu-west-3", at); err != nil {
		t.Fatal(err)
	}
	if with != nil {
		with(out)
	}
	r := received(t, out.Method, out.URL.RequestURI(), out.Header, body)
	r.Host = out.URL.Host
	return r
}

var alice = aws.Credentials{AccessKeyID: vectorKey, SecretAccessKey: vectorSecret}

func TestRequestsOfTheSDKAreTaken(t *testing.T) {
	s := newTestSigV4(t, nil)
	for _, tc := range []struct {
		name, method, target string
		header               http.Header
		key                  aws.Credentials
		want                 string
	}{
		{"plain", "GET", "/topics", nil, alice, "User:alice"},
		{"query", "GET", "/topics?z=1&a=2&a=1&empty=&sp=a%20b&u=%C3%BC", nil, alice, "User:alice"},
		{"header", "GET", "/topics", http.Header{"X-Note": {"  two   spaces  "}}, alice, "User:alice"},
		{"slash in a name", "GET", "/topics/a%2Fb", nil, alice, "User:alice"},
		{"session", "GET", "/topics", nil, aws.Credentials{AccessKeyID: tempKey, SecretAccessKey: vectorSecret, SessionToken: tempToken}, "User:role/ingest"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			who, err := s.authenticate(signedRequest(t, tc.key, tc.method, tc.target, tc.header, "", vectorNow(), nil))
			if err != nil || who.Name != tc.want {
				t.Errorf("got %q, %v; want %q", who.Name, err, tc.want)
			}
			if temporary := tc.key.AccessKeyID == tempKey; temporary == who.Issued.IsZero() {
				t.Errorf("issued at %v: only the session of a temporary key has such a time", who.Issued)
			}
		})
	}
}

func TestPresignedRequestsOfTheSDKAreTaken(t *testing.T) {
	s := newTestSigV4(t, nil)
	out, _ := http.NewRequest("GET", "http://gw.example.net/topics?a=1&X-Amz-Expires=120", nil)
	empty := sha256.Sum256(nil)
	signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), alice, out, hex.EncodeToString(empty[:]), "execute-api", "eu-west-3", vectorNow())
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		at     time.Duration
		change func(string) string
		want   string
	}{
		{"good", 0, nil, ""},
		{"near its end", 120 * time.Second, nil, ""},
		{"over", 121 * time.Second, nil, "Signature expired: 20260115T093000Z is now earlier than 20260115T093001Z (20260115T093201Z - 2 min.)"},
		{"too early", -301 * time.Second, nil, "Signature not yet current: 20260115T093000Z is still later than 20260115T092959Z (20260115T092459Z + 5 min.)"},
		{"changed", 0, func(s string) string { return strings.Replace(s, "a=1", "a=2", 1) }, mismatch},
		{"without its date", 0, func(s string) string { return strings.Replace(s, "X-Amz-Date=", "X-Amz-Data=", 1) },
			"AWS query-string parameters must include 'X-Amz-Date'. Re-examine the query-string parameters."},
		{"too long", 0, func(s string) string { return strings.Replace(s, "Expires=120", "Expires=604801", 1) }, "X-Amz-Expires must be a number of seconds from 1 to 604800"},
		{"another algorithm", 0, func(s string) string { return strings.Replace(s, "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", 1) }, "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			target := strings.TrimPrefix(signed, "http://gw.example.net")
			if tc.change != nil {
				target = tc.change(target)
			}
			s.now = func() time.Time { return vectorNow().Add(tc.at) }
			_, err := s.authenticate(received(t, "GET", target, nil, ""))
			wantRefusal(t, err, tc.want)
		})
	}
}

// wantRefusal checks the text of a refusal; "" wants none.
func wantRefusal(t *testing.T, err error, want string) {
	t.Helper()
	if got := textOf(err); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	var e *front.Refusal
	if !errors.As(err, &e) {
		return "not a refusal: " + err.Error()
	}
	return e.Message
}

func TestSignaturesAreRefusedInOrder(t *testing.T) {
	auth := func(from, to string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), from, to, 1))
		}
	}
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	const badToken = "The security token included in the request is invalid."
	for _, tc := range []struct {
		name   string
		key    aws.Credentials
		at     time.Duration
		change func(*http.Request)
		want   string
		kind   string
	}{
		{"good", alice, 0, nil, "", ""},
		{"header added", alice, 0, set("X-Other", "1"), "", ""},
		{"spaces", alice, 0, auth(", ", "  ,   "), "", ""},
		{"x-amz header added", alice, 0, set("X-Amz-Meta", "1"), mismatch, invalidSignature},
		{"digit flipped", alice, 0, func(r *http.Request) {
			v := r.Header.Get("Authorization")
			last := "0"
			if strings.HasSuffix(v, "0") {
				last = "1"
			}
			r.Header.Set("Authorization", v[:len(v)-1]+last)
		}, mismatch, invalidSignature},
		{"method", alice, 0, func(r *http.Request) { r.Method = "DELETE" }, mismatch, invalidSignature},
		{"query", alice, 0, func(r *http.Request) { r.URL.RawQuery += "&more=1" }, mismatch, invalidSignature},
		{"bearer", alice, 0, set("Authorization", "Bearer abc.def.ghi"), "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): 'UxOF3HMhATMMq+KaaPX3QIBX1wJiIP+fN+V4AUACHEY='.", incompleteSignature},
		{"algorithm", alice, 0, auth("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'", incompleteSignature},
		{"no signature", alice, 0, auth(", Signature=", ", X="), "Authorization header requires 'Signature' parameter. Authorization=AWS4-HMAC-SHA256", incompleteSignature},
		{"nothing", alice, 0, func(r *http.Request) {
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 A=b")
			r.Header.Del("X-Amz-Date")
		}, "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. " +
			"Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=AWS4-HMAC-SHA256", incompleteSignature},
		{"host not signed", alice, 0, auth("SignedHeaders=host;", "SignedHeaders="), "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.", invalidSignature},
		{"date of another form", alice, 0, set("X-Amz-Date", "Sat, 21 Nov 2026 00:00:00 GMT"), "Date must be in ISO-8601 'basic format'. Got 'Sat, 21 Nov 2026 00:00:00 GMT'. See http://en.wikipedia.org/wiki/ISO_8601", incompleteSignature},
		{"date with a fraction", alice, 0, set("X-Amz-Date", "20260115T093000.5Z"), "Date must be in ISO-8601 'basic format'. Got '20260115T093000.5Z'. See http://en.wikipedia.org/wiki/ISO_8601", incompleteSignature},
		{"five minutes old", alice, 300 * time.Second, nil, "", ""},
		{"five minutes and a second old", alice, 301 * time.Second, nil, "Signature expired: 20260115T093000Z is now earlier than 20260115T093001Z (20260115T093501Z - 5 min.)", invalidSignature},
		{"five minutes and a second early", alice, -301 * time.Second, nil, "Signature not yet current: 20260115T093000Z is still later than 20260115T092959Z (20260115T092459Z + 5 min.)", invalidSignature},
		{"four parts", alice, 0, auth("/execute-api/", "/"), "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '" + vectorKey + "/20260115/eu-west-3/aws4_request'", incompleteSignature},
		{"region", alice, 0, auth("eu-west-3", "us-east-1"), "Credential should be scoped to a valid region, not 'us-east-1'.", invalidSignature},
		{"everything of the scope", alice, 0, auth("20260115/eu-west-3/execute-api/aws4_request", "20260114/us-east-1/s3/aws5"),
			"Credential should be scoped to a valid region, not 'us-east-1'. Credential should be scoped to correct service: 'execute-api'. " +
				"Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5'. " +
				"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20260114' != '20260115', from '20260115T093000Z'.", invalidSignature},
		{"unknown key", aws.Credentials{AccessKeyID: "AKIAKLAMMNOBODY00009", SecretAccessKey: "x"}, 0, nil, badToken, unrecognizedClient},
		{"disabled key", aws.Credentials{AccessKeyID: "AKIAKLAMMDISABLED003", SecretAccessKey: vectorSecret}, 0, nil, badToken, unrecognizedClient},
		{"no token", aws.Credentials{AccessKeyID: tempKey, SecretAccessKey: vectorSecret}, 0, nil, badToken, unrecognizedClient},
		{"wrong token", aws.Credentials{AccessKeyID: tempKey, SecretAccessKey: vectorSecret, SessionToken: "other"}, 0, nil, badToken, unrecognizedClient},
		{"token with a permanent key", aws.Credentials{AccessKeyID: vectorKey, SecretAccessKey: vectorSecret, SessionToken: tempToken}, 0, nil, badToken, unrecognizedClient},
		{"wrong secret", aws.Credentials{AccessKeyID: vectorKey, SecretAccessKey: "other"}, 0, nil, mismatch, invalidSignature},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newTestSigV4(t, nil)
			s.now = func() time.Time { return vectorNow().Add(tc.at) }
			_, err := s.authenticate(signedRequest(t, tc.key, "GET", "/topics?n=1", nil, "", vectorNow(), tc.change))
			wantRefusal(t, err, tc.want)
			var e *front.Refusal
			if errors.As(err, &e) && (e.Status != http.StatusForbidden || e.Header.Get("X-Amzn-Errortype") != tc.kind) {
				t.Errorf("status %d, type %v; want 403, %s", e.Status, e.Header, tc.kind)
			}
		})
	}
}

func TestExpiredSession(t *testing.T) {
	s := newTestSigV4(t, nil)
	late := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	s.now = func() time.Time { return late }
	_, err := s.authenticate(signedRequest(t, aws.Credentials{AccessKeyID: tempKey, SecretAccessKey: vectorSecret, SessionToken: tempToken}, "GET", "/", nil, "", late, nil))
	wantRefusal(t, err, "The security token included in the request is expired")
}

func TestReplayedSignature(t *testing.T) {
	s := newTestSigV4(t, func(c *IAM) { c.ReplayCache = true })
	for i, want := range []string{"", mismatch} {
		_, err := s.authenticate(signedRequest(t, alice, "GET", "/topics", nil, "", vectorNow(), nil))
		if textOf(err) != want {
			t.Errorf("use %d: got %q, want %q", i+1, textOf(err), want)
		}
	}
	for name, change := range map[string]func(string) string{
		"upper case": strings.ToUpper, "digits behind": func(v string) string { return v + "0" }, "garbage behind": func(v string) string { return v + "zz" },
	} {
		r := signedRequest(t, alice, "GET", "/topics", nil, "", vectorNow(), nil)
		before, value, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
		r.Header.Set("Authorization", before+"Signature="+change(value))
		if _, err := s.authenticate(r); textOf(err) != mismatch {
			t.Errorf("%s: got %q, want %q", name, textOf(err), mismatch)
		}
	}
}

func TestSingleEncodingByConfiguration(t *testing.T) {
	for _, tc := range []struct{ form, want string }{{"double", mismatch}, {"either", ""}} {
		s := newTestSigV4(t, func(c *IAM) { c.PathEncoding = tc.form })
		r := received(t, "GET", "/a%20b", http.Header{"X-Amz-Date": {vectorTime}}, "")
		empty := sha256.Sum256(nil)
		sc := scope{"20260115", "eu-west-3", "execute-api"}
		canonical := appendCanonical(nil, r, form{host: r.Host, single: true}, []string{"host", "x-amz-date"}, hex.EncodeToString(empty[:]))
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+vectorKey+"/20260115/eu-west-3/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature="+
			hex.EncodeToString(sum(signingKey(vectorSecret, sc), appendToSign(nil, vectorTime, sc, canonical))))
		_, err := s.authenticate(r)
		wantRefusal(t, err, tc.want)
	}
}

// Clients do not agree on how they write a request down (kafka-auth.md C2).
func TestOtherFormsOfTheSameRequest(t *testing.T) {
	s := newTestSigV4(t, nil)
	for _, tc := range []struct{ name, target, query, host, sent, want string }{
		{"plus", "/a?x=1+2", "x=1%2B2", "", "", ""},
		{"plus for a space", "/a?x=1+2&y=%2B", "x=1%202&y=%2B", "", "", ""},
		{"as it is sent", "/a?x=a,b&u=%c3%bc&t=%7e", "t=%7e&u=%c3%bc&x=a,b", "", "", ""},
		{"as it is sent, but for what may not be", "/a?x={a}&y=,", "x=%7Ba%7D&y=,", "", "", ""},
		{"another value", "/a?x=a,b", "x=a,c", "", "", mismatch},
		{"a space for an escaped plus", "/a?x=1%2B2", "x=1%202", "", "", mismatch},
		{"port of HTTPS signed", "/a", "", "gw.example.net:443", "gw.example.net", ""},
		{"port of HTTP signed", "/a?x=a,b", "x=a,b", "gw.example.net:80", "gw.example.net", ""},
		{"port of HTTPS sent", "/a", "", "gw.example.net", "gw.example.net:443", ""},
		{"address without its port", "/a", "", "[::1]:443", "[::1]", ""},
		{"another port", "/a", "", "gw.example.net", "gw.example.net:8443", mismatch},
		{"another host", "/a", "", "gw.example.org", "gw.example.net", mismatch},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := received(t, "GET", tc.target, http.Header{"X-Amz-Date": {vectorTime}}, "")
			host := cmp.Or(tc.host, r.Host)
			r.Host = cmp.Or(tc.sent, r.Host)
			digest := sha256.Sum256(nil)
			path, _, _ := strings.Cut(tc.target, "?")
			canonical := strings.Join([]string{"GET", path, tc.query, "host:" + host, "x-amz-date:" + vectorTime, "", "host;x-amz-date", hex.EncodeToString(digest[:])}, "\n")
			sc := scope{"20260115", "eu-west-3", "execute-api"}
			mac := sum(signingKey(vectorSecret, sc), appendToSign(nil, vectorTime, sc, []byte(canonical)))
			r.Header.Set("Authorization", algorithm+" Credential="+vectorKey+"/20260115/eu-west-3/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature="+hex.EncodeToString(mac))
			_, err := s.authenticate(r)
			wantRefusal(t, err, tc.want)
		})
	}
}

// schemeFunc is an authenticator.
type schemeFunc func(*http.Request) (gate.Principal, error)

func (f schemeFunc) Authenticate(r *http.Request) (gate.Principal, error) { return f(r) }

// TestSignedBodies sends bodies to a server whose handler reads them as each kind of
// handler does.
func TestSignedBodies(t *testing.T) {
	s := newTestSigV4(t, nil)
	s.now = time.Now
	s.region = "eu-west-3"
	read := map[string]front.Handler{
		"POST /lent": func(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
			data, release, err := front.ReadBody(r)
			if err != nil {
				return err
			}
			defer release()
			_, err = w.Write(data)
			return err
		},
		"POST /stream": func(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
			stream := front.OpenStream(w, r, time.Minute)
			data, err := io.ReadAll(stream)
			if err != nil {
				return err
			}
			_, err = w.Write(data)
			return err
		},
		"POST /ignored": func(http.ResponseWriter, *http.Request, gate.Principal) error { return nil },
	}
	d := front.Dialect{Name: "test", Prefixes: []string{"/"}, WriteError: func(w http.ResponseWriter, _ *http.Request, err error) {
		http.Error(w, err.Error(), http.StatusTeapot)
	}}
	for pattern, h := range read {
		d.Routes = append(d.Routes, front.Route{Name: pattern, Pattern: pattern, Serve: h})
	}
	server := httptest.NewServer(front.New(front.Config{
		Dialects: []front.Dialect{d}, Authenticators: []front.Authenticator{schemeFunc(s.authenticate)},
		Metrics: front.NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler),
	}))
	defer server.Close()
	large := strings.Repeat("0123456789abcdef", 64<<10) // 1 MiB
	for _, tc := range []struct {
		name, path, body, sent string
		claim                  bool
		status                 int
	}{
		{"small", "/lent", "hello", "hello", false, 200},
		{"large", "/lent", large, large, false, 200},
		{"small, hash in a header", "/lent", "hello", "hello", true, 200},
		{"large, hash in a header", "/lent", large, large, true, 200},
		{"stream", "/stream", large, large, false, 200},
		{"stream, hash in a header", "/stream", large, large, true, 200},
		{"not looked at", "/ignored", large, large, false, 200},
		{"changed", "/lent", "hello", "hullo", false, 403},
		{"changed, hash in a header", "/lent", "hello", "hullo", true, 403},
		{"stream changed", "/stream", "hello", "hullo", true, 403},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, _ := http.NewRequestWithContext(context.Background(), "POST", server.URL+tc.path, strings.NewReader(tc.body))
			digest := sha256.Sum256([]byte(tc.body))
			if tc.claim {
				r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(digest[:]))
			}
			if err := v4.NewSigner().SignHTTP(t.Context(), alice, r, hex.EncodeToString(digest[:]), "execute-api", "eu-west-3", time.Now()); err != nil {
				t.Fatal(err)
			}
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(tc.sent)), int64(len(tc.sent))
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			got, _ := io.ReadAll(answer.Body)
			if answer.StatusCode != tc.status {
				t.Fatalf("status %d, want %d: %s", answer.StatusCode, tc.status, got)
			}
			if tc.status == 200 && tc.path != "/ignored" && !bytes.Equal(got, []byte(tc.sent)) {
				t.Errorf("the handler has read %d bytes, want %d", len(got), len(tc.sent))
			}
			if tc.status == 403 {
				var m map[string]string
				if err := json.Unmarshal(got, &m); err != nil || len(m) != 1 || m["message"] == "" || answer.Header.Get("X-Amzn-Requestid") == "" || !strings.HasSuffix(answer.Header.Get("X-Amz-Apigw-Id"), "=") || answer.Header.Get("Date") == "" {
					t.Errorf("answer %s, %v", got, answer.Header)
				}
			}
		})
	}
}

func FuzzSignature(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=00", "/a?b=c")
	f.Add("Bearer x", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256")
	f.Add("AWS4-HMAC-SHA256", "/%zz//../.?&&=%")
	cfg, env := iamConfig(), Env{Account: "1", Region: "eu-west-3", Secret: secret.Local, now: vectorNow}
	s, err := newSigV4(context.Background(), cfg, env)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, header, target string) {
		r := &http.Request{Method: "GET", URL: &url.URL{Path: "/"}, RequestURI: target, Host: "h", Header: http.Header{"X-Amz-Date": {vectorTime}}}
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		if who, err := s.authenticate(r); err == nil {
			t.Errorf("%q was taken for %s", header, who.Name)
		}
		path, query := wireTarget(target)
		if p := string(appendPath(nil, path, false)); !strings.HasPrefix(p, "/") || strings.ContainsAny(p, "?#\n ") {
			t.Errorf("canonical path %q", p)
		}
		if q := canonicalQuery(query, queryPlus); canonicalQuery(q, queryPlus) != q {
			t.Errorf("canonical query %q is not canonical", q)
		}
	})
}

func TestTimesOfSignaturesAreReadAsTheyAlwaysWere(t *testing.T) {
	for _, stamp := range []string{
		vectorTime, "20260101T000000Z", "20260228T235959Z", "20240229T120000Z", "20261231T235959Z", "00010101T000000Z", "99991228T010203Z",
		"20260229T120000Z", "20260431T120000Z", "20260001T120000Z", "20261301T120000Z", "20260100T120000Z", "20260128T240000Z", "20260128T236000Z", "20260128T235960Z",
		"2026012xT235959Z", "20260128 235959Z", "20260128T235959", "20260128T235959z", "20260128T235959.5Z", "", "T",
	} {
		got, gotErr := stampTime(stamp)
		want, wantErr := time.Parse(stampForm, stamp)
		if !got.Equal(want) || (gotErr == nil) != (wantErr == nil) {
			t.Errorf("%q: got %v, %v; want %v, %v", stamp, got, gotErr, want, wantErr)
		}
	}
}

func TestHeadersAreFoundByTheirNamesInLowerCase(t *testing.T) {
	h := http.Header{}
	for _, name := range []string{"X-Amz-Date", "x-kept as it is", "X--A", "-A", "A-", "Etag", "X-1a", "X_y", "Ünter"} {
		h[http.CanonicalHeaderKey(name)] = []string{name}
	}
	h["X-"+strings.Repeat("A", 80)] = []string{"long"}
	for _, name := range []string{"x-amz-date", "X-AMZ-DATE", "x-kept as it is", "x--a", "-a", "a-", "etag", "x-1a", "x-1A", "x_y", "ünter", "", "none", "x-" + strings.Repeat("a", 80)} {
		if got, want := valuesOf(h, name), h[http.CanonicalHeaderKey(name)]; !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestAKeyRemembersWhatItSignsWith(t *testing.T) {
	s := newTestSigV4(t, nil)
	key := &iamKey{id: "AKIA", secret: "secret", kept: true}
	for _, sc := range []scope{
		{"20260115", "eu-west-3", "execute-api"}, {"20260115", "eu-west-3", "execute-api"}, {"20260115", "eu-west-3", "lambda"}, {"20260115", "eu-west-3", "lambda"},
		{"20260116", "eu-west-3", "execute-api"}, {"20260115", "eu-west-3", "execute-api"}, {"20260116", "eu-west-3", "execute-api"},
	} {
		if got, want := s.derive(key, sc), signingKey("secret", sc); !bytes.Equal(got, want) {
			t.Errorf("%v: got %x, want %x", sc, got, want)
		}
	}
}

func BenchmarkSignature(b *testing.B) {
	s, err := newSigV4(b.Context(), &IAM{Keys: []AccessKey{{AccessKeyID: vectorKey, Secret: secret.Ref{Value: vectorSecret}, User: "ingest"}}}, Env{
		Region: "eu-west-3", Account: "111122223333", Secret: secret.Local, now: vectorNow,
	})
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256(nil)
	r := &http.Request{Method: "POST", RequestURI: "/topics/clicks", URL: &url.URL{Path: "/topics/clicks"}, Host: "127.0.0.1:8080", Header: http.Header{
		"Content-Type": {"text/plain"}, "X-Amz-Date": {vectorTime}, "X-Amz-Content-Sha256": {hex.EncodeToString(digest[:])}, "Accept": {"*/*"},
	}}
	signed, sc := []string{"content-type", "host", "x-amz-content-sha256", "x-amz-date"}, scope{"20260115", "eu-west-3", "execute-api"}
	canonical := appendCanonical(nil, r, form{host: r.Host}, signed, hex.EncodeToString(digest[:]))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+vectorKey+"/20260115/eu-west-3/execute-api/aws4_request, SignedHeaders="+strings.Join(signed, ";")+", Signature="+
		hex.EncodeToString(sum(signingKey(vectorSecret, sc), appendToSign(nil, vectorTime, sc, canonical))))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.authenticate(r); err != nil {
			b.Fatal(err)
		}
	}
}
