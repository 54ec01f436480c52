package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/certificate"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/front/auth"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
)

const (
	doctorTime = 5 * time.Second  // for one address
	mostSkew   = 30 * time.Second // of clocks, before somebody is told
	mostPeers  = 200              // targets and issuers that are looked at
)

// Doctor goes every way out of klamm that a configuration names, to Kafka, to targets
// and to those who say who callers are, and reports what it finds, as soon as it does.
// It delivers nothing, changes nothing and needs no running klamm. Of targets it asks for
// the head of what is at their URL.
func Doctor(ctx context.Context, cfg *config.Config, report func(kafka.Finding)) {
	for _, err := range Check(ctx, cfg) {
		if !strings.HasPrefix(err.Error(), "kafka") { // which is told in its place
			report(kafka.Finding{Level: kafka.FoundProblem, Check: "config", At: "the configuration", Found: err.Error(), Try: "klamm check says the same"})
		}
	}
	k := kafkaOf(cfg)
	kafka.Diagnose(ctx, "kafka", k, needsOf(cfg), report)
	for _, f := range k.Clusters {
		kafka.Diagnose(ctx, f.Name, f.Config(k), kafka.Needs{}, report)
	}
	d := &doctor{cfg: cfg, report: report, asked: map[string]bool{}}
	var err error
	if d.egress, err = target.NewEgress(cfg.Egress.Allow, false); err != nil { // which the configuration has told
		d.egress, _ = target.NewEgress(nil, false)
	}
	d.targets(ctx)
	d.functions(ctx)
	d.registry(ctx)
	d.issuers(ctx)
}

// needsOf is what klamm does with its own cluster.
func needsOf(cfg *config.Config) kafka.Needs {
	n := kafka.Needs{Create: []string{"__klamm_nodes", catalog.Topic, gate.AsyncTopic, pipe.MemoryTopic, pipe.EventTopic, pipe.DeliveryTopic}}
	for _, p := range cfg.Pipes {
		if p.SourceCluster != "" || len(n.Groups) == mostPeers {
			continue
		}
		n.Read = append(n.Read, p.Topics...)
		n.Groups = append(n.Groups, p.WithDefaults().Group)
		if letters := p.WithDefaults().Delivery.DeadLetter; letters != "" {
			n.Create = append(n.Create, letters)
		}
	}
	return n
}

type doctor struct {
	cfg    *config.Config
	report func(kafka.Finding)
	egress *target.Egress
	asked  map[string]bool // addresses, each of which is looked at once
}

func (d *doctor) problem(check, at, found, try string) {
	d.report(kafka.Finding{Level: kafka.FoundProblem, Check: check, At: at, Found: found, Try: try})
}

// targets looks whether the servers can be reached that pipes deliver to, and answer.
func (d *doctor) targets(ctx context.Context) {
	for _, p := range d.cfg.Pipes {
		var c struct {
			URL      string `json:"url"`
			Endpoint string `json:"endpoint"`
			TLS      struct {
				CA         secret.Ref `json:"ca"`
				ServerName string     `json:"server_name"`
			} `json:"tls"`
		}
		if json.Unmarshal(p.Target.Config, &c) != nil {
			continue
		}
		trust := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.TLS.ServerName}
		if text, err := secret.Local(ctx, c.TLS.CA); err == nil && text != "" { // a file that is missing is told by the check
			trust.RootCAs, _ = certificate.Roots(text)
		}
		for _, text := range []string{c.URL, c.Endpoint} {
			d.reach(ctx, "target of pipe "+p.Name, text, trust)
		}
	}
}

// functions looks whether those can be reached that klamm does not start.
func (d *doctor) functions(ctx context.Context) {
	for _, f := range d.cfg.Functions {
		at := []string{f.URL, f.RIE}
		if f.Lambda != nil {
			at = append(at, f.Lambda.Endpoint)
		}
		for _, text := range at {
			d.reach(ctx, "function "+f.Name, text, &tls.Config{MinVersion: tls.VersionTLS12})
		}
	}
}

// reach makes one request that changes nothing, HEAD, to a server that klamm delivers
// to. That the server does not know HEAD, or wants a login, is no finding.
func (d *doctor) reach(ctx context.Context, at, text string, trust *tls.Config) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || strings.ContainsAny(u.Host, "<${") {
		return // there is none, or it is made from the record
	}
	if d.asked[u.Host] || len(d.asked) == mostPeers {
		return
	}
	d.asked[u.Host] = true
	at += " " + u.Host
	transport := d.egress.Transport()
	transport.TLSClientConfig = trust
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, u.String(), nil)
	if err != nil {
		d.problem("target", at, err.Error(), "write its URL")
		return
	}
	if strings.ContainsAny(text, "<${") {
		req.URL.Path, req.URL.RawPath, req.URL.RawQuery = "/", "", ""
	}
	req.Header.Set("User-Agent", "klamm-doctor")
	answer, err := transport.RoundTrip(req)
	if err != nil {
		found, try := adviceOnTargets(err)
		d.problem("target", at, found, try)
		return
	}
	_ = answer.Body.Close()
	if answer.StatusCode >= 500 && answer.StatusCode != http.StatusNotImplemented {
		d.problem("target", at, "takes connections, and answers "+answer.Status+" to HEAD", "look at the server's log, or at the proxy before it: it will probably answer deliveries the same way")
		return
	}
	d.report(kafka.Finding{Level: kafka.FoundWell, Check: "target", At: at, Found: "answers"})
}

// adviceOnTargets says why a server is not reached, and what to try.
func adviceOnTargets(err error) (found, try string) {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
		lookup  *net.DNSError
		timeout net.Error
	)
	found = err.Error()
	switch {
	case errors.As(err, &lookup):
		return found, "its name has no address here: check the spelling, and the name servers of this machine"
	case errors.As(err, &unknown):
		return "TLS: " + found, "the authority that has signed its certificate is not trusted: give it in tls.ca of the target"
	case errors.As(err, &name):
		return "TLS: " + found, "use a name that its certificate has, or give it in tls.server_name of the target"
	case errors.As(err, &invalid):
		return "TLS: " + found, "have its certificate renewed, or set the clock of this machine if it is wrong"
	case errors.As(err, &record), strings.Contains(found, "HTTP response to HTTPS client"):
		return "TLS: the server does not speak it on this port: " + found, "write http instead of https, or the port that has TLS"
	case strings.Contains(found, "egress"):
		return found, "if it is meant, name its address in egress.allow"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "nobody answers: " + found, "look at firewalls and routes between here and there, and whether the server is overloaded"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), strings.Contains(found, "malformed HTTP"):
		return found, "the server does not speak HTTP on this port, or TLS is expected: check port and scheme"
	}
	return found, "is the address right, and does somebody listen there?"
}

// issuers looks whether those answer who say who callers are, and compares clocks with
// them.
func (d *doctor) issuers(ctx context.Context) {
	for i, issuer := range d.cfg.Auth.JWT {
		issuer = issuer.WithDefaults()
		if issuer.JWKSFile != "" || !issuer.SymmetricKey.IsZero() || i >= mostPeers {
			continue
		}
		d.ask(ctx, "issuer "+issuer.Issuer, issuerURL(issuer))
	}
	if o := d.cfg.Kafka.OAuth; o != nil && o.TokenEndpoint != "" {
		d.ask(ctx, "token endpoint", o.TokenEndpoint)
	}
}

func issuerURL(i auth.Issuer) string {
	switch {
	case i.JWKSURI != "":
		return i.JWKSURI
	case strings.Contains(i.Discovery, "://"):
		return i.Discovery
	}
	return strings.TrimSuffix(strings.ReplaceAll(i.Issuer, "{tenantid}", "organizations"), "/") + "/.well-known/openid-configuration"
}

// ask looks whether a URL answers and what time it is there. A token endpoint answers
// with an error to a GET, which is an answer.
func (d *doctor) ask(ctx context.Context, at, link string) {
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		d.problem("issuer", at, err.Error(), "write its URL")
		return
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	before := time.Now()
	answer, err := client.Do(req)
	if err != nil {
		d.problem("issuer", at, err.Error(), "callers with its tokens are refused until it answers: check the URL, and the way there")
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20))
	_ = answer.Body.Close()
	if answer.StatusCode >= 500 || answer.StatusCode == http.StatusNotFound {
		d.problem("issuer", at, fmt.Sprintf("%s answers %s", link, answer.Status), "is the URL the issuer's own, character for character?")
	} else {
		d.report(kafka.Finding{Level: kafka.FoundWell, Check: "issuer", At: at, Found: link + " answers " + answer.Status})
	}
	there, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return
	}
	if off := before.Add(time.Since(before) / 2).Sub(there); off > mostSkew || off < -mostSkew {
		d.problem("clock", at, fmt.Sprintf("this machine's clock is %s away from its clock", off.Round(time.Second)), "set the clocks: tokens, signatures and certificates count by them")
	} else {
		d.report(kafka.Finding{Level: kafka.FoundWell, Check: "clock", At: at, Found: "agrees with this machine's clock"})
	}
}
