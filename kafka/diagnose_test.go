package kafka_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/kafka"
	_ "github.com/klamm-gateway/klamm/nametest"
	"github.com/klamm-gateway/klamm/secret"
)

// odd is a server's certificate that something is wrong with.
func (a authority) odd(t testing.TB, change func(*x509.Certificate)) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "odd"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// found is what Diagnose tells of what is not well.
func found(t *testing.T, cfg kafka.Config, needs kafka.Needs) (problems []string, well int) {
	t.Helper()
	kafka.Diagnose(t.Context(), "kafka", cfg, needs, func(f kafka.Finding) {
		if f.Level == kafka.FoundWell {
			well++
			return
		}
		if f.Try == "" {
			t.Errorf("%s: %s: nothing to try", f.At, f.Found)
		}
		problems = append(problems, f.Level+" "+f.Check+" "+f.At+": "+f.Found)
	})
	return problems, well
}

func TestDiagnoseNamesWhatIsBroken(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	user := func(password string) *kafka.Credentials {
		return &kafka.Credentials{Username: "klamm", Password: secret.Ref{Value: password}}
	}
	sasl := func(t *testing.T, opts ...kfake.Opt) []string {
		c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "klamm", "right")}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c.ListenAddrs()
	}
	secured := func(t *testing.T, server *tls.Config) []string { return sasl(t, kfake.TLS(server)) }
	scram := func(brokers []string, root, password string) kafka.Config {
		return kafka.Config{Brokers: brokers, Auth: "scram-512", Credentials: user(password), RootCA: &kafka.Source{Value: root}}
	}
	closed := func(t *testing.T) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	tests := []struct {
		name string
		cfg  func(t *testing.T) kafka.Config
		want string // a pattern for what is found
	}{
		{"no brokers", func(*testing.T) kafka.Config { return kafka.Config{} }, "problem config .*no brokers"},
		{"no port", func(*testing.T) kafka.Config { return kafka.Config{Brokers: []string{"localhost"}} }, "problem dns .*HOST:PORT"},
		{"no such host", func(*testing.T) kafka.Config { return kafka.Config{Brokers: []string{"no-such-host.invalid:9092"}} }, "problem dns .*no-such-host.invalid"},
		{"a closed port", func(t *testing.T) kafka.Config { return kafka.Config{Brokers: []string{closed(t)}} }, "problem tcp .*refused"},
		{"somebody else's port", func(t *testing.T) kafka.Config { return kafka.Config{Brokers: []string{silent(t, true)}} }, "problem login .*Kafka broker"},
		{"clear text to TLS", func(t *testing.T) kafka.Config {
			return kafka.Config{Brokers: secured(t, ca.server(t, tls.NoClientCert))}
		}, "problem tls .*expects TLS.*clear text"},
		{"TLS to clear text", func(t *testing.T) kafka.Config { return scram(sasl(t), ca.pem, "right") }, "problem tls .*TLS"},
		{"TLS to somebody else", func(t *testing.T) kafka.Config { return scram([]string{silent(t, true)}, ca.pem, "right") }, "problem tls .*TLS"},
		{"another authority", func(t *testing.T) kafka.Config {
			return scram(secured(t, ca.server(t, tls.NoClientCert)), other.pem, "right")
		}, "problem tls .*authority that is not trusted"},
		{"no authority", func(t *testing.T) kafka.Config {
			return kafka.Config{Brokers: secured(t, ca.server(t, tls.NoClientCert)), Auth: "tls"}
		}, "problem tls .*authority that is not trusted"},
		{"an expired certificate", func(t *testing.T) kafka.Config {
			return scram(secured(t, ca.odd(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })), ca.pem, "right")
		}, "problem tls .*has expired"},
		{"a certificate of tomorrow", func(t *testing.T) kafka.Config {
			return scram(secured(t, ca.odd(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })), ca.pem, "right")
		}, "problem tls .*not valid before"},
		{"a certificate for another name", func(t *testing.T) kafka.Config {
			return scram(secured(t, ca.odd(t, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"kafka.example.com"}, nil })), ca.pem, "right")
		}, "problem tls .*127.0.0.1"},
		{"a certificate that ends soon", func(t *testing.T) kafka.Config {
			return scram(secured(t, ca.odd(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(5 * 24 * time.Hour) })), ca.pem, "right")
		}, "warning tls .*certificate ends"},
		{"no certificate of klamm's", func(t *testing.T) kafka.Config {
			_, brokers := fake(t, "", nil, kfake.TLS(ca.server(t, tls.RequireAndVerifyClientCert)))
			return kafka.Config{Brokers: brokers, Auth: "tls", RootCA: &kafka.Source{Value: ca.pem}}
		}, "(?i)problem (tls|login) .*certificate"},
		{"a certificate of a stranger", func(t *testing.T) kafka.Config {
			_, brokers := fake(t, "", nil, kfake.TLS(ca.server(t, tls.RequireAndVerifyClientCert)))
			cert, key := other.issue(t, "klamm")
			return kafka.Config{Brokers: brokers, RootCA: &kafka.Source{Value: ca.pem}, Credentials: &kafka.Credentials{Certificate: cert, Key: secret.Ref{Value: key}}}
		}, "(?i)problem (tls|login) .*certificate"},
		{"a certificate without its key", func(t *testing.T) kafka.Config {
			cert, _ := ca.issue(t, "klamm")
			return kafka.Config{Brokers: []string{"127.0.0.1:9092"}, Credentials: &kafka.Credentials{Certificate: cert}}
		}, "problem login .*credentials"},
		{"a wrong password", func(t *testing.T) kafka.Config {
			return scram(secured(t, ca.server(t, tls.NoClientCert)), ca.pem, "wrong")
		}, "(?i)problem login .*(authentication|password|credentials)"},
		{"a password that the broker says is wrong", func(t *testing.T) kafka.Config {
			_, judge := plainUsers(map[string]string{"klamm": "right"})
			_, brokers := fake(t, "PLAIN", judge, kfake.TLS(ca.server(t, tls.NoClientCert)))
			c := scram(brokers, ca.pem, "wrong")
			c.Auth = "plain"
			return c
		}, "problem login .*authentication failed"},
		{"another mechanism", func(t *testing.T) kafka.Config {
			_, judge := plainUsers(nil)
			_, brokers := fake(t, "PLAIN", judge, kfake.TLS(ca.server(t, tls.NoClientCert)))
			return scram(brokers, ca.pem, "right")
		}, "problem login .*does not offer the SASL mechanism"},
		{"no login where one is wanted", func(t *testing.T) kafka.Config { return kafka.Config{Brokers: sasl(t)} }, "problem login "},
		{"a missing file", func(*testing.T) kafka.Config {
			return kafka.Config{Brokers: []string{"127.0.0.1:9092"}, Auth: "scram-512", Credentials: &kafka.Credentials{File: "/does/not/exist.json"}}
		}, "problem login .*exist.json"},
		{"brokers that advertise what nobody reaches", func(t *testing.T) kafka.Config {
			c, brokers := fake(t, "", nil)
			c.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				resp := req.ResponseKind().(*kmsg.MetadataResponse)
				b := kmsg.NewMetadataResponseBroker()
				b.NodeID, b.Host, b.Port = 7, "kafka-7.internal.invalid", 9092
				resp.Brokers, resp.ControllerID = append(resp.Brokers, b), 7
				return resp, nil, true
			})
			return kafka.Config{Brokers: brokers}
		}, "problem advertised .*broker 7 advertises kafka-7.internal.invalid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := tt.cfg(t)
			if cfg.Auth == "" && cfg.Credentials == nil && cfg.RootCA == nil {
				cfg.Auth, cfg.AllowInsecure = "none", true
			}
			problems, _ := found(t, cfg, kafka.Needs{})
			if all := strings.Join(problems, "\n"); !regexp.MustCompile(tt.want).MatchString(all) {
				t.Errorf("found %q, want %s", all, tt.want)
			}
		})
	}
}

// silent is a port where somebody listens who speaks neither TLS nor Kafka's protocol.
func silent(t *testing.T, hangUp bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("220 mail.example.com\r\n"))
			if hangUp {
				_ = conn.Close()
			}
		}
	}()
	return l.Addr().String()
}

func TestDiagnoseRights(t *testing.T) {
	c, brokers := fake(t, "", nil)
	control := func(code int16) {
		c.ControlKey(int16(kmsg.OffsetFetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
			if resp.GetVersion() >= 8 {
				g := kmsg.NewOffsetFetchResponseGroup()
				g.Group, g.ErrorCode = "g", code
				resp.Groups = append(resp.Groups, g)
			} else {
				resp.ErrorCode = code
			}
			return resp, nil, true
		})
		c.ControlKey(int16(kmsg.CreateTopics), func(req kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
			one := kmsg.NewCreateTopicsResponseTopic()
			one.Topic, one.ErrorCode = "made", kerr.TopicAuthorizationFailed.Code
			resp.Topics = append(resp.Topics, one)
			return resp, nil, true
		})
	}
	control(kerr.GroupAuthorizationFailed.Code)
	problems, _ := found(t, kafka.Config{Brokers: brokers, Auth: "none", AllowInsecure: true}, kafka.Needs{Read: []string{"t", "none"}, Create: []string{"made"}, Groups: []string{"g"}})
	want := []string{"warning metadata kafka topic none: there is no such topic", "problem rights kafka topic made: not there, and klamm may not make it", "problem rights kafka group g: klamm may not use it"}
	if fmt.Sprint(problems) != fmt.Sprint(want) {
		t.Errorf("found %q, want %q", problems, want)
	}
}

func TestDiagnoseFindsNothingWhereAllIsWell(t *testing.T) {
	cfg := kafka.Config{Brokers: brokertest.Brokers(t)}
	c := openWith(t, cfg)
	topic := fmt.Sprintf("diagnosed-%d", time.Now().UnixNano())
	if err := c.EnsureTopic(context.Background(), topic, 2, nil); err != nil {
		t.Fatal(err)
	}
	problems, well := found(t, cfg, kafka.Needs{Read: []string{topic}, Create: []string{topic + "-made"}, Groups: []string{topic}})
	if len(problems) > 0 || well < 6 {
		t.Errorf("found %q, %d that are well", problems, well)
	}
}
