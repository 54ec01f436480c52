package kafka_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/secret"
)

// unsecured is a token as Kafka's default validator takes it.
func unsecured(sub string, lasts time.Duration) string {
	now := time.Now().Unix()
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	return part(`{"alg":"none"}`) + "." + part(fmt.Sprintf(`{"sub":%q,"iat":%d,"exp":%d,"scope":"kafka"}`, sub, now-60, now+int64(lasts/time.Second))) + "."
}

// Apache Kafka with listeners that want a login is started by deploy/kafka/run --sasl.
func TestLoginToApacheKafka(t *testing.T) {
	address, open, mutual, dir := os.Getenv("KLAMM_TEST_SASL"), os.Getenv("KLAMM_TEST_SASL_PLAINTEXT"), os.Getenv("KLAMM_TEST_MTLS"), os.Getenv("KLAMM_TEST_TLS")
	if address == "" {
		t.Skip("KLAMM_TEST_SASL names no listener; deploy/kafka/run --sasl starts one")
	}
	user := func(name, password string) *kafka.Credentials {
		return &kafka.Credentials{Username: name, Password: secret.Ref{Value: password}}
	}
	certificate := func(name string) *kafka.Credentials {
		return &kafka.Credentials{Certificate: filepath.Join(dir, name+".pem"), Key: secret.Ref{File: filepath.Join(dir, name+".key")}}
	}
	token := func(sub string, lasts time.Duration) *kafka.OAuth {
		return &kafka.OAuth{Token: secret.Ref{Value: unsecured(sub, lasts)}}
	}
	ca := &kafka.Source{File: filepath.Join(dir, "ca.pem")}
	other := newAuthority(t)
	badCert, badKey := other.issue(t, "klamm")
	oldCert, oldKey := expired(t, dir)
	topic := unique(t)
	for _, test := range []struct {
		name string
		cfg  kafka.Config
		want error  // of logging in
		text string // that the error holds
	}{
		{name: "plain", cfg: kafka.Config{Brokers: []string{address}, Auth: "plain", Credentials: user("klamm", "klamm-secret"), RootCA: ca}},
		{name: "scram-256", cfg: kafka.Config{Brokers: []string{address}, Auth: "scram-256", Credentials: user("klamm", "klamm-secret"), RootCA: ca}},
		{name: "scram-512", cfg: kafka.Config{Brokers: []string{address}, Auth: "scram-512", Credentials: user("klamm", "klamm-secret"), RootCA: ca}},
		{name: "scram-512 in clear text", cfg: kafka.Config{Brokers: []string{open}, Auth: "scram-512", Credentials: user("klamm", "klamm-secret"), AllowInsecure: true}},
		{name: "oauth", cfg: kafka.Config{Brokers: []string{address}, Auth: "oauth", OAuth: token("klamm", time.Hour), RootCA: ca}},
		{name: "mtls", cfg: kafka.Config{Brokers: []string{mutual}, Auth: "mtls", Credentials: certificate("klamm"), RootCA: ca}},
		{name: "wrong password of plain", cfg: kafka.Config{Brokers: []string{address}, Auth: "plain", Credentials: user("klamm", "wr0ng"), RootCA: ca}, want: kerr.SaslAuthenticationFailed},
		{name: "wrong password of scram-256", cfg: kafka.Config{Brokers: []string{address}, Auth: "scram-256", Credentials: user("klamm", "wr0ng"), RootCA: ca}, want: kerr.SaslAuthenticationFailed},
		{name: "user whom nobody knows", cfg: kafka.Config{Brokers: []string{address}, Auth: "scram-512", Credentials: user("nobody", "wr0ng"), RootCA: ca}, want: kerr.SaslAuthenticationFailed},
		{name: "expired certificate", cfg: kafka.Config{Brokers: []string{mutual}, Credentials: &kafka.Credentials{Certificate: oldCert, Key: secret.Ref{Value: oldKey}}, RootCA: ca}, want: kafka.ErrLogin, text: "certificate"},
		{name: "wrong password of scram", cfg: kafka.Config{Brokers: []string{address}, Auth: "scram-512", Credentials: user("klamm", "wr0ng"), RootCA: ca}, want: kerr.SaslAuthenticationFailed},
		{name: "expired token", cfg: kafka.Config{Brokers: []string{address}, Auth: "oauth", OAuth: token("klamm", -30*time.Second), RootCA: ca}, want: kerr.SaslAuthenticationFailed},
		{name: "certificate of nobody", cfg: kafka.Config{Brokers: []string{mutual}, Credentials: &kafka.Credentials{Certificate: badCert, Key: secret.Ref{Value: badKey}}, RootCA: ca}, want: kafka.ErrLogin, text: "certificate"},
		{name: "mechanism that is not there", cfg: kafka.Config{Brokers: []string{address}, Auth: "iam", Credentials: &kafka.Credentials{AccessKeyID: "AKIATESTTESTTEST0001", SecretAccessKey: secret.Ref{Value: "wr0ng"}}, RootCA: ca, Region: "eu-west-3"}, want: kerr.UnsupportedSaslMechanism},
		{name: "root of somebody else", cfg: kafka.Config{Brokers: []string{address}, Auth: "scram-512", Credentials: user("klamm", "klamm-secret"), RootCA: &kafka.Source{Value: other.pem}}, text: "unknown authority"},
		{name: "clear text to TLS", cfg: kafka.Config{Brokers: []string{address}, Auth: "scram-512", Credentials: user("klamm", "klamm-secret"), AllowInsecure: true}, text: "TLS"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := openWith(t, test.cfg, slog.New(slog.DiscardHandler))
			if test.want == nil && test.text == "" {
				eventually(t, func() error { return c.Ready(t.Context()) })
				produce(t, c, topic, -1, test.name)
				eventually(t, func() error { return reads(t, c, topic, test.name) })
				return
			}
			eventually(t, func() error {
				switch err := c.Ready(t.Context()); {
				case err == nil:
					t.Fatal("the brokers take it")
				case test.want != nil && !errors.Is(err, test.want), !strings.Contains(err.Error(), test.text), strings.Contains(err.Error(), "wr0ng"):
					return fmt.Errorf("got %w, want %v %q without what is secret", err, test.want, test.text)
				}
				return nil
			})
		})
	}

	admin := openWith(t, kafka.Config{Brokers: []string{os.Getenv("KLAMM_TEST_BROKERS")}})
	t.Run("the rights of a certificate", func(t *testing.T) {
		own := topic + "-own"
		if err := admin.EnsureTopic(t.Context(), own, 1, nil); err != nil {
			t.Fatal(err)
		}
		c := openWith(t, kafka.Config{Brokers: []string{mutual}, Credentials: certificate("reader"), RootCA: ca})
		record := func() error {
			return c.Produce(t.Context(), &kgo.Record{Topic: own, Partition: 0, Value: []byte("v")}).FirstErr()
		}
		if err := record(); !errors.Is(err, kerr.TopicAuthorizationFailed) {
			t.Errorf("CN=reader writes: %v, want TOPIC_AUTHORIZATION_FAILED", err)
		}
		for _, operation := range []string{"WRITE", "READ"} {
			if err := admin.CreateACLs(t.Context(), kafka.ACL{ResourceType: "TOPIC", ResourceName: own, PatternType: "LITERAL", Principal: "User:CN=reader", Host: "*", Operation: operation, Permission: "ALLOW"}); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, record)
		eventually(t, func() error { return reads(t, c, own, "v") })
	})
	t.Run("the rights of a caller", func(t *testing.T) {
		own := openWith(t, kafka.Config{Brokers: []string{address}, Auth: "scram-512", Credentials: user("klamm", "klamm-secret"), RootCA: ca})
		i := own.Identities()
		t.Cleanup(i.Close)
		if _, _, err := i.As(t.Context(), kafka.Caller{Principal: "User:reader", Username: "reader", Password: "wr0ng"}); !errors.Is(err, kerr.SaslAuthenticationFailed) {
			t.Errorf("a wrong password: %v", err)
		}
		for _, caller := range []kafka.Caller{
			{Principal: "User:reader", Username: "reader", Password: "reader-secret"},
			{Principal: "User:reader", Token: unsecured("reader", time.Hour)},
		} {
			c, done, err := i.As(t.Context(), caller)
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			denied := c.Produce(t.Context(), &kgo.Record{Topic: topic, Partition: -1, Value: []byte("v")}).FirstErr()
			if !errors.Is(denied, kerr.TopicAuthorizationFailed) {
				t.Errorf("reader writes: %v, want TOPIC_AUTHORIZATION_FAILED", denied)
			}
		}
		if err := admin.CreateACLs(t.Context(), kafka.ACL{ResourceType: "TOPIC", ResourceName: topic, PatternType: "LITERAL", Principal: "User:reader", Host: "*", Operation: "READ", Permission: "ALLOW"}); err != nil {
			t.Fatal(err)
		}
		c, done, err := i.As(t.Context(), kafka.Caller{Principal: "User:reader", Username: "reader", Password: "reader-secret"})
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		eventually(t, func() error { return reads(t, c, topic, "plain") })
	})
}

// expired is a certificate of klamm's that the brokers knew until an hour ago, and its
// key, PEM.
func expired(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	ca, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "klamm"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, &private.PublicKey, ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

// reads looks for a value in the partitions of a topic.
func reads(t *testing.T, c *kafka.Cluster, topic, value string) error {
	t.Helper()
	meta, err := c.Topic(t.Context(), topic)
	if err != nil {
		return err
	}
	for _, p := range meta.Partitions {
		got, err := c.Fetch(t.Context(), topic, p.ID, 0, kafka.Limits{})
		if err != nil {
			return err
		}
		for _, r := range got {
			if string(r.Value) == value {
				return nil
			}
		}
	}
	return fmt.Errorf("%q is not in %s", value, topic)
}
