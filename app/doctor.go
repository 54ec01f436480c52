package app

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/front/auth"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
)

const (
	doctorTime = 5 * time.Second  // for one address
	mostSkew   = 30 * time.Second // of clocks, before somebody is told
	mostPeers  = 200              // targets and issuers that are looked at
)

// Doctor goes every way out of klamm that a configuration names, to Kafka, to targets
// and to those who say who callers are, and reports what it finds, as soon as it does.
// It delivers nothing, changes nothing and needs no running klamm.
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
	d.targets(ctx)
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
	asked  map[string]bool // addresses, each of which is looked at once
}

func (d *doctor) problem(check, at, found, try string) {
	d.report(kafka.Finding{Level: kafka.FoundProblem, Check: check, At: at, Found: found, Try: try})
}

// targets looks whether the servers can be reached that pipes deliver to. No request
// is sent: they may act on it.
func (d *doctor) targets(ctx context.Context) {
	egress, err := target.NewEgress(d.cfg.Egress.Allow, false)
	if err != nil {
		d.problem("config", "egress", err.Error(), "klamm check says the same")
		return
	}
	for _, p := range d.cfg.Pipes {
		var c struct {
			URL      string `json:"url"`
			Endpoint string `json:"endpoint"`
		}
		if json.Unmarshal(p.Target.Config, &c) != nil {
			continue
		}
		for _, text := range []string{c.URL, c.Endpoint} {
			u, err := url.Parse(text)
			if err != nil || u.Host == "" || strings.ContainsAny(u.Host, "<${") {
				continue // made from the record
			}
			d.reach(ctx, egress, "target of pipe "+p.Name, u)
		}
	}
}

func (d *doctor) reach(ctx context.Context, egress *target.Egress, at string, u *url.URL) {
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), map[bool]string{true: "443", false: "80"}[u.Scheme == "https"])
	}
	if d.asked[address] || len(d.asked) == mostPeers {
		return
	}
	d.asked[address] = true
	at += " " + address
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	conn, err := egress.Transport().DialContext(ctx, "tcp", address)
	if err != nil {
		d.problem("target", at, err.Error(), "is the address right, and does somebody listen there? private addresses have to be named in egress.allow")
		return
	}
	defer conn.Close()
	if u.Scheme == "https" {
		session := tls.Client(conn, &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12})
		if err := session.HandshakeContext(ctx); err != nil {
			d.problem("target", at, "TLS: "+err.Error(), "is the certificate one that this machine trusts, for this name, and not expired?")
			return
		}
	}
	d.report(kafka.Finding{Level: kafka.FoundWell, Check: "target", At: at, Found: "takes connections"})
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
