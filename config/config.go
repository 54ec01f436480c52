// Package config reads the one configuration file, YAML or JSON, strictly.
//
// Sections are structs of the packages that they configure. A field's key is in
// its yaml tag, `unit:"bytes"` makes an int64 a size such as 64MiB, and a
// json.RawMessage takes any YAML as JSON. Load decodes a file into these structs,
// lets each section validate itself and finds every problem together with its
// line and column; the packages' comments are made into the configuration
// reference by config/reference.
//
// Nobody below this package reads files, flags or the environment, and defaults
// are applied where a section is used.
package config

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/azure1"
	"github.com/klamm-gateway/klamm/front/confluent2"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/target"
)

//go:generate go run ./reference ../docs/configuration.md

// A Config is a whole configuration file.
type Config struct {
	// Listen is the HTTP address, HOST:PORT; port 0 takes a free one. The
	// default is 127.0.0.1:8082.
	Listen string `yaml:"listen"`
	// PublicURL is where clients reach klamm, as in https://kafka.example.com/gate,
	// if that differs from the address they connect to: URLs in answers begin
	// with it.
	PublicURL string `yaml:"public_url"`
	// H2C accepts HTTP/2 without TLS from clients that begin with it (prior
	// knowledge), beside HTTP/1.1.
	H2C bool `yaml:"h2c"`
	// ShutdownTimeout bounds stopping in good order, 1s to 1h; the default is
	// 20s.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout"`
	// Kafka is the cluster that klamm serves. klamm dev uses its embedded broker
	// instead.
	Kafka kafka.Config `yaml:"kafka"`
	// Auth says who may use klamm.
	Auth Auth `yaml:"auth"`
	// Sizes bounds request bodies.
	Sizes front.Sizes `yaml:"sizes"`
	// Rest holds the switches of the REST dialects.
	Rest Rest `yaml:"rest"`
	// Pipes take records from topics to targets.
	Pipes []catalog.Pipe `yaml:"pipes"`
	// Egress says which addresses targets may have.
	Egress Egress `yaml:"egress"`
	// WAF says whom the front door believes.
	WAF WAF `yaml:"waf"`
}

// WAF says whom the front door believes.
type WAF struct {
	// TrustedProxies lists the addresses and prefixes, such as 10.0.0.0/8, of the
	// proxies whose Forwarded and X-Forwarded-* headers say under which address
	// clients know klamm. Nobody else's are believed.
	TrustedProxies []string `yaml:"trusted_proxies"`
}

// Validate reports entries that are neither address nor prefix.
func (w WAF) Validate(report func(path, problem string)) {
	for i, text := range w.TrustedProxies {
		if _, err := front.NewLinks("", []string{text}); err != nil {
			report(fmt.Sprintf("trusted_proxies[%d]", i), "want an address or a prefix such as 10.0.0.0/8")
		}
	}
}

// Auth says who may use klamm.
type Auth struct {
	// Anonymous lets everybody in, on addresses that others can reach too.
	// Without it klamm serves everybody on loopback only.
	Anonymous bool `yaml:"anonymous"`
}

// Rest holds the switches of the REST dialects.
type Rest struct {
	// V2 are the switches of Confluent v2.
	V2 confluent2.Config `yaml:"v2"`
	// V1 are the switches of HDInsight v1.
	V1 azure1.Config `yaml:"v1"`
}

// Egress says which addresses targets may have.
type Egress struct {
	// Allow lists prefixes, such as 10.1.0.0/16, and addresses that targets may
	// have although they are private, loopback, link-local or special. klamm
	// dev allows all.
	Allow []string `yaml:"allow"`
}

// Default returns the configuration of an empty file.
func Default() *Config {
	return &Config{Listen: "127.0.0.1:8082", ShutdownTimeout: 20 * time.Second}
}

// Validate reports what is wrong with the file as a whole; the sections report
// for themselves.
func (c *Config) Validate(report func(path, problem string)) {
	if _, port, err := net.SplitHostPort(c.Listen); err != nil || !isPort(port) {
		report("listen", "want HOST:PORT, such as 127.0.0.1:8082")
	}
	if c.PublicURL != "" && !isBase(c.PublicURL) {
		report("public_url", "want http://HOST or https://HOST, and a path if there is one")
	}
	if c.ShutdownTimeout < time.Second || c.ShutdownTimeout > time.Hour {
		report("shutdown_timeout", "want a time from 1s to 1h")
	}
	c.validatePipes(report)
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// isBase says whether paths can be put after a URL.
func isBase(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil &&
		u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}

// validatePipes reports what pipes have in common and must not.
func (c *Config) validatePipes(report func(path, problem string)) {
	names := map[string]int{}
	readers := map[[2]string]int{} // of a topic in a group
	for i, p := range c.Pipes {
		if first, ok := names[p.Name]; ok && p.Name != "" {
			report(fmt.Sprintf("pipes[%d].name", i), fmt.Sprintf("pipe %d of the list has the name %q already", first+1, p.Name))
			continue
		}
		names[p.Name] = i
		group := p.WithDefaults().Group
		for _, topic := range p.Topics {
			first, ok := readers[[2]string{group, topic}]
			if ok && first != i {
				report(fmt.Sprintf("pipes[%d].group", i), fmt.Sprintf("pipe %q reads topic %q with this group already: each record would reach only one of the two", c.Pipes[first].Name, topic))
			}
			readers[[2]string{group, topic}] = i
		}
	}
}

// Validate reports prefixes that are none.
func (e Egress) Validate(report func(path, problem string)) {
	for i, text := range e.Allow {
		if _, err := target.NewEgress([]string{text}, false); err != nil {
			report(fmt.Sprintf("allow[%d]", i), "want an address or a prefix, such as 10.0.0.0/8")
		}
	}
}
