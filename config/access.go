package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// mostScopes bounds the scopes of a route.
const mostScopes = 10

// scopeForm is a scope of OAuth (RFC 6749, 3.3).
var scopeForm = regexp.MustCompile(`^[!#-\[\]-~]{1,255}$`)

// tokenSchemes are those whose callers have scopes.
var tokenSchemes = []string{gate.SchemeJWT, gate.SchemeIntrospect}

// waysIn are the schemes that a route can name.
var waysIn = append(slices.Clone(tokenSchemes), gate.SchemeSigV4, gate.SchemeMTLS, gate.SchemeBasic, gate.SchemeAPIKey, gate.SchemeAuthorizer, gate.SchemeAnonymous)

// Access returns what callers of the route have to show; nil: the same as everywhere.
func (r Route) Access() *front.Access {
	if len(r.Auth)+len(r.Scopes) == 0 {
		return nil
	}
	a := &front.Access{Schemes: r.Auth, Scopes: r.Scopes, AllScopes: r.ScopesMatch == "all"}
	if len(a.Schemes) == 0 {
		a.Schemes = tokenSchemes
	}
	return a
}

// LetsAnybodyWrite says whether the route lets callers without credentials use methods
// that change something.
func (r Route) LetsAnybodyWrite() bool {
	method, _, ok := strings.Cut(r.Route, " ")
	return slices.Contains(r.Auth, gate.SchemeAnonymous) && !(ok && slices.Contains([]string{"GET", "HEAD", "OPTIONS"}, method))
}

// validateAccess reports what is wrong with the way in to the route.
func (r Route) validateAccess(report func(path, problem string)) {
	for i, name := range r.Auth {
		switch {
		case !slices.Contains(waysIn, name):
			report(fmt.Sprintf("auth[%d]", i), "want of "+strings.Join(waysIn, ", "))
		case slices.Contains(r.Auth[:i], name):
			report(fmt.Sprintf("auth[%d]", i), "stands there twice")
		}
	}
	if len(r.Scopes) > mostScopes {
		report("scopes", fmt.Sprintf("want at most %d scopes", mostScopes))
	}
	for i, s := range r.Scopes {
		if !scopeForm.MatchString(s) {
			report(fmt.Sprintf("scopes[%d]", i), `want a scope: printable ASCII without spaces, quotes and backslashes`)
		}
	}
	byToken := func(name string) bool { return slices.Contains(tokenSchemes, name) }
	if len(r.Scopes) > 0 && len(r.Auth) > 0 && !slices.ContainsFunc(r.Auth, byToken) {
		report("scopes", "tokens have scopes, and auth names no way to come with one: want "+strings.Join(tokenSchemes, " or ")+" in it")
	}
	if r.ScopesMatch != "" && r.ScopesMatch != "any" && r.ScopesMatch != "all" {
		report("scopes_match", "want any or all")
	}
	if r.ScopesMatch != "" && len(r.Scopes) == 0 {
		report("scopes_match", "there are no scopes")
	}
}

// validateAccess reports ways in to routes that the file does not have.
func (c *Config) validateAccess(report func(path, problem string)) {
	has := c.schemes()
	for i, r := range c.Routes {
		for j, name := range r.Auth {
			if slices.Contains(waysIn, name) && !slices.Contains(has, name) {
				report(fmt.Sprintf("routes[%d].auth[%d]", i, j), "there is no such way in: "+whereIs[name])
			}
		}
		if len(r.Scopes) > 0 && len(r.Auth) == 0 && !slices.ContainsFunc(tokenSchemes, func(s string) bool { return slices.Contains(has, s) }) {
			report(fmt.Sprintf("routes[%d].scopes", i), "tokens have scopes, and none are taken: "+whereIs[gate.SchemeJWT])
		}
	}
}

// validateIdentities reports stages and routes whose calls cannot be made as they say.
func (c *Config) validateIdentities(report func(path, problem string)) {
	check := func(at, identity string) {
		switch {
		case !slices.Contains([]string{"", kafka.IdentityGateway, kafka.IdentityMapped, kafka.IdentityPassthrough}, identity):
			report(at, "want gateway, mapped or passthrough")
		case identity == kafka.IdentityMapped && len(c.Kafka.Mapped) == 0:
			report(at, "there are no entries in kafka.mapped")
		}
	}
	for i, s := range c.Stages {
		check(fmt.Sprintf("stages[%d].identity", i), s.Identity)
	}
	for i, r := range c.Routes {
		check(fmt.Sprintf("routes[%d].identity", i), r.Identity)
	}
}

// Stamping says which records get the names of callers.
func (c *Config) Stamping() gate.Stamping {
	on := func(b *bool) bool { return b != nil && *b }
	return gate.Stamping{Usual: c.Kafka.StampPrincipal, Somewhere: c.Kafka.StampPrincipal ||
		slices.ContainsFunc(c.Stages, func(s front.Stage) bool { return on(s.StampPrincipal) }) || slices.ContainsFunc(c.Routes, func(r Route) bool { return on(r.StampPrincipal) })}
}

// whereIs says how the file gets a way in.
var whereIs = map[string]string{
	gate.SchemeSigV4: "auth.iam is missing", gate.SchemeJWT: "auth.jwt is missing", gate.SchemeIntrospect: "auth.introspect is missing", gate.SchemeBasic: "auth.basic is missing", gate.SchemeAPIKey: "auth.apikeys is missing",
	gate.SchemeAuthorizer: "auth.authorizers is missing", gate.SchemeMTLS: "no listener asks clients for certificates (tls.client_auth), and no proxy tells of them (auth.mtls)",
}

// schemes are the ways in that the file has.
func (c *Config) schemes() []string {
	asks := c.TLS != nil && c.TLS.AsksClients()
	for _, l := range c.Listeners {
		asks = asks || l.TLS != nil && l.TLS.AsksClients()
	}
	list := []string{gate.SchemeAnonymous}
	for name, there := range map[string]bool{
		gate.SchemeSigV4: c.Auth.IAM != nil, gate.SchemeJWT: len(c.Auth.JWT) > 0, gate.SchemeIntrospect: c.Auth.Introspect != nil, gate.SchemeBasic: c.Auth.Basic != nil, gate.SchemeAPIKey: c.Auth.APIKeys != nil,
		gate.SchemeAuthorizer: len(c.Auth.Authorizers) > 0, gate.SchemeMTLS: asks || c.Auth.MTLS != nil,
	} {
		if there {
			list = append(list, name)
		}
	}
	return list
}
