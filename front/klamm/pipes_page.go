package klamm

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

// A pipeRow is a pipe in a page of the list.
type pipeRow struct {
	pipe.Status
	// BehindSeconds is how old the record is that the pipe comes to next; null: not known.
	BehindSeconds *float64 `json:"behind_seconds"`
	// Counts are what this process has done for the pipe.
	Counts pipe.Counts `json:"counts"`
}

// knownFor is how long what brokers say of a pipe is good for other callers of a page:
// ten people with the list open cost no more than one.
const knownFor = 4 * time.Second

// pipeRows are rows that were asked for a moment ago. They are safe for concurrent use.
type pipeRows struct {
	mu  sync.Mutex // held while brokers are asked, so that two callers do not ask the same
	all map[string]knownRow
}

type knownRow struct {
	row pipeRow
	at  time.Time
}

// of returns the rows of pipes, without what this process has counted. A pipe that is gone
// meanwhile is left out.
func (p *pipeRows) of(ctx context.Context, runner *pipe.Runner, names []string) ([]pipeRow, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(p.all, func(_ string, k knownRow) bool { return now.Sub(k.at) > knownFor })
	var unknown []string
	for _, name := range names {
		if _, ok := p.all[name]; !ok {
			unknown = append(unknown, name)
		}
	}
	list, err := runner.ListOf(ctx, unknown)
	if err != nil {
		return nil, err
	}
	looking, done := context.WithTimeout(ctx, behindTime)
	defer done()
	behind := runner.Behind(looking, list)
	if p.all == nil {
		p.all = map[string]knownRow{}
	}
	for i, s := range list {
		p.all[s.Pipe] = knownRow{pipeRow{Status: whole(s), BehindSeconds: seconds(behind[i])}, time.Now()}
	}
	rows := []pipeRow{}
	for _, name := range names {
		if k, ok := p.all[name]; ok {
			rows = append(rows, k.row)
		}
	}
	return rows, nil
}

// behindTime bounds how long a page looks for how far behind its pipes are.
const behindTime = 2 * time.Second

// The orders of a page of pipes, beside that of their names.
const (
	byBehind  = "behind"        // those that have something before them, the oldest record first
	byLetters = "dead_lettered" // those that have given records up here, the most first
)

// A pipePage is a page of the list of pipes.
type pipePage struct {
	Pipes   []pipeRow `json:"pipes"`
	Next    string    `json:"next,omitempty"`
	Total   int       `json:"total"` // those that are asked for, on all pages
	Process string    `json:"process"`
	// Sums are of all pipes that are asked for; nil where the page is in the order of
	// names.
	Sums *pipeSums `json:"sums,omitempty"`
}

// pipeSums are what pipes have before them and have given up, together.
type pipeSums struct {
	Pipes        int   `json:"pipes"`
	Looked       int   `json:"looked"` // of them, whose lag is known
	Lag          int64 `json:"lag"`
	DeadLettered int64 `json:"dead_lettered"`
}

// pagePipes serves GET /klamm/v1/pipes with ?limit=, ?after=, ?search=, ?state=, ?sort= or
// ?brief=: a pipePage of those that the caller may see, by name or as sort says. Brief leaves
// their partitions out. A page that is sorted is the first and only one.
func (a api) pagePipes(w http.ResponseWriter, r *http.Request, who gate.Principal, q query) error {
	limit, err := q.limit()
	if err != nil {
		return err
	}
	limit = min(limit, mostPipes)
	brief, err := q.flag("brief")
	if err != nil {
		return err
	}
	sort, after := q.text("sort"), q.text("after")
	switch {
	case sort != "" && sort != byBehind && sort != byLetters:
		return invalid(fmt.Sprintf("sort %.100q: want %s or %s, or leave it out for the order of names", sort, byBehind, byLetters))
	case sort != "" && after != "":
		return invalid("after: a page that is sorted has none after it; leave sort out to go through all")
	}
	out := pipePage{Pipes: []pipeRow{}, Process: a.process()}
	if a.cfg.Pipes == nil {
		return writeJSON(w, http.StatusOK, "application/json", out)
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTime)
	defer cancel()
	if err := a.reachable(ctx); err != nil {
		return err
	}
	names := a.pipesNamed(r, who, q.text("search"), q.text("state"))
	switch out.Total = len(names); sort {
	case byBehind:
		err = a.mostBehind(ctx, names, limit, &out)
	case byLetters:
		err = a.mostLetters(ctx, names, limit, &out)
	default:
		if after != "" {
			at, found := slices.BinarySearch(names, after)
			if found {
				at++
			}
			names = names[at:]
		}
		if len(names) > limit {
			names = names[:limit]
			out.Next = names[limit-1]
		}
		out.Pipes, err = a.rows.of(ctx, a.cfg.Pipes, names)
	}
	if err != nil {
		return err
	}
	for i := range out.Pipes {
		out.Pipes[i].Counts = a.cfg.Pipes.CountsOf(out.Pipes[i].Pipe)
		if brief {
			out.Pipes[i].Partitions = []pipe.PartitionStatus{}
		}
	}
	return writeJSON(w, http.StatusOK, "application/json", out)
}

// manyFor is how long a page of those that are the most behind is good for other callers where
// there are more than mostPipes: it knows not all of them anyway.
const manyFor = 8 * time.Second

// mostPipes bounds how many pipes brokers are asked about for one page.
const mostPipes = 1_000

// pipesNamed returns the names of the pipes that the caller may see, in their order: those
// with search in their names, and in a state if one is given. Nobody may change them: they
// may be the runner's own.
func (a api) pipesNamed(r *http.Request, who gate.Principal, search, state string) []string {
	wanted := func(name string) bool {
		if !strings.Contains(name, search) {
			return false
		}
		if state != "" {
			if now, _ := a.cfg.Pipes.Standing(name); now != state {
				return false
			}
		}
		return a.allow(r, who, gate.AdminRead, name) == nil
	}
	all := a.cfg.Pipes.Names()
	at := slices.IndexFunc(all, func(name string) bool { return !wanted(name) })
	if at < 0 {
		return all // thousands, mostly, which are not copied for each caller
	}
	names := slices.Clone(all[:at])
	for _, name := range all[at+1:] {
		if wanted(name) {
			names = append(names, name)
		}
	}
	return names
}

// mostLetters fills a page with the pipes that have given up most records here.
func (a api) mostLetters(ctx context.Context, names []string, limit int, out *pipePage) (err error) {
	out.Sums = &pipeSums{Pipes: len(names)}
	var most []string
	for _, g := range a.tally.of(a.cfg.Pipes).given {
		if _, ok := slices.BinarySearch(names, g.pipe); ok {
			most = append(most, g.pipe)
			out.Sums.DeadLettered += g.records
		}
	}
	out.Total = len(most)
	out.Pipes, err = a.rows.of(ctx, a.cfg.Pipes, most[:min(limit, len(most))])
	return err
}

// mostBehind fills a page with the pipes that are the longest behind. Where there are more
// than brokers are asked about at once, it asks about those that were the most behind and
// about some of the others in turn, so that a page which is looked at again and again
// comes to know all.
func (a api) mostBehind(ctx context.Context, names []string, limit int, out *pipePage) error {
	rows, sums, err := a.behind.of(names, func() ([]pipeRow, pipeSums, error) {
		asked := names
		if len(names) > mostPipes {
			asked = a.lags.next(names, mostPipes)
		}
		rows, err := a.rows.of(ctx, a.cfg.Pipes, asked)
		if err != nil {
			return nil, pipeSums{}, err
		}
		a.lags.put(rows)
		sums := pipeSums{Pipes: len(names)}
		sums.Looked, sums.Lag = a.lags.sum(names)
		rows = slices.DeleteFunc(rows, func(p pipeRow) bool { return p.Lag == 0 })
		slices.SortFunc(rows, func(x, y pipeRow) int {
			return cmp.Or(cmp.Compare(ageOf(y), ageOf(x)), cmp.Compare(y.Lag, x.Lag), cmp.Compare(x.Pipe, y.Pipe))
		})
		return slices.Clip(rows), sums, nil
	})
	if err != nil {
		return err
	}
	out.Sums, out.Total = &sums, len(rows)
	out.Pipes = slices.Clone(rows[:min(limit, len(rows))])
	return nil
}

// A behindPage is the pipes that are behind, as they were found last. Where there are more
// than mostPipes they are looked for once in a moment for all who see the same ones. It is
// safe for concurrent use; the zero value knows nothing.
type behindPage struct {
	mu    sync.Mutex // held while they are looked for, so that two callers do not look for the same
	names []string
	rows  []pipeRow
	sums  pipeSums
	until time.Time
}

// of returns the rows and sums of these names, which the caller may not change: what look
// gives, or has given a moment ago.
func (b *behindPage) of(names []string, look func() ([]pipeRow, pipeSums, error)) ([]pipeRow, pipeSums, error) {
	if len(names) <= mostPipes {
		return look()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Now().Before(b.until) && slices.Equal(b.names, names) {
		return b.rows, b.sums, nil
	}
	rows, sums, err := look()
	if err != nil {
		return nil, pipeSums{}, err
	}
	b.names, b.rows, b.sums, b.until = names, rows, sums, time.Now().Add(manyFor)
	return rows, sums, nil
}

// ageOf is how far behind a pipe is, in seconds; -1: not known.
func ageOf(p pipeRow) float64 {
	if p.BehindSeconds == nil {
		return -1
	}
	return *p.BehindSeconds
}

// lagsSeen remembers what pipes had before them when brokers were asked last. It is safe for
// concurrent use; the zero value knows nothing.
type lagsSeen struct {
	mu   sync.Mutex
	all  map[string]int64
	turn string // the last of those that were asked about in turn
	// asked are those that next has chosen, at a time, in the order of their names.
	asked []string
	at    time.Time
}

// next chooses at most n of some sorted names: one half are those that had most before
// them, the rest comes in turn. What was chosen a moment ago, for another caller, is chosen
// again, so that ten callers cost no more than one.
func (l *lagsSeen) next(names []string, n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.at) < knownFor {
		again := slices.DeleteFunc(slices.Clone(l.asked), func(name string) bool { _, ok := slices.BinarySearch(names, name); return !ok })
		if len(again) > 0 {
			return again
		}
	}
	var late []string
	for _, name := range names {
		if l.all[name] > 0 {
			late = append(late, name)
		}
	}
	slices.SortFunc(late, func(x, y string) int { return cmp.Or(cmp.Compare(l.all[y], l.all[x]), cmp.Compare(x, y)) })
	chosen := map[string]bool{}
	for _, name := range late[:min(n/2, len(late))] {
		chosen[name] = true
	}
	at, found := slices.BinarySearch(names, l.turn)
	if found {
		at++
	}
	for i := 0; i < len(names) && len(chosen) < n; i++ {
		l.turn = names[(at+i)%len(names)]
		chosen[l.turn] = true
	}
	l.asked, l.at = slices.Sorted(maps.Keys(chosen)), time.Now()
	return slices.Clone(l.asked)
}

func (l *lagsSeen) put(rows []pipeRow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[string]int64{}
	}
	for _, p := range rows {
		l.all[p.Pipe] = p.Lag
	}
}

// sum says how many of some pipes are known, and what they had before them. Others are
// forgotten where there are many more of them: pipes come and go.
func (l *lagsSeen) sum(names []string) (known int, lag int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		if n, ok := l.all[name]; ok {
			known++
			lag += n
		}
	}
	if len(l.all) > 2*len(names)+mostPipes {
		l.all = nil
	}
	return known, lag
}

func seconds(d *time.Duration) *float64 {
	if d == nil {
		return nil
	}
	s := d.Seconds()
	return &s
}
