package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// A statusDoc is what klamm says of itself, of its processes and of its pipes.
type statusDoc struct {
	Server   string         `json:"server,omitempty"`
	Ready    bool           `json:"ready"`
	Problems []string       `json:"problems"`
	Version  string         `json:"version,omitempty"`
	Brokers  []string       `json:"brokers"`
	States   map[string]int `json:"states"`
	Wrong    []wrongDoc     `json:"wrong"`
	Catalog  string         `json:"catalog,omitempty"`
	Lag      int64          `json:"lag"`
	Members  []memberDoc    `json:"members"`
	Pipes    []pipeDoc      `json:"pipes"`
}

// A wrongDoc is a pipe that somebody has to look after.
type wrongDoc struct {
	Pipe   string `json:"pipe"`
	State  string `json:"state"`
	Reason string `json:"reason"`
}

// A memberDoc is a klamm process of the cluster.
type memberDoc struct {
	ID      string    `json:"id"`
	Address string    `json:"address"`
	Self    bool      `json:"self,omitempty"`
	Version string    `json:"version,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Pipes   []string  `json:"pipes"`
	Problem string    `json:"problem,omitempty"`
}

// statusPipes is how many pipes a status shows to people.
const statusPipes = 20

func statusCommand() *cobra.Command {
	var follow bool
	cmd := asking(&cobra.Command{
		Use:   "status",
		Short: "Say whether a klamm is ready, who runs what, and how its pipes are",
		Long: "Says whether a klamm can produce and poll, what is wrong if something is, which processes the cluster has and what each runs, and how\n" +
			"the pipes are: those first that need somebody. The exit status is 1 if klamm is not ready. With --follow it goes on with what\n" +
			"changes, until Ctrl-C: in place on a terminal, and with -o json as lines with status, members, pipe or gone.",
		Example: "  klamm status\n  klamm status --server https://klamm.example.com -o json\n  klamm status --follow",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, c *client, _ []string) error {
		if follow {
			return c.followStatus(ctx)
		}
		s, err := c.status(ctx)
		if err != nil {
			return err
		}
		if err := c.showStatus(s); err != nil {
			return err
		}
		if !s.Ready {
			return errors.New("klamm is not ready")
		}
		return nil
	})
	cmd.Flags().BoolVar(&follow, "follow", false, "go on with what changes, until Ctrl-C")
	return cmd
}

// status asks for everything.
func (c *client) status(ctx context.Context) (s statusDoc, err error) {
	s = statusDoc{Server: c.base.Redacted(), Problems: []string{}, Brokers: []string{}, States: map[string]int{}, Wrong: []wrongDoc{}, Members: []memberDoc{}, Pipes: []pipeDoc{}}
	if err := c.call(ctx, request{method: http.MethodGet, path: []string{"status"}, within: readTime}, "ready", &s); err != nil {
		return s, err
	}
	if !s.Ready { // brokers that cannot be reached know nothing of pipes
		return s, nil
	}
	// A klamm of an older version has no members to tell.
	if s.Members, err = list[memberDoc](ctx, c, "members"); err != nil && !isMissing(err) {
		return s, err
	}
	if s.Pipes, err = c.pipes(ctx); err != nil {
		return s, err
	}
	s.count()
	return s, nil
}

// count sums up what the pipes say.
func (s *statusDoc) count() {
	s.Lag, s.States = 0, map[string]int{}
	for _, p := range s.Pipes {
		s.Lag += p.Lag
		s.States[p.State]++
	}
}

func (c *client) showStatus(s statusDoc) error {
	if c.output == "json" {
		return c.json(s)
	}
	for i, t := range s.tables() {
		if i > 0 {
			fmt.Fprintln(c.out)
		}
		if err := t.write(c.out); err != nil {
			return err
		}
	}
	if more := len(s.Pipes) - statusPipes; more > 0 {
		fmt.Fprintf(c.out, "... and %d more; klamm pipe list shows all\n", more)
	}
	return nil
}

// tables are those that people see: klamm, its processes, and the pipes that need
// somebody most.
func (s *statusDoc) tables() []*table {
	t := &table{paint: paintColumn(1)}
	t.headless = true
	t.add("server", s.Server)
	t.add("ready", map[bool]string{true: "yes", false: "no"}[s.Ready])
	for _, p := range s.Problems {
		t.add("problem", p)
	}
	if s.Catalog != "" {
		t.add("problem", s.Catalog)
	}
	for _, w := range s.Wrong {
		t.add("wrong", fmt.Sprintf("pipe %s is %s: %s", w.Pipe, w.State, short(w.Reason, 200)))
	}
	if s.Version != "" {
		t.add("version", s.Version)
	}
	t.add("brokers", strings.Join(s.Brokers, ","))
	if len(s.States) > 0 {
		var states []string
		for _, state := range slices.Sorted(maps.Keys(s.States)) {
			states = append(states, fmt.Sprintf("%d %s", s.States[state], state))
		}
		t.add("pipes", strings.Join(states, ", "))
		t.add("lag", s.Lag)
	}
	all := []*table{t}
	if len(s.Members) > 0 {
		all = append(all, memberTable(s.Members))
	}
	if len(s.Pipes) > 0 {
		t := pipeTable()
		shown := slices.Clone(s.Pipes)
		slices.SortStableFunc(shown, func(x, y pipeDoc) int {
			return cmp.Or(cmp.Compare(calm(x), calm(y)), -cmp.Compare(x.Lag, y.Lag), cmp.Compare(x.Pipe, y.Pipe))
		})
		for _, p := range shown[:min(len(shown), statusPipes)] {
			t.add(pipeRow(p)...)
		}
		all = append(all, t)
	}
	return all
}

// calm says how little a pipe needs somebody.
func calm(p pipeDoc) int {
	switch {
	case p.State == "running" && len(p.Missing) == 0:
		return 2
	case p.State == "running" || p.State == "paused":
		return 1
	}
	return 0
}

func memberTable(members []memberDoc) *table {
	t := newTable("MEMBER", "VERSION", "STARTED", "RUNS", "PIPES")
	for _, m := range members {
		name := m.Address
		if name == "" {
			name = "this process"
		}
		if m.Problem != "" {
			t.add(name, m.Version, "", "", m.Problem)
			continue
		}
		started := ""
		if !m.Started.IsZero() {
			started = m.Started.UTC().Format(time.RFC3339)
		}
		t.add(name, m.Version, started, len(m.Pipes), short(strings.Join(m.Pipes, ","), 100))
	}
	return t
}

// followStatus shows what there is and what changes.
func (c *client) followStatus(ctx context.Context) error {
	s := statusDoc{Server: c.base.Redacted()}
	pipes := map[string]pipeDoc{}
	live := c.liveTable()
	return c.watch(ctx, url.Values{}, func(d changeDoc) error {
		if live == nil {
			return c.showChange(d)
		}
		switch {
		case d.Status != nil:
			members, lag := s.Members, s.Lag
			s = *d.Status
			s.Server, s.Members, s.Lag = c.base.Redacted(), members, lag
		case d.Members != nil:
			s.Members = d.Members
		case d.Pipe != nil:
			pipes[d.Pipe.Pipe] = *d.Pipe
		case d.Gone != "":
			delete(pipes, d.Gone)
		}
		s.Pipes = slices.SortedFunc(maps.Values(pipes), func(x, y pipeDoc) int { return cmp.Compare(x.Pipe, y.Pipe) })
		s.count()
		return live.show(s.tables()...)
	})
}

// showChange prints a change as a line.
func (c *client) showChange(d changeDoc) error {
	if c.output == "json" {
		return c.json(json.RawMessage(d.line))
	}
	var text string
	switch {
	case d.Status != nil:
		text = "ready"
		if !d.Status.Ready {
			text = "not ready: " + strings.Join(d.Status.Problems, "; ")
		}
		for _, w := range d.Status.Wrong {
			text += fmt.Sprintf("; pipe %s is %s: %s", w.Pipe, w.State, short(w.Reason, 200))
		}
	case d.Members != nil:
		var all []string
		for _, m := range d.Members {
			all = append(all, fmt.Sprintf("%s runs %d pipes", orDash(m.Address), len(m.Pipes)))
		}
		text = "members: " + strings.Join(all, ", ")
	case d.Pipe != nil:
		text = fmt.Sprintf("pipe %s is %s, lag %d", d.Pipe.Pipe, d.Pipe.State, d.Pipe.Lag)
		if d.Pipe.Reason != "" {
			text += ": " + d.Pipe.Reason
		}
	default:
		text = fmt.Sprintf("pipe %s is gone", d.Gone)
	}
	_, err := fmt.Fprintf(c.out, "%s  %s\n", clock(time.Now()), printable(text))
	return err
}
