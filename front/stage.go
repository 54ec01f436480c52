package front

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/shape"
)

// A Stage is an entry of the stages section of the configuration file: one of
// several ways into the same APIs, with variables, topics and errors of its own
// (gateway-policies.md 5.2).
type Stage struct {
	// Name is the first segment of the paths of the stage: letters, digits, '-' and
	// '_', at most 128.
	Name string `yaml:"name"`
	// Prefix says whether the name is the first segment of paths. The default is true
	// where there is more than one stage. A stage without it is the one of all
	// requests that are in no other.
	Prefix *bool `yaml:"prefix"`
	// Hosts are custom domains at which everything is in this stage, and paths do not
	// name it: a host without its port, or *.example.com for one label below.
	Hosts []string `yaml:"hosts"`
	// Variables are texts that ${stage.NAME} stands for, up to 100: no secrets.
	Variables map[string]string `yaml:"variables"`
	// TopicPrefix stands before the names of all topics: callers neither see nor
	// write it, and see no other topics. It may have variables.
	TopicPrefix string `yaml:"topic_prefix"`
	// Cluster is the cluster that calls go to, by its name in kafka.clusters; the default
	// is klamm's own. It may have variables. klamm calls it as itself: with another
	// kafka.identity than gateway there can be none.
	Cluster string `yaml:"cluster"`
	// Identity is as whom calls are made: gateway, mapped or passthrough; the default is
	// that of kafka.
	Identity string `yaml:"identity"`
	// StampPrincipal writes the caller's name into the header klamm-principal of records;
	// the default is that of kafka.
	StampPrincipal *bool `yaml:"stamp_principal"`
	// Errors is the form of the errors that klamm itself makes: native (the default),
	// as the API that was called has them, aws, as Amazon API Gateway has them,
	// confluent, or problem (RFC 9457).
	Errors string `yaml:"errors"`
	// UnknownRoute is the answer where there is nothing: 404, or aws-403, as API
	// Gateway has it. The default is aws-403 where errors is aws, and otherwise 404.
	UnknownRoute string `yaml:"unknown_route"`
	// GatewayResponses replace answers that klamm itself makes.
	GatewayResponses []GatewayResponse `yaml:"gateway_responses"`
	// CORS says which pages of other origins may call, instead of the cors section of
	// the file.
	CORS *CORS `yaml:"cors"`
	// Cache says which answers are kept, instead of the cache section of the file.
	Cache *Cache `yaml:"cache"`
	// Canary tries other variables on some of the requests.
	Canary *Canary `yaml:"canary"`
}

// A Canary is a part of the requests of a stage that has other variables.
type Canary struct {
	// Percent is how many of the requests, from 0 to 100, such as 2.5. Those with the
	// header X-Klamm-Canary: always belong to it, and those with never do not.
	Percent json.RawMessage `yaml:"percent"`
	// Variables stand in for those of the stage.
	Variables map[string]string `yaml:"variables"`
	// Sticky has all requests of one caller in the same part: principal, ip or none,
	// the default.
	Sticky string `yaml:"sticky"`
}

var (
	stageName     = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	variableName  = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)
	stageHost     = regexp.MustCompile(`^(\*\.)?[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?$`)
	stageVariable = regexp.MustCompile(`\$\{([^{}]*)\}`)
	topicStart    = regexp.MustCompile(`^[A-Za-z0-9._-]{0,200}$`)
	percentShape  = regexp.MustCompile(`^(100|[0-9]{1,2})(\.[0-9]{1,6})?$`)
)

// reservedStages are names that no stage may have.
var reservedStages = []string{"_klamm", "ping", "sping", "health", "healthy", "ready", "metrics", "klamm", "openapi"}

// Validate reports each problem with the field it lies in.
func (s Stage) Validate(report func(path, problem string)) {
	switch {
	case !stageName.MatchString(s.Name):
		report("name", "want 1 to 128 letters, digits, '-' and '_'")
	case slices.Contains(reservedStages, s.Name):
		report("name", fmt.Sprintf("%q is klamm's own", s.Name))
	}
	for i, h := range s.Hosts {
		if !stageHost.MatchString(h) {
			report(fmt.Sprintf("hosts[%d]", i), "want a host in lower case without a port, or *.example.com")
		}
	}
	validateVariables("variables", s.Variables, report)
	if _, err := resolveStage(s.TopicPrefix, s.Variables); err != nil {
		report("topic_prefix", err.Error())
	}
	if _, err := expandStage(s.Cluster, s.Variables); err != nil {
		report("cluster", err.Error())
	}
	if !slices.Contains([]string{"", profileNative, profileAWS, profileConfluent, profileProblem}, s.Errors) {
		report("errors", "want native, aws, confluent or problem")
	}
	if !slices.Contains([]string{"", unknown404, unknownAWS}, s.UnknownRoute) {
		report("unknown_route", "want 404 or aws-403")
	}
	if s.Cluster != "" && s.Identity != "" && s.Identity != kafka.IdentityGateway {
		report("identity", "calls to another cluster are klamm's own")
	}
	seen := map[string]bool{}
	for i, g := range s.GatewayResponses {
		if seen[g.Type] {
			report(fmt.Sprintf("gateway_responses[%d].type", i), "this type stands there already")
		}
		seen[g.Type] = true
	}
	if s.Canary == nil {
		return
	}
	validateVariables("canary.variables", s.Canary.Variables, report)
	if _, err := resolveStage(s.TopicPrefix, merged(s.Variables, s.Canary.Variables)); err != nil {
		report("canary.variables", "topic_prefix: "+err.Error())
	}
	if _, err := expandStage(s.Cluster, merged(s.Variables, s.Canary.Variables)); err != nil {
		report("canary.variables", "cluster: "+err.Error())
	}
	if _, ok := percentOf(s.Canary.Percent); !ok {
		report("canary.percent", "want a number from 0 to 100")
	}
	if !slices.Contains([]string{"", "none", stickyIP, stickyPrincipal}, s.Canary.Sticky) {
		report("canary.sticky", "want principal, ip or none")
	}
}

func validateVariables(field string, all map[string]string, report func(path, problem string)) {
	if len(all) > 100 {
		report(field, "want at most 100 variables")
	}
	for name, value := range all {
		if !variableName.MatchString(name) || len(value) > 512 {
			report(field, fmt.Sprintf("%q: want a name of up to 64 letters, digits and '_', and a value of up to 512 characters", clipped(name)))
		}
	}
}

func clipped(s string) string {
	if len(s) > 100 {
		s = s[:100]
	}
	return strings.ToValidUTF8(s, "?")
}

func merged(a, b map[string]string) map[string]string {
	all := make(map[string]string, len(a)+len(b))
	for _, m := range []map[string]string{a, b} {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

// resolveStage puts variables into the prefix of topics.
func resolveStage(text string, variables map[string]string) (string, error) {
	out, err := expandStage(text, variables)
	if err != nil {
		return "", err
	}
	if !topicStart.MatchString(out) {
		return "", fmt.Errorf("%q cannot stand before the name of a topic: want up to 200 letters, digits, '.', '_' and '-'", clipped(out))
	}
	return out, nil
}

// expandStage puts variables of a stage into a text.
func expandStage(text string, variables map[string]string) (string, error) {
	var wrong error
	out := stageVariable.ReplaceAllStringFunc(text, func(m string) string {
		name, ok := strings.CutPrefix(m[2:len(m)-1], "stage.")
		value, known := variables[name]
		if !ok || !known {
			wrong = fmt.Errorf("%s is no variable of the stage", clipped(m))
		}
		return value
	})
	return out, wrong
}

// percentOf reads a percentage as millionths.
func percentOf(raw json.RawMessage) (int, bool) {
	text := string(raw)
	if text == "" {
		text = "0"
	}
	if !percentShape.MatchString(text) {
		return 0, false
	}
	var f float64
	if json.Unmarshal([]byte(text), &f) != nil || f > 100 {
		return 0, false
	}
	return int(f*10_000 + 0.5), true
}

// ValidateStages reports what stages have in common and must not, and clusters that are
// not among those of cfg or that calls cannot go to in the names that cfg.Identity says,
// with paths that begin at the list.
func ValidateStages(all []Stage, cfg kafka.Config, report func(path, problem string)) {
	clusters := cfg.Names()
	names, hosts, rest := map[string]bool{}, map[string]bool{}, false
	for i, s := range all {
		for _, name := range s.clusters() {
			if !slices.Contains(clusters, name) {
				report(fmt.Sprintf("[%d].cluster", i), fmt.Sprintf("there is no cluster %q in kafka.clusters", clipped(name)))
			}
		}
		if s.Cluster != "" && s.Identity == "" && cfg.Identity != "" && cfg.Identity != kafka.IdentityGateway {
			report(fmt.Sprintf("[%d].cluster", i), fmt.Sprintf("wants identity: gateway, here or in kafka: with %s all calls would be refused, since klamm goes to further clusters as itself", clipped(cfg.Identity)))
		}
		if names[s.Name] && s.Name != "" {
			report(fmt.Sprintf("[%d].name", i), "another stage has this name")
		}
		names[s.Name] = true
		for _, h := range s.Hosts {
			if hosts[h] {
				report(fmt.Sprintf("[%d].hosts", i), fmt.Sprintf("%s belongs to a stage already", h))
			}
			hosts[h] = true
		}
		if s.Prefix != nil && !*s.Prefix && len(s.Hosts) == 0 {
			if rest {
				report(fmt.Sprintf("[%d].prefix", i), "another stage without a prefix gets all other requests already")
			}
			rest = true
		}
	}
}

// clusters are the further clusters that the stage's calls may go to.
func (s Stage) clusters() (names []string) {
	of := []map[string]string{s.Variables}
	if s.Canary != nil {
		of = append(of, merged(s.Variables, s.Canary.Variables))
	}
	for _, variables := range of {
		if name, err := expandStage(s.Cluster, variables); err == nil && name != "" {
			names = append(names, name)
		}
	}
	return names
}

// stages are Stages made ready. A nil one has none.
type stages struct {
	byName  map[string]*stage // whose name is the first segment
	byHost  map[string]*stage
	wild    map[string]*stage // by what stands behind "*."
	another *stage            // of all other requests; nil: they are in none
}

// A stage is a Stage made ready.
type stage struct {
	Stage
	prefix    string // of topics
	cluster   string
	canary    variant
	share     int // of the canary, in millionths
	cors      *cors
	responses map[string]*GatewayResponse
}

// A variant is what the requests of a stage go by.
type variant struct {
	variables map[string]string
	prefix    string
	cluster   string // "": klamm's own
}

// newStages makes stages ready that are valid.
func newStages(all []Stage, enforced bool) *stages {
	if len(all) == 0 {
		return nil
	}
	s := &stages{byName: map[string]*stage{}, byHost: map[string]*stage{}, wild: map[string]*stage{}}
	for _, cfg := range all {
		one := &stage{Stage: cfg, responses: map[string]*GatewayResponse{}}
		one.prefix, _ = resolveStage(cfg.TopicPrefix, cfg.Variables)
		one.cluster, _ = expandStage(cfg.Cluster, cfg.Variables)
		if cfg.Canary != nil {
			one.share, _ = percentOf(cfg.Canary.Percent)
			one.canary.variables = merged(cfg.Variables, cfg.Canary.Variables)
			one.canary.prefix, _ = resolveStage(cfg.TopicPrefix, one.canary.variables)
			one.canary.cluster, _ = expandStage(cfg.Cluster, one.canary.variables)
		}
		if cfg.CORS != nil {
			one.cors = newCORS(*cfg.CORS, enforced)
		}
		for i := range cfg.GatewayResponses {
			one.responses[cfg.GatewayResponses[i].Type] = &cfg.GatewayResponses[i]
		}
		for _, h := range cfg.Hosts {
			if domain, ok := strings.CutPrefix(h, "*."); ok {
				s.wild[domain] = one
			} else {
				s.byHost[h] = one
			}
		}
		prefix := len(all) > 1 && len(cfg.Hosts) == 0
		if cfg.Prefix != nil {
			prefix = *cfg.Prefix
		}
		switch {
		case prefix:
			s.byName[cfg.Name] = one
		case len(cfg.Hosts) == 0:
			s.another = one
		}
	}
	return s
}

// find returns the stage of a request and how many bytes of its path name the
// stage; nil: it is in none.
func (s *stages) find(r *http.Request, path string) (*stage, int) {
	if len(s.byHost)+len(s.wild) > 0 {
		host := strings.ToLower(r.Host)
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.TrimSuffix(host, ".")
		if one := s.byHost[host]; one != nil {
			return one, 0
		}
		if _, domain, ok := strings.Cut(host, "."); ok && s.wild[domain] != nil {
			return s.wild[domain], 0
		}
	}
	if len(path) > 1 {
		name, _, _ := strings.Cut(path[1:], "/")
		if one := s.byName[name]; one != nil {
			return one, len(name) + 1
		}
	}
	return s.another, 0
}

// A staged is what is known of the place of a request among stages and routes.
type staged struct {
	*stage       // nil: it is in none
	among   bool // there are stages
	named   bool // the path has named the stage
	variant      // by which it goes
	canary  bool
	decided bool
	own     *ownRoute // that fits it; nil: none does
	path    []shape.Value
	called  string // the path before it was rewritten; empty: it was not
	id      string // of the request
}

type stageKey struct{}

// enter puts a request into its stage: the path that handlers see does not name it.
func (s *stages) enter(r *http.Request, at *staged) *http.Request {
	if s == nil {
		return r
	}
	one, n := s.find(r, r.URL.EscapedPath())
	at.stage, at.among = one, true
	if one != nil {
		at.variant = variant{one.Variables, one.prefix, one.cluster}
	}
	if n == 0 {
		return r
	}
	at.named = true
	// A name has nothing that would be escaped, so both forms begin with it.
	u := *r.URL
	if u.Path = u.Path[n:]; u.RawPath != "" {
		u.RawPath = u.RawPath[n:]
	}
	if u.Path == "" {
		u.Path = "/"
	}
	r.URL = &u
	return r
}

// stagedOf returns what is known of the stage of a request; nil: there are no
// stages, and no routes of the configuration.
func stagedOf(r *http.Request) *staged {
	at, _ := r.Context().Value(stageKey{}).(*staged)
	return at
}

// StageOf returns the name of the stage that a request is in; empty: in none.
func StageOf(r *http.Request) string {
	if at := stagedOf(r); at != nil && at.stage != nil {
		return at.Name
	}
	return ""
}

// IDOf returns the id of a request, which its answer has too; empty where Config.IDs does
// not ask for it.
func IDOf(r *http.Request) string {
	if at := stagedOf(r); at != nil {
		return at.id
	}
	return ""
}

// StageVariables returns the variables of the stage that a request is in. They must
// not be changed.
func StageVariables(r *http.Request) map[string]string {
	if at := stagedOf(r); at != nil {
		return at.variables
	}
	return nil
}

// The values of Canary.Sticky.
const (
	stickyIP        = "ip"
	stickyPrincipal = "principal"
)

// decide says by which variant a request goes.
func (at *staged) decide(r *http.Request, who gate.Principal, source string) {
	c := at.stage.Stage.Canary
	if c == nil || at.decided {
		return
	}
	at.decided = true
	switch r.Header.Get("X-Klamm-Canary") {
	case "always":
		at.canary = true
	case "never":
	default:
		at.canary = at.draw(c.Sticky, who.Name, source) < at.share
	}
	if at.canary {
		at.variant = at.stage.canary
	}
}

// draw returns a number below a million: a random one, or always the same for one
// caller.
func (at *staged) draw(sticky, principal, source string) int {
	text := principal
	switch sticky {
	case stickyIP:
		text = source
	case stickyPrincipal:
	default:
		return rand.IntN(1_000_000)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(at.Name + "\x00" + text))
	return int(h.Sum64() % 1_000_000)
}

// inStage puts a caller into the stage of the request. A request that is in none
// although there are stages has no route, unless it is for what klamm is operated
// by, or another klamm process passes it on.
func (s *Server) inStage(r *http.Request, d *Dialect, who gate.Principal) (gate.Principal, error) {
	at := stagedOf(r)
	if at == nil || !at.among {
		return who, nil
	}
	if at.stage == nil {
		if d.Unstaged || who.Stage != "" {
			return who, nil
		}
		return who, ErrNoRoute
	}
	at.decide(r, who, s.sourceOf(r))
	who.Stage, who.TopicPrefix, who.Cluster = at.Name, at.variant.prefix, at.variant.cluster
	return who, nil
}
