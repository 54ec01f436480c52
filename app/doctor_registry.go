package app

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strings"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/secret"
)

// registry asks each address of the schema registry for a schema that there is not.
func (d *doctor) registry(ctx context.Context) {
	for address := range strings.SplitSeq(d.cfg.SchemaRegistry.URL, ",") {
		if address = strings.TrimSpace(address); address == "" {
			continue
		}
		one := d.cfg.SchemaRegistry
		one.URL, one.Timeout = address, doctorTime
		r, err := schema.OpenHTTP(ctx, one, secret.Local, nil)
		if err != nil {
			d.problem("registry", address, err.Error(), "put schema_registry right; klamm check says the same")
			continue
		}
		_, err = r.ByID(ctx, math.MaxInt32)
		r.Close()
		d.answered(address, err)
	}
}

// answered says what the answer of a schema registry tells of it.
func (d *doctor) answered(address string, err error) {
	var e *schema.RegistryError
	switch {
	case err == nil, errors.As(err, &e) && e.NotFound():
		d.report(kafka.Finding{Level: kafka.FoundWell, Check: "registry", At: address, Found: "answers as a schema registry does"})
	case e == nil:
		d.problem("registry", address, err.Error(), "look at the registry's log")
	case e.Status == http.StatusUnauthorized:
		d.problem("registry", address, "it does not take klamm's login (401): "+e.Message, "check schema_registry.username and password, or bearer")
	case e.Status == http.StatusForbidden:
		d.problem("registry", address, "klamm's login may not read schemas (403): "+e.Message, "allow klamm's user to read all subjects")
	case e.Status >= 500:
		d.problem("registry", address, "it is not well: "+e.Error(), "look at the registry's log; its own topic has to be there, and a leader where there are several")
	case e.Status == 0 && strings.Contains(e.Message, "x509:"):
		d.problem("registry", address, "no TLS: "+e.Message, "give the authority of its certificate in schema_registry.root_ca, and use a name that the certificate has")
	case e.Status == 0 && strings.Contains(e.Message, "HTTP response to HTTPS client"), e.Status == http.StatusBadRequest:
		d.problem("registry", address, "it does not speak what the URL says: "+e.Message, "is it https, or http?")
	case e.Status == 0 && strings.Contains(e.Message, "is not a registry's"), e.Status != 0:
		d.problem("registry", address, "no schema registry answers there: "+e.Error(), "check host, port and path of schema_registry.url")
	default:
		d.problem("registry", address, "it does not answer: "+e.Message, "is the URL right, does the registry run, and do name servers and firewalls let klamm through?")
	}
}
