package app

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/route"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/shape"
)

// validate makes the gate check records by the rules of their topics.
func (a *App) validate() error {
	a.invalid = gate.ValidationMetrics(a.registry)
	return a.revalidate(a.cfg)
}

// revalidate replaces the rules for records. If it returns an error, everything is as
// before.
func (a *App) revalidate(cfg *config.Config) error {
	if len(cfg.Topics) == 0 {
		a.gate.Validate(nil)
		return nil
	}
	v, err := gate.NewValidation(cfg.Topics, readFile, a.invalid)
	if err != nil {
		return err
	}
	if cfg.Validation.Echo {
		v.Echo()
	}
	a.gate.Validate(v)
	return nil
}

// edgeOf makes the stages and routes of a configuration. Back ends are reached only
// where egress allows it.
func edgeOf(cfg *config.Config, env route.Env) (front.Edge, error) {
	edge := front.Edge{Stages: cfg.Stages}
	routes := route.New(env)
	for i, r := range cfg.Routes {
		if r.Type == "webhook" {
			continue
		}
		one := front.OwnRoute{Stages: r.Stages, Access: r.Access(), Identity: r.Identity, Stamp: r.StampPrincipal}
		var err error
		if one.Pattern, err = shape.ParsePattern(r.Route); err == nil {
			rules := r.Rules()
			rules.Echo = cfg.Validation.Echo
			one.Shape, err = shape.Compile(rules, readFile)
		}
		if err == nil {
			one.Rewrite, err = routes.Rewrite(r.Own(), one.Pattern)
		}
		if err == nil && r.Type != "" && one.Rewrite == nil {
			one.Route, one.Dialect, err = routes.Add(r.Own(), one.Pattern)
		}
		if err != nil {
			return front.Edge{}, fmt.Errorf("routes[%d] (%s): %w", i, r.Route, err)
		}
		edge.Routes = append(edge.Routes, one)
	}
	return edge, nil
}

// warnOpen tells of routes by which callers without credentials can change something.
func warnOpen(cfg *config.Config, log *slog.Logger) {
	for _, r := range cfg.Routes {
		if r.LetsAnybodyWrite() {
			log.Warn("a route lets callers without credentials write, as far as policies and rules let anonymous do so", "route", r.Route)
		}
	}
}

// warnUnrouted tells of limits, plans and classes for a route that no API has: they
// hold nobody. Whether it is there may depend on more than the configuration file.
func warnUnrouted(cfg *config.Config, dialects []front.Dialect, log *slog.Logger) {
	known := map[string]bool{"": true}
	for _, d := range dialects {
		for _, r := range d.Routes {
			known[gate.RouteName(r.Pattern)] = true
		}
	}
	for _, r := range cfg.Routes {
		known[gate.RouteName(r.Route)] = true
	}
	look := func(key, route string) {
		if !known[gate.RouteName(route)] {
			log.Warn("there is no such route, so that what is said of it holds for nobody", "key", key, "route", route)
		}
	}
	for i, l := range cfg.Limits {
		look(fmt.Sprintf("limits[%d].match.route", i), l.Match.Route)
	}
	for i, p := range cfg.UsagePlans {
		for _, route := range slices.Sorted(maps.Keys(p.Methods)) {
			look(fmt.Sprintf("usage_plans[%d].methods", i), route)
		}
	}
	for i, c := range cfg.Adaptive.Classes {
		look(fmt.Sprintf("adaptive.classes[%d].match.route", i), c.Match.Route)
	}
}

// checkShape returns what is wrong with the rules of topics and with routes.
func checkShape(cfg *config.Config) (problems []error) {
	if _, err := gate.NewValidation(cfg.Topics, readFile, nil); err != nil {
		problems = append(problems, err)
	}
	edge, err := edgeOf(cfg, route.Env{})
	if err == nil {
		err = edge.Check()
	}
	if err != nil {
		problems = append(problems, err)
	}
	return problems
}
