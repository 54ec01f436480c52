package gate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/throttle"
)

// A LimitsConfig says what limits there are.
type LimitsConfig struct {
	Rules  []throttle.Rule
	Plans  []UsagePlan
	Fields RateLimit
}

// A RateLimit is the ratelimit section of the configuration file.
type RateLimit struct {
	// Headers is low (the default), which puts the RateLimit header fields into
	// answers where less than a quarter of a limit is left, and into refusals; or
	// always.
	Headers string `yaml:"headers"`
	// ExposePartition names the bucket in these fields, by a hash that tells
	// nothing about the caller and differs from process to process.
	ExposePartition bool `yaml:"expose_partition"`
	// Legacy adds X-RateLimit-Limit, -Remaining and -Reset (seconds), for the limit
	// of which least is left.
	Legacy bool `yaml:"legacy"`
}

func (r RateLimit) jitter(n int) int { return rand.IntN(n) }

// Validate reports each problem with the field it lies in.
func (r RateLimit) Validate(report func(path, problem string)) {
	if !slices.Contains([]string{"", "low", "always"}, r.Headers) {
		report("headers", "want low or always")
	}
}

// A UsagePlan says how much the holders of API keys may use, each key for itself.
type UsagePlan struct {
	// Name is what answers, metrics and klamm usage call the plan; letters, digits,
	// ".", "_" and "-", at most 64.
	Name string `yaml:"name"`
	// Stages are those in which calls count; without them, in all.
	Stages []string `yaml:"stages"`
	// Throttle bounds the requests in a second.
	Throttle *throttle.Rate `yaml:"throttle"`
	// Methods bound those of single routes besides, by METHOD PATH, as in
	// POST /topics/{topic}.
	Methods map[string]throttle.Rate `yaml:"methods"`
	// Quota bounds what may be used in a day, week or month.
	Quota *Quota `yaml:"quota"`
	// Keys are the names of the API keys to which the plan applies, and the ids of
	// keys that were made with klamm key. Imported keys may name the plan
	// themselves.
	Keys []string `yaml:"keys"`
}

// A Quota is how much may be used in a period.
type Quota struct {
	// Limit is how much.
	Limit int64 `yaml:"limit"`
	// Period is day, week (from Monday) or month.
	Period string `yaml:"period"`
	// Offset is taken off the limit of the first period of a key.
	Offset int64 `yaml:"offset"`
	// TZ is the time zone in which periods begin, such as Europe/Paris; the default
	// is UTC.
	TZ string `yaml:"tz"`
	// Unit is requests (the default), records or bytes: of keys, values and headers
	// that are written or read.
	Unit string `yaml:"unit"`
	// Mode is shared (the default), in which each process may use a share of what is
	// left before it tells the others, or strict, in which each call is counted in
	// Kafka before it passes.
	Mode string `yaml:"mode"`
	// RefundOnReject gives a call that klamm itself refuses its units back; the
	// default is true.
	RefundOnReject *bool `yaml:"refund_on_reject"`
}

// The units of quotas.
const (
	quotaRequests = "requests"
	quotaRecords  = "records"
	quotaBytes    = "bytes"
)

// quotaStrict is the mode of a quota that no two processes share.
const quotaStrict = "strict"

// Validate reports each problem with the field it lies in.
func (p UsagePlan) Validate(report func(path, problem string)) {
	throttle.Rule{Name: p.Name, Streams: 1}.Validate(report)
	if len(p.Stages) > 100 {
		report("stages", "want at most 100")
	}
	for route := range p.Methods {
		if route == "" {
			report("methods", "want METHOD PATH, as in POST /topics/{topic}")
		}
		throttle.Rule{Name: "x", Streams: 1, Match: throttle.Match{Route: route}}.Validate(func(_, problem string) { report("methods."+route, problem) })
	}
	if p.Throttle == nil && len(p.Methods) == 0 && p.Quota == nil {
		report("", "want at least one of throttle, methods and quota")
	}
	for i, k := range p.Keys {
		if k == "" || len(k) > 1024 {
			report(fmt.Sprintf("keys[%d]", i), "want the name of an API key")
		}
	}
}

// Validate reports each problem with the field it lies in.
func (q Quota) Validate(report func(path, problem string)) {
	if q.Limit < 1 || q.Limit > 1<<53 {
		report("limit", "want a number from 1 to 9007199254740992")
	}
	if q.Offset < 0 || q.Offset > q.Limit {
		report("offset", "want a number from 0 to the limit")
	}
	if !slices.Contains([]string{"day", "week", "month"}, q.Period) {
		report("period", "want day, week or month")
	}
	if !slices.Contains([]string{"", quotaRequests, quotaRecords, quotaBytes}, q.Unit) {
		report("unit", "want requests, records or bytes")
	}
	if !slices.Contains([]string{"", "shared", quotaStrict}, q.Mode) {
		report("mode", "want shared or strict")
	}
	if _, err := time.LoadLocation(q.TZ); err != nil || q.TZ == "Local" {
		report("tz", "want the name of a time zone, such as Europe/Paris")
	}
}

// refunds says whether a refused call gets its units back.
func (q *Quota) refunds() bool { return q.RefundOnReject == nil || *q.RefundOnReject }

// strict says whether each call is counted in Kafka before it passes.
func (q *Quota) strict() bool { return q.Mode == quotaStrict }

// limit is how much there is in a key's first period, or in a later one.
func (q *Quota) limit(later bool) int64 {
	if later {
		return q.Limit
	}
	return q.Limit - q.Offset
}

func (q *Quota) unit() string {
	if q.Unit == "" {
		return quotaRequests
	}
	return q.Unit
}

// fieldUnit is the unit in the header fields of answers.
func (q *Quota) fieldUnit() throttle.Unit {
	switch q.Unit {
	case quotaRecords:
		return throttle.Records
	case quotaBytes:
		return throttle.Bytes
	}
	return throttle.Requests
}

// kind tells periods apart that begin at different times.
func (q *Quota) kind() string { return strings.TrimSpace(q.Period + " " + q.TZ) }

// start returns when the period began that a time lies in.
func (q *Quota) start(now time.Time) time.Time {
	zone, err := time.LoadLocation(q.TZ)
	if err != nil {
		zone = time.UTC // Validate has refused it
	}
	now = now.In(zone)
	year, month, day := now.Date()
	switch q.Period {
	case "week":
		day -= (int(now.Weekday()) + 6) % 7
	case "month":
		day = 1
	}
	return time.Date(year, month, day, 0, 0, 0, 0, zone)
}

// end returns when the period ends that began then.
func (q *Quota) end(start time.Time) time.Time {
	switch q.Period {
	case "week":
		return start.AddDate(0, 0, 7)
	case "month":
		return start.AddDate(0, 1, 0)
	}
	return start.AddDate(0, 0, 1)
}

// ValidateLimits reports limits and usage plans that cannot be told apart.
func ValidateLimits(rules []throttle.Rule, plans []UsagePlan, report func(path, problem string)) {
	names := map[string]string{}
	note := func(path, name string) {
		if other, ok := names[name]; ok && name != "" {
			report(path+".name", fmt.Sprintf("%s has the name %q already", other, name))
			return
		}
		names[name] = path
	}
	for i, r := range rules {
		note(fmt.Sprintf("limits[%d]", i), r.Name)
	}
	for i, p := range plans {
		note(fmt.Sprintf("usage_plans[%d]", i), p.Name)
	}
}

// rules are the limits, and what usage plans make of them.
func (c LimitsConfig) rules() []throttle.Rule {
	rules := slices.Clone(c.Rules)
	for _, p := range c.Plans {
		add := func(name, route string, rate throttle.Rate) {
			rules = append(rules, throttle.Rule{Name: name, Match: throttle.Match{Plan: p.Name, Route: route}, Key: []string{"api_key"}, Requests: &rate})
		}
		if p.Throttle != nil {
			add(p.Name, "", *p.Throttle)
		}
		routes := make([]string, 0, len(p.Methods))
		for route := range p.Methods {
			routes = append(routes, route)
		}
		slices.Sort(routes)
		for i, route := range routes {
			add(fmt.Sprintf("%s-%d", p.Name, i+1), route, p.Methods[route])
		}
	}
	return rules
}
