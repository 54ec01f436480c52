package secret

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStoreFindsSecretsByNameAndARN(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"login.json": "one", "turning-AbCdEf.json": "two"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(dir), "outside.json"), []byte("no"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(variable("team/of-env"), "three")
	s := NewStore(Config{Directory: dir}, "")
	const arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:"
	for _, test := range []struct{ in, want string }{
		{"login", "one"}, {arn + "login", "one"}, {arn + "login-XyZ123", "one"}, {arn + "turning-AbCdEf", "two"}, {"turning", "two"}, {"team/of-env", "three"},
	} {
		if got, err := s.Get(t.Context(), test.in); got != test.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", test.in, got, err, test.want)
		}
	}
	for _, name := range []string{"", "../outside", "/login", "a//b", "lo?in", strings.Repeat("a", 3000)} {
		if got, err := s.Get(t.Context(), name); err == nil {
			t.Errorf("%.20q: %q, want an error", name, got)
		}
	}
	if _, err := s.Get(t.Context(), "gone"); !errors.Is(err, ErrUnknown) {
		t.Errorf("gone: %v, want ErrUnknown", err)
	}
}

func TestStoreAsksOverTheNetwork(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch {
		case r.Header.Get("X-Vault-Token") == "t" && r.URL.Path == "/v1/kv/data/login":
			_, _ = w.Write([]byte(`{"data":{"data":{"username":"u"}}}`))
		case r.Header.Get("X-Vault-Token") != "":
			w.WriteHeader(http.StatusNotFound)
		default:
			var ask struct{ SecretID string }
			_ = json.NewDecoder(r.Body).Decode(&ask)
			signed := strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIATESTTESTTEST0001/") && strings.Contains(r.Header.Get("Authorization"), "/eu-west-3/secretsmanager/")
			if r.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue" || !signed || ask.SecretID != "away" {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = w.Write([]byte(`{"__type":"ResourceNotFoundException"}`))
				return
			}
			_, _ = w.Write([]byte(`{"SecretString":"from afar"}`))
		}
	}))
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATESTTESTTEST0001")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
	s := NewStore(Config{Vault: &Vault{Address: server.URL, Token: Ref{Value: "t"}, Mount: "kv"}, AWS: &Manager{Endpoint: server.URL}}, "eu-west-3")
	for range 2 {
		if got, err := s.Get(t.Context(), "login"); got != `{"username":"u"}` || err != nil {
			t.Errorf("Vault: %q, %v", got, err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times, want 1", asked)
	}
	if got, err := s.Get(t.Context(), "away"); got != "from afar" || err != nil {
		t.Errorf("Secrets Manager: %q, %v", got, err)
	}
	if _, err := s.Get(t.Context(), "gone"); !errors.Is(err, ErrUnknown) {
		t.Errorf("gone: %v, want ErrUnknown", err)
	}
	server.Close()
	if _, err := s.Get(t.Context(), "other"); !errors.Is(err, ErrAway) {
		t.Errorf("nobody there: %v, want ErrAway", err)
	}
	if got, err := s.Get(t.Context(), "login"); got == "" || err != nil {
		t.Errorf("what is remembered: %q, %v", got, err)
	}
}
