package schema

import (
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/secret"
)

// Config says where the schemas of registries are.
type Config struct {
	// Embedded makes klamm itself a schema registry. The default is true in klamm
	// dev and false in klamm serve.
	Embedded *bool `yaml:"embedded"`
	// URL is a registry with Confluent's API, instead of the embedded one. Several
	// of one cluster, with commas between them, stand in for each other.
	URL string `yaml:"url"`
	// Username and Password are klamm's login (HTTP Basic).
	Username string `yaml:"username"`
	// Password is that of the user.
	Password secret.Ref `yaml:"password"`
	// Bearer is a token instead of a user.
	Bearer secret.Ref `yaml:"bearer"`
	// RootCA holds the authorities of the registry's certificate, PEM; only these are
	// trusted. The system's if it is not given.
	RootCA secret.Ref `yaml:"root_ca"`
	// Certificate is the one that klamm shows, PEM, with its chain.
	Certificate secret.Ref `yaml:"certificate"`
	// Key is the private key of the certificate; the default is the certificate's
	// text.
	Key secret.Ref `yaml:"key"`
	// KeyPassword opens the key.
	KeyPassword secret.Ref `yaml:"key_password"`
	// Timeout bounds one request, 100ms to 1m; the default is 10s.
	Timeout time.Duration `yaml:"timeout"`
	// Glue is the registry of AWS Glue that keys and values are read with which name one
	// of its schema versions: beside another registry, or alone. The default is none.
	Glue *Glue `yaml:"glue"`
}

// A Glue is where AWS Glue answers. klamm calls it with the credentials that the AWS SDKs
// find.
type Glue struct {
	// Region is where the schemas lie; the default is aws.region.
	Region string `yaml:"region"`
	// Endpoint is the URL of the API; the default is AWS's own in the region.
	Endpoint string `yaml:"endpoint"`
}

var regionForm = regexp.MustCompile(`^[a-z]{2,}(-[a-z0-9]+)+$`)

// Validate reports each problem with the field it lies in.
func (g *Glue) Validate(report func(path, problem string)) {
	if g.Region != "" && !regionForm.MatchString(g.Region) {
		report("region", "want the name of a region, such as eu-west-3")
	}
	if g.Endpoint != "" && !isURL(g.Endpoint) {
		report("endpoint", "want a URL such as https://glue.eu-west-3.amazonaws.com, without a login in it")
	}
}

func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// Validate reports each problem of the section.
func (c Config) Validate(report func(path, problem string)) {
	for _, one := range c.urls() {
		if !isURL(one) {
			report("url", "want URLs such as https://registry.example.com:8081, without a login in them")
			break
		}
	}
	if c.Embedded != nil && *c.Embedded && c.URL != "" {
		report("url", "the registry is either embedded or somewhere else")
	}
	if c.URL == "" && (c.Username != "" || !c.Password.IsZero() || !c.Bearer.IsZero() || !c.RootCA.IsZero() || !c.Certificate.IsZero()) {
		report("", "the login belongs to a registry with a url")
	}
	if c.Username != "" && !c.Bearer.IsZero() {
		report("bearer", "give a user or a token, not both")
	}
	if (c.Username == "") != c.Password.IsZero() {
		report("username", "username and password belong together")
	}
	if c.Certificate.IsZero() && (!c.Key.IsZero() || !c.KeyPassword.IsZero()) {
		report("key", "there is no certificate that it belongs to")
	}
	if c.Timeout != 0 && (c.Timeout < 100*time.Millisecond || c.Timeout > time.Minute) {
		report("timeout", "want a time from 100ms to 1m")
	}
}

// urls lists the addresses of the registry.
func (c Config) urls() (out []string) {
	for one := range strings.SplitSeq(c.URL, ",") {
		if one = strings.TrimSpace(one); one != "" {
			out = append(out, strings.TrimRight(one, "/"))
		}
	}
	return out
}

// HasEmbedded says whether klamm is a registry itself; byDefault counts where the
// configuration says nothing.
func (c Config) HasEmbedded(byDefault bool) bool {
	if c.Embedded != nil {
		return *c.Embedded
	}
	return byDefault && c.URL == ""
}
