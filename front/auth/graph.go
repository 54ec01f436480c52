package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// graphTime bounds the answer to one question, and graphChunk the groups that
	// one question may be about.
	graphTime  = 3 * time.Second
	graphChunk = 20
	// graphCallers bounds the callers whose membership is remembered.
	graphCallers = 50_000
	// graphStale is how long membership counts while nobody answers.
	graphStale = time.Hour
	// graphFailed is how long Graph is not asked again for a caller in vain: who is let in
	// without it does not wait for it each time.
	graphFailed = 5 * time.Second
	// largestGraph bounds an answer.
	largestGraph = 1 << 20
	// graphPauseMost bounds for how long Graph may ask to be left alone.
	graphPauseMost = time.Minute
)

// Graph identifies people, applications and groups by GUIDs. One wrong id makes it
// refuse the whole question.
var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// objectID is what may stand in the path of a question.
var objectID = regexp.MustCompile(`^[0-9A-Za-z-]{1,64}$`)

// graph asks Microsoft Graph which of the groups that policies mention a caller is
// in (gateway-policies.md 1.5).
type graph struct {
	cfg    Graph
	prove  proof
	env    Env
	http   *http.Client
	known  *cache[string, membership]
	failed *cache[string, struct{}] // who was asked for in vain a moment ago
	asking flights[string, membership]
	stale  prometheus.Counter
	pause  atomic.Int64 // Graph is not asked before, in nanoseconds since 1970

	mu    sync.Mutex // guards what follows
	token string
	until time.Time // when the token is renewed
}

// A membership is what Graph said of one caller.
type membership struct {
	asked  []string // about these groups
	groups []string
	at     time.Time
}

func newGraph(ctx context.Context, cfg Graph, env Env) (*graph, error) {
	cfg = cfg.WithDefaults()
	prove, err := newProof(ctx, cfg, env)
	if err != nil {
		return nil, err
	}
	g := &graph{cfg: cfg, prove: prove, env: env, http: &http.Client{Timeout: graphTime, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}, known: newCache[string, membership](graphCallers), failed: newCache[string, struct{}](graphCallers), stale: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "klamm_auth_graph_stale_total", Help: "Calls decided by what Microsoft Graph said earlier, because it does not answer.",
	})}
	if env.Metrics != nil {
		env.Metrics.MustRegister(g.stale)
	}
	return g, nil
}

// errDirectory says that Graph does not answer and nothing is remembered.
var errDirectory = errors.New("the groups of the caller cannot be looked up now")

// groups returns those of the mentioned groups that a caller is in, as Graph has said
// within a time at most; 0 is as configured. If Graph does not answer and nothing is
// remembered, the error is errDirectory.
func (g *graph) groups(ctx context.Context, oid string, within time.Duration) ([]string, error) {
	wanted := g.wanted()
	if len(wanted) == 0 {
		return nil, nil // no decision depends on it
	}
	if !objectID.MatchString(oid) {
		return nil, refuseToken(tokenMalformed)
	}
	now := g.env.now()
	old, remembered := g.known.get(oid, now)
	remembered = remembered && slices.Equal(old.asked, wanted)
	fresh := g.fresh(old)
	if within > 0 {
		fresh = min(fresh, within)
	}
	if remembered && now.Sub(old.at) < fresh {
		return old.groups, nil
	}
	if _, ok := g.failed.get(oid, now); ok && !remembered {
		return nil, errDirectory
	}
	one, first := g.asking.join(oid)
	if first {
		go g.lookUp(oid, wanted, one) // for everybody who waits, so not by the context of one of them
	}
	select {
	case <-one.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if one.err == nil {
		return one.value.groups, nil
	}
	if remembered {
		g.stale.Inc()
		return old.groups, nil
	}
	g.failed.put(oid, struct{}{}, now.Add(graphFailed))
	return nil, errDirectory
}

// wanted are the groups that Graph is asked about.
func (g *graph) wanted() []string {
	var ids []string
	if g.env.Groups != nil {
		ids = append(ids, g.env.Groups()...)
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return !guid.MatchString(id) })
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (g *graph) fresh(m membership) time.Duration {
	if len(m.groups) == 0 {
		return g.cfg.NegativeCache
	}
	return g.cfg.Cache
}

// lookUp asks for one caller and tells everybody who waits.
func (g *graph) lookUp(oid string, wanted []string, one *flight[membership]) {
	ctx, cancel := context.WithTimeout(context.Background(), graphTime)
	defer cancel()
	m := membership{asked: wanted, at: g.env.now()}
	var err error
	for chunk := range slices.Chunk(wanted, graphChunk) {
		var some []string
		if some, err = g.check(ctx, oid, chunk); err != nil {
			break
		}
		m.groups = append(m.groups, some...)
	}
	if err == nil {
		g.known.put(oid, m, m.at.Add(graphStale))
	} else {
		g.env.Log.Warn("the directory (Microsoft Graph) cannot be asked for groups", "err", err)
	}
	g.asking.land(oid, one, m, err)
}

// check asks about up to 20 groups. The answer is transitive: groups in groups
// count.
func (g *graph) check(ctx context.Context, oid string, groups []string) ([]string, error) {
	body, err := json.Marshal(map[string][]string{"groupIds": groups})
	if err != nil {
		return nil, err
	}
	for attempt := 0; ; attempt++ {
		token, err := g.login(ctx)
		if err != nil {
			return nil, err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(g.cfg.URL, "/")+"/v1.0/directoryObjects/"+url.PathEscape(oid)+"/checkMemberGroups", bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		var answer struct {
			Value []string `json:"value"`
		}
		status, err := g.send(r, &answer)
		switch {
		case status == http.StatusUnauthorized && attempt == 0:
			g.forget(token)
			continue
		case status == http.StatusNotFound:
			return nil, nil // nobody, who is in no group
		case err != nil:
			return nil, err
		}
		// Graph answers about groups that it was asked about, and about no others.
		return slices.DeleteFunc(answer.Value, func(id string) bool { return !slices.Contains(groups, id) }), nil
	}
}

// send asks a question. The error shows nothing that was sent.
func (g *graph) send(r *http.Request, into any) (status int, err error) {
	answer, err := g.http.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		if n, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && n > 0 && (answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusServiceUnavailable) {
			g.leaveAlone(time.Duration(n) * time.Second)
		}
		return answer.StatusCode, fmt.Errorf("%s answers with status %d", r.URL.Host, answer.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, largestGraph))
	if err == nil && json.Unmarshal(text, into) != nil {
		err = fmt.Errorf("%s: not the JSON that was expected", r.URL.Host)
	}
	return answer.StatusCode, err
}

// leaveAlone keeps klamm from asking for a while.
func (g *graph) leaveAlone(d time.Duration) {
	g.pause.Store(g.env.now().Add(min(d, graphPauseMost)).UnixNano())
}
