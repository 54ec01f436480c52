// Package config reads the one configuration file: YAML, strictly. Sections are
// structs of the packages that they configure; this package decodes them, finds
// every problem together with its line and column, and applies no defaults but
// its own.
//
// Nobody below this package reads files.
package config

import (
	"fmt"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/confluent2"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/target"
)

// A Config is a whole configuration file.
type Config struct {
	// Listen is the HTTP address, HOST:PORT; port 0 takes a free one. The
	// default is 127.0.0.1:8082.
	Listen string `yaml:"listen"`
	// ShutdownTimeout bounds stopping in good order; the default is 20s.
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
}

// Egress says which addresses targets may have.
type Egress struct {
	// Allow lists prefixes, such as 10.1.0.0/16, and addresses that targets may
	// have although they are private, loopback, link-local or special. klamm
	// dev allows all.
	Allow []string `yaml:"allow"`
}

// Validate reports prefixes that are none.
func (e Egress) Validate(report func(path, problem string)) {
	for i, text := range e.Allow {
		if _, err := target.NewEgress([]string{text}, false); err != nil {
			report(fmt.Sprintf("allow[%d]", i), "want an address or a prefix such as 10.0.0.0/8")
		}
	}
}

// Default returns the configuration of an empty file.
func Default() *Config {
	return &Config{Listen: "127.0.0.1:8082", ShutdownTimeout: 20 * time.Second}
}

// Validate reports what is wrong with the file as a whole.
func (c *Config) Validate(report func(path, problem string)) {
	if c.ShutdownTimeout < time.Second || c.ShutdownTimeout > time.Hour {
		report("shutdown_timeout", "want a time from 1s to 1h")
	}
	names, groups := map[string]int{}, map[string]int{}
	for i, p := range c.Pipes {
		if first, ok := names[p.Name]; ok && p.Name != "" {
			report(fmt.Sprintf("pipes[%d].name", i), fmt.Sprintf("pipes[%d] has the name %q already", first, p.Name))
		}
		names[p.Name] = i
		for _, t := range p.Topics {
			at := p.WithDefaults().Group + "\x00" + t
			if first, ok := groups[at]; ok && c.Pipes[first].Name != p.Name {
				report(fmt.Sprintf("pipes[%d].group", i), fmt.Sprintf("pipe %q reads topic %s with this group already: each record would reach only one of the two", c.Pipes[first].Name, t))
			}
			groups[at] = i
		}
	}
}
