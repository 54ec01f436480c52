package objectstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

// A shop is a small S3: it takes objects whose signature names the access key
// and covers the body.
type shop struct {
	*httptest.Server
	mu      sync.Mutex
	bodies  []string
	objects map[string]string // by path
	headers http.Header       // of the last request
	access  string
	status  int
	code    string
	stalled chan struct{}
}

func newShop(t *testing.T) *shop {
	s := &shop{objects: map[string]string{}, access: "AKIAKLAMM"}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		s.mu.Lock()
		stalled := s.stalled
		s.mu.Unlock()
		if stalled != nil {
			<-stalled
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.headers = r.Header.Clone()
		sum := sha256.Sum256(body)
		switch {
		case s.status != 0:
			s.refuse(w, s.status, s.code)
		case r.Method != http.MethodPut || err != nil:
			s.refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
		case !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential="+s.access+"/") || !strings.Contains(r.Header.Get("Authorization"), "/eu-klamm-1/s3/aws4_request"):
			s.refuse(w, http.StatusForbidden, "InvalidAccessKeyId")
		case r.Header.Get("X-Amz-Content-Sha256") != hex.EncodeToString(sum[:]):
			s.refuse(w, http.StatusBadRequest, "XAmzContentSHA256Mismatch")
		default:
			s.bodies = append(s.bodies, strings.TrimSuffix(string(body), "\n"))
			s.objects[r.URL.Path] = string(body)
			w.Header().Set("ETag", `"e"`)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *shop) refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, "the shop's own words")
}

func (s *shop) answer(status int, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.code = status, code
}

func (s *shop) config() Config {
	return Config{Endpoint: s.URL, Region: "eu-klamm-1", Bucket: "archive", PathStyle: true, AccessKey: secret.Ref{Value: "AKIAKLAMM"}, SecretKey: secret.Ref{Value: "the secret"}}
}

func TestBucket(t *testing.T) {
	s := newShop(t)
	targettest.Run(t, targettest.Subject{
		Kind: Kind(), Config: s.config(),
		Received: func() []string {
			s.mu.Lock()
			defer s.mu.Unlock()
			return append([]string(nil), s.bodies...)
		},
		Fail: func(failing bool) { s.answer(map[bool]int{true: 503}[failing], "SlowDown") },
		Stall: func(stalled bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if stalled {
				s.stalled = make(chan struct{})
			} else {
				close(s.stalled)
				s.stalled = nil
			}
		},
	})
}

func TestObjectInABucket(t *testing.T) {
	s := newShop(t)
	if err := opened(t, s.config(), "ndjson").Deliver(t.Context(), events(7, "1", "2")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"/archive/source/2023/11/14/3-7-8-65b5281bf090304a.ndjson": "1\n2\n"}, s.objects); diff != "" {
		t.Error(diff)
	}
	if s.headers.Get("Content-Type") != "application/x-ndjson" || s.headers.Get("X-Amz-Meta-Klamm-Delivery-Id") != "id-7" {
		t.Errorf("headers %v", s.headers)
	}
}

func TestAnswersOfAStore(t *testing.T) {
	s := newShop(t)
	tg := opened(t, s.config(), "ndjson")
	for _, test := range []struct {
		status int
		code   string
		final  bool
	}{
		{500, "InternalError", false}, {503, "SlowDown", false}, {429, "TooManyRequests", false}, {403, "AccessDenied", false}, {404, "NoSuchBucket", false},
		{301, "PermanentRedirect", false}, {400, "ExpiredToken", false}, {400, "EntityTooLarge", true}, {413, "", true}, {400, "KeyTooLongError", true},
	} {
		s.answer(test.status, test.code)
		report := &target.Report{}
		err := tg.Deliver(target.WithReport(t.Context(), report), events(1, "1"))
		f := target.FailureOf(err)
		if err == nil || f.Final != test.final || f.Status != test.status || report.Status != test.status || strings.Contains(err.Error(), "own words") {
			t.Errorf("%d %s: got %v, final %v, status %d, report %d", test.status, test.code, err, f.Final, f.Status, report.Status)
		}
	}
	s.answer(0, "")
	if err := tg.Deliver(t.Context(), events(1, "1")); err != nil {
		t.Error(err)
	}
}

func TestReplacedCredentialsAreTaken(t *testing.T) {
	s := newShop(t)
	file := filepath.Join(t.TempDir(), "access")
	if err := os.WriteFile(file, []byte("AKIAKLAMM\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := s.config()
	c.AccessKey = secret.Ref{File: file}
	tg := opened(t, c, "ndjson")
	s.access = "AKIANEW"
	if err := tg.Deliver(t.Context(), events(1, "1")); err == nil || target.FailureOf(err).Final {
		t.Fatalf("got %v", err)
	}
	if err := os.WriteFile(file, []byte("AKIANEW\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tg.Deliver(t.Context(), events(1, "1")); err != nil {
		t.Error(err)
	}
}

func TestEgressHolds(t *testing.T) {
	s := newShop(t)
	env := targettest.Env(t, "")
	var err error
	if env.Egress, err = target.NewEgress(nil, false); err != nil {
		t.Fatal(err)
	}
	env.Transport = env.Egress.Transport()
	raw, err := json.Marshal(s.config())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Kind().Open(raw, env); !errors.Is(err, target.ErrEgress) {
		t.Errorf("an address: got %v", err)
	}
	// A name is only known to be private when a connection is made.
	tg, err := Kind().Open([]byte(strings.ReplaceAll(string(raw), "127.0.0.1", "localhost.localdomain")), env)
	if err != nil {
		t.Skip("no such name here")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := tg.Deliver(ctx, events(1, "1")); err == nil || len(s.bodies) > 0 {
		t.Errorf("got %v", err)
	}
}

func TestMissingSecretIsAMistakeInTheConfiguration(t *testing.T) {
	c := newShop(t).config()
	c.SecretKey = secret.Ref{Env: "KLAMM_TEST_NO_SUCH_VARIABLE"}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Kind().Open(raw, targettest.Env(t, "")); err == nil || !strings.Contains(err.Error(), "KLAMM_TEST_NO_SUCH_VARIABLE") {
		t.Errorf("got %v", err)
	}
}
