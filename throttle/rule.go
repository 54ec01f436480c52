package throttle

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A Rule is an entry of limits in the configuration file.
type Rule struct {
	// Name is what answers and metrics call the rule; letters, digits, ".", "_"
	// and "-", at most 64.
	Name string `yaml:"name"`
	// Match says which calls the rule applies to; without it, to all.
	Match Match `yaml:"match"`
	// Key says what has a bucket of its own: any of principal, api_key, source_ip,
	// ip_prefix, topic, group, route, stage, partition, client_cert_subject,
	// header:NAME and claim:NAME. Without it all calls share one. The source_ip of
	// IPv6 is its network of 64 bits; an ip_prefix has 24 bits, or 48 of IPv6.
	Key []string `yaml:"key"`
	// Requests bounds requests in a second.
	Requests *Rate `yaml:"requests"`
	// Records bounds records in a second.
	Records *Rate `yaml:"records"`
	// Bytes bounds bytes in a second: of keys, values and headers that are
	// produced, or of the records in an answer.
	Bytes *ByteRate `yaml:"bytes"`
	// Concurrency bounds the requests under way; streams are counted as well.
	Concurrency int `yaml:"concurrency"`
	// Streams bounds the streams that are open: Server-Sent Events, WebSocket.
	Streams int `yaml:"streams"`
	// Action says what becomes of a call that is too much: reject (the default),
	// delay it for at most delay_max and reject it only then, or log, which counts
	// it and lets it pass.
	Action string `yaml:"action"`
	// DelayMax is how long a call waits with delay; at most 10s. The default is
	// 250ms.
	DelayMax time.Duration `yaml:"delay_max"`
	// Active is when the rule holds; without it, always.
	Active *Window `yaml:"active"`
}

// A Match says which calls a rule applies to. What is empty does not matter.
type Match struct {
	// Route is the route, as METHOD PATH: POST /topics/{topic}. The names within
	// braces are those of docs/limits.md.
	Route string `yaml:"route"`
	// Stage is the stage that the call came through.
	Stage string `yaml:"stage"`
	// Topic is the name of a topic; "*" stands for any characters.
	Topic string `yaml:"topic"`
	// Group is the name of a consumer group; "*" stands for any characters.
	Group string `yaml:"group"`
	// Op is produce, consume, or other for whatever neither writes nor reads
	// records.
	Op string `yaml:"op"`
	// Principal is who calls, as in User:alice; "*" stands for any characters.
	Principal string `yaml:"principal"`
	// GroupsAny applies the rule to members of any of these groups.
	GroupsAny []string `yaml:"groups_any"`
	// Plan applies the rule to calls that count in this usage plan.
	Plan string `yaml:"-"`
}

// A Rate is a number in a second and how many may come at once.
type Rate struct {
	// Rate is how many a second, such as 10 or 0.5.
	Rate float64 `yaml:"rate"`
	// Burst is how many at once; the default is the rate, and at least 1.
	Burst float64 `yaml:"burst"`
}

// A ByteRate is a Rate in sizes.
type ByteRate struct {
	// Rate is how many a second, such as 64KiB.
	Rate int64 `yaml:"rate" unit:"bytes"`
	// Burst is how many at once; the default is the rate.
	Burst int64 `yaml:"burst" unit:"bytes"`
}

// A Window is a time in which a rule holds.
type Window struct {
	// From is when it begins, in RFC 3339; empty: it has begun.
	From string `yaml:"from"`
	// To is when it ends, in RFC 3339; empty: it does not.
	To string `yaml:"to"`
}

// RouteName returns a route, METHOD PATH, without the names within its braces and a
// slash at its end: two routes that differ only in them are the same.
func RouteName(route string) string {
	var b []byte
	for {
		before, rest, ok := strings.Cut(route, "{")
		b = append(b, before...)
		if !ok {
			break
		}
		var name string
		if name, route, _ = strings.Cut(rest, "}"); name != "$" { // which is the end
			b = append(b, "{}"...)
		}
	}
	if name := strings.TrimSuffix(string(b), "/"); !strings.HasSuffix(name, " ") {
		return name
	}
	return string(b)
}

var (
	names   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	routes  = regexp.MustCompile(`^[A-Z]+ (?:/(?:[^/{}?# ]|\{[^/{}?# ]+\})*)+$`)
	actions = []string{"", "reject", "delay", "log"}
	ops     = []string{"", "produce", "consume", "other"}
	keys    = []string{"principal", "api_key", "source_ip", "ip_prefix", "topic", "group", "route", "stage", "partition", "client_cert_subject"}
)

// longestDelay bounds delay_max.
const longestDelay = 10 * time.Second

// Validate reports each problem with the field it lies in.
func (r Rule) Validate(report func(path, problem string)) {
	if !names.MatchString(r.Name) {
		report("name", "want from 1 to 64 letters, digits, \".\", \"_\" and \"-\"")
	}
	if !slices.Contains(ops, r.Match.Op) {
		report("match.op", "want produce, consume or other")
	}
	if r.Match.Route != "" && !routes.MatchString(r.Match.Route) {
		report("match.route", "want METHOD PATH, as in POST /topics/{topic}")
	}
	for i, k := range r.Key {
		prefix, name, ok := strings.Cut(k, ":")
		if !slices.Contains(keys, k) && (!ok || name == "" || prefix != "header" && prefix != "claim") {
			report(fmt.Sprintf("key[%d]", i), "want one of "+strings.Join(keys, ", ")+", header:NAME or claim:NAME")
		}
	}
	if r.Requests == nil && r.Records == nil && r.Bytes == nil && r.Concurrency == 0 && r.Streams == 0 {
		report("", "want at least one of requests, records, bytes, concurrency and streams")
	}
	for field, n := range map[string]int{"concurrency": r.Concurrency, "streams": r.Streams} {
		if n < 0 || n > 1_000_000 {
			report(field, "want a number up to 1000000")
		}
	}
	if !slices.Contains(actions, r.Action) {
		report("action", "want reject, delay or log")
	}
	if r.DelayMax < 0 || r.DelayMax > longestDelay {
		report("delay_max", "want a time up to "+longestDelay.String())
	}
	if r.DelayMax > 0 && r.Action != "delay" {
		report("delay_max", "has a meaning only with action: delay")
	}
}

// Validate reports each problem with the field it lies in.
func (r Rate) Validate(report func(path, problem string)) {
	if !(r.Rate > 0 && r.Rate <= 1e9) {
		report("rate", "want a number above 0 and up to 1000000000")
	}
	if r.Burst != 0 && !(r.Burst >= 1 && r.Burst <= 1e9) {
		report("burst", "want a number from 1 to 1000000000")
	}
}

// Validate reports each problem with the field it lies in.
func (r ByteRate) Validate(report func(path, problem string)) {
	if r.Rate <= 0 || r.Rate > 1<<40 {
		report("rate", "want a size above 0 and up to 1024GiB")
	}
	if r.Burst < 0 || r.Burst > 1<<40 {
		report("burst", "want a size up to 1024GiB")
	}
}

// Validate reports each problem with the field it lies in.
func (w Window) Validate(report func(path, problem string)) {
	from, to, err := w.times()
	switch {
	case err != nil && from.IsZero() && w.From != "":
		report("from", "want a time in RFC 3339, as in 2026-11-27T00:00:00Z")
	case err != nil:
		report("to", "want a time in RFC 3339, as in 2026-11-30T00:00:00Z")
	case !to.IsZero() && !from.Before(to):
		report("to", "want a time after from")
	}
}

func (w Window) times() (from, to time.Time, err error) {
	if w.From != "" {
		if from, err = time.Parse(time.RFC3339, w.From); err != nil {
			return time.Time{}, time.Time{}, err
		}
	}
	if w.To != "" {
		to, err = time.Parse(time.RFC3339, w.To)
	}
	return from, to, err
}
