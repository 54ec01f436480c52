package app

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/secret"
)

// openSchemas gives the gate the schema registry of the configuration: one that is
// reached over HTTP, or the embedded one, and AWS Glue.
func (a *App) openSchemas(ctx context.Context) error {
	var glue *schema.GlueRegistry
	if a.cfg.SchemaRegistry.Glue != nil {
		g := *a.cfg.SchemaRegistry.Glue
		g.Region = cmp.Or(g.Region, a.cfg.AWS.Region)
		glue = schema.OpenGlue(g, a.cfg.SchemaRegistry.Timeout, secret.NewStore(a.cfg.Secrets, g.Region).AWS, nil)
		a.schemas.glue = glue
	}
	switch {
	case a.cfg.SchemaRegistry.URL != "":
		r, err := schema.OpenHTTP(ctx, a.cfg.SchemaRegistry, secret.Local, nil)
		if err != nil {
			return err
		}
		a.schemas.remote = r
		a.schemas.client = schema.NewClient(r, glue, false)
	case a.subjects != nil:
		a.schemas.client = schema.NewClient(a.subjects, glue, true)
	case glue != nil:
		a.schemas.client = schema.NewClient(nil, glue, false)
	}
	return nil
}

// schemas is what klamm knows of schemas.
type schemas struct {
	client *schema.Client       // nil: there is no registry
	remote *schema.HTTPRegistry // nil: it is not reached over HTTP
	glue   *schema.GlueRegistry // nil: there is none
}

// observe counts what a registry could not answer.
func (s *schemas) observe(r prometheus.Registerer) {
	if s.client != nil {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "klamm_schema_registry_failures_total", Help: "Questions that the schema registry could not answer."},
			func() float64 { return float64(s.client.Failures()) }))
	}
}

// close closes the connections to a registry.
func (s *schemas) close() {
	if s.remote != nil {
		s.remote.Close()
	}
	if s.glue != nil {
		s.glue.Close()
	}
}

// openRegistry makes the client of the schema registry of an event source mapping,
// and what closes it. Its secrets are in the formats of AWS (kafka-auth.md A5); it has
// to be at an address that targets may have. One of AWS Glue is called with klamm's own
// credentials.
func (a *App) openRegistry(m catalog.MappingSchemas) (*schema.Client, func(), error) {
	if region, ok := schema.GlueRegion(m.URL); ok {
		cfg := schema.Glue{Region: region}
		if own := a.cfg.SchemaRegistry.Glue; own != nil && cmp.Or(own.Region, a.cfg.AWS.Region) == region {
			cfg.Endpoint = own.Endpoint
		}
		g := schema.OpenGlue(cfg, 0, secret.NewStore(a.cfg.Secrets, region).AWS, a.egress.Transport())
		return schema.NewClient(nil, g, false), g.Close, nil
	}
	store := secret.NewStore(a.cfg.Secrets, a.cfg.AWS.Region)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	read := func(name string) (s registrySecret, err error) {
		if name == "" {
			return s, nil
		}
		text, err := store.Get(ctx, name)
		if err != nil {
			return s, err
		}
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return s, fmt.Errorf("secret %s is not a JSON object of strings", name)
		}
		return s, nil
	}
	basic, err := read(m.Basic)
	if err != nil {
		return nil, nil, err
	}
	own, err := read(m.Certificate)
	if err != nil {
		return nil, nil, err
	}
	root, err := read(m.RootCA)
	if err != nil {
		return nil, nil, err
	}
	r, err := schema.OpenHTTP(ctx, schema.Config{
		URL: m.URL, Username: basic.Username, Password: secret.Ref{Value: basic.Password},
		Certificate: secret.Ref{Value: own.Certificate}, Key: secret.Ref{Value: own.Key}, KeyPassword: secret.Ref{Value: own.KeyPassword},
		RootCA: secret.Ref{Value: root.Certificate},
	}, secret.Local, a.egress.Transport())
	if err != nil {
		return nil, nil, err
	}
	return schema.NewClient(r, nil, false), r.Close, nil
}

// A registrySecret is what the secrets of a registry hold.
type registrySecret struct {
	Username    string `json:"username"`
	Password    string `json:"password"`
	Certificate string `json:"certificate"`
	Key         string `json:"privateKey"`
	KeyPassword string `json:"privateKeyPassword"`
}
