package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/iam"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/table"
)

// policiesTopic is the compacted topic that the policies of all processes lie in.
const policiesTopic = "__klamm_policies"

const (
	// mostPolicies bounds the policies that are kept, and mostAttached what one of
	// them lists.
	mostPolicies = 20_000
	mostAttached = 1000
	// openPoliciesWithin is how long a change waits for the table.
	openPoliciesWithin = 10 * time.Second
	// reopenPolicies is the pause between attempts to open it.
	reopenPolicies = 250 * time.Millisecond
	// lookPolicies is how often its health is looked at.
	lookPolicies = time.Second
	// stalePolicies is for how long what was read counts while the table cannot be
	// followed, beside the seconds after which it says so. Together they are less
	// than the minute within which a removed grant has to act.
	stalePolicies = 25 * time.Second
)

// KindRule is the kind of a policy that is a rule in plain words.
const KindRule = "rule"

// A KeptPolicy is a policy or a rule, as it is kept and shown.
type KeptPolicy struct {
	// Name has up to 128 letters, digits and . _ - and begins with a letter or digit.
	Name string `json:"name"`
	// Kind is identity, resource or boundary, with Attach and Document as in
	// PolicyConfig, or rule, with Rule.
	Kind     string          `json:"kind"`
	Attach   []string        `json:"attach,omitempty"`
	Document json.RawMessage `json:"document,omitempty"`
	Rule     *Rule           `json:"rule,omitempty"`
	// Version tells the states of a policy apart; a later one is larger. It is not
	// kept, and 0 for policies of the file.
	Version int64 `json:"version,omitempty"`
	// Changed is when the policy was changed last, and ChangedBy who did it.
	Changed   time.Time `json:"changed,omitzero"`
	ChangedBy string    `json:"changed_by,omitempty"`
	// InFile says that the policy stands in the configuration file and is changed
	// there.
	InFile bool `json:"in_file,omitempty"`
	// Shadowed says that the file has a policy of this name, which counts instead.
	Shadowed bool `json:"shadowed,omitempty"`
}

// A madePolicy is one of them that can be decided by.
type madePolicy struct {
	KeptPolicy
	policy *iam.Policy
}

var policyName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// reservedNames are those of policies that nobody has written.
var reservedNames = []string{builtIn, "authorize", "authorizer"}

func invalidPolicy(form string, args ...any) error {
	return &Error{Invalid, fmt.Sprintf(form, args...)}
}

// compile checks a policy.
func (k KeptPolicy) compile() (*madePolicy, error) {
	if !policyName.MatchString(k.Name) || slices.Contains(reservedNames, k.Name) {
		return nil, invalidPolicy("name %q: want up to 128 letters, digits and . _ - that begin with a letter or digit", clipped(k.Name))
	}
	var problems []string
	report := func(path, problem string) { problems = append(problems, path+": "+problem) }
	m := &madePolicy{KeptPolicy: k}
	var err error
	if k.Kind == KindRule {
		if k.Rule == nil || k.Attach != nil || k.Document != nil {
			return nil, invalidPolicy("policy %q: a rule has the member rule, and neither attach nor document", k.Name)
		}
		for _, list := range [][]string{k.Rule.Who, k.Rule.Can, k.Rule.Deny, k.Rule.Topics, k.Rule.Groups, k.Rule.ExceptTopics} {
			if len(list) > mostAttached {
				return nil, invalidPolicy("policy %q: a list has %d entries at most", k.Name, mostAttached)
			}
		}
		if k.Rule.Validate(report); len(problems) == 0 {
			m.policy, err = k.Rule.compile(k.Name)
		}
	} else {
		if k.Rule != nil {
			return nil, invalidPolicy("policy %q: only kind rule has the member rule", k.Name)
		}
		if len(k.Attach) > mostAttached {
			return nil, invalidPolicy("policy %q: it is attached to %d at most", k.Name, mostAttached)
		}
		p := PolicyConfig{Name: k.Name, Kind: k.Kind, Attach: k.Attach, Document: k.Document}
		if p.Validate(report); len(problems) == 0 {
			m.policy, err = p.compile()
		}
	}
	if len(problems) > 0 {
		return nil, invalidPolicy("policy %q: %s", k.Name, strings.Join(problems, "; "))
	}
	if err != nil {
		return nil, invalidPolicy("policy %q: %v", k.Name, err)
	}
	return m, nil
}

// clipped bounds what an answer repeats of a request.
func clipped(s string) string {
	if len(s) > 100 {
		s = s[:100] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// Policies are the policies and rules that are made while klamm runs. They are kept
// in a table that all processes share, and count beside those of the file; of two
// with the same name, the file's does. Until the table was read, and once it could
// not be followed for half a minute, or holds what this process does not
// understand, the authority lets nobody do anything. Policies are safe for
// concurrent use.
type Policies struct {
	authority *Authority
	cluster   *kafka.Cluster
	log       *slog.Logger
	optional  bool
	settled   chan struct{} // closed when it is known which policies count
	settle    func()
	opened    chan struct{} // closed when table is set and its content counts
	table     *table.Table  // nil until opened is closed
	cancel    context.CancelFunc
	done      sync.WaitGroup

	mu    sync.Mutex // guards what follows
	kept  map[string]*madePolicy
	bad   map[string]bool // entries that cannot be read
	moved chan struct{}   // closed with the next change
}

// NewPolicies makes an authority decide also by what is kept in a cluster. It
// returns at once; until the table has been read, nobody may do anything. Optional
// says that the cluster decides on calls by the callers' own credentials: where its
// ACLs do not let klamm itself have the table, the policies of the file count alone.
// The policies have to be closed.
func NewPolicies(a *Authority, cluster *kafka.Cluster, optional bool, log *slog.Logger) *Policies {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Policies{authority: a, cluster: cluster, log: log, optional: optional, settled: make(chan struct{}), opened: make(chan struct{}), cancel: cancel,
		kept: map[string]*madePolicy{}, bad: map[string]bool{}, moved: make(chan struct{})}
	p.settle = sync.OnceFunc(func() { close(p.settled) })
	a.blind.Store(true)
	p.done.Go(func() { p.run(ctx) })
	return p
}

// Close ends following the table, within about five seconds. What was read goes on
// to count.
func (p *Policies) Close() {
	p.cancel()
	p.done.Wait()
}

// Await returns when it is known which policies count, or with ctx's error.
func (p *Policies) Await(ctx context.Context) error {
	select {
	case <-p.settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run opens the table and watches over it until ctx ends.
func (p *Policies) run(ctx context.Context) {
	for told := false; ctx.Err() == nil; {
		t, err := table.Open(ctx, p.cluster, policiesTopic, table.Options{Log: p.log})
		if err != nil {
			told = p.tell(err, told)
			select {
			case <-ctx.Done():
			case <-time.After(reopenPolicies):
			}
			continue
		}
		p.serve(ctx, t)
		return
	}
}

// tell says why the table cannot be opened, once where that is not expected to change.
func (p *Policies) tell(err error, told bool) bool {
	denied := errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed)
	if denied && p.optional {
		p.authority.blind.Store(false)
		p.authority.tellOfSight()
		p.settle()
	}
	var broker *kerr.Error
	switch {
	case told, !errors.As(err, &broker), broker.Retriable:
		p.log.Debug("the policies cannot be read yet", "err", err)
		return told
	case denied && p.optional:
		p.log.Warn("klamm's own user may not have the topic of policies: those of the file count alone, and the cluster's ACLs", "topic", policiesTopic, "err", err)
	default:
		p.log.Error("the policies cannot be read, so nobody may do anything; klamm's own user needs all rights to their topic", "topic", policiesTopic, "err", err)
	}
	return true
}

// serve lets the content of the table count.
func (p *Policies) serve(ctx context.Context, t *table.Table) {
	first := make(chan struct{})
	var once sync.Once
	stop := t.Watch(func(changes []table.Change) {
		p.apply(changes)
		once.Do(func() { close(first) })
	})
	defer t.Close()
	defer stop()
	if len(t.List("")) > 0 {
		select {
		case <-first:
		case <-ctx.Done():
			return
		}
	}
	p.table = t
	p.look(nil)
	close(p.opened)
	p.settle()
	ticker := time.NewTicker(lookPolicies)
	defer ticker.Stop()
	healthy := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := t.Health()
		if err == nil {
			healthy = time.Now()
		}
		if time.Since(healthy) < stalePolicies && !errors.Is(err, table.ErrLost) {
			err = nil
		}
		p.look(err)
	}
}

// look decides whether what is known is enough to decide by.
func (p *Policies) look(trouble error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	blind := trouble != nil || len(p.bad) > 0
	if blind == p.authority.blind.Swap(blind) {
		return
	}
	defer p.authority.tellOfSight()
	if blind {
		p.log.Error("the policies are not known, so nobody may do anything", "unreadable", len(p.bad), "err", trouble)
	}
}

// apply takes over what was written.
func (p *Policies) apply(changes []table.Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range changes {
		delete(p.kept, c.Key)
		delete(p.bad, c.Key)
		if c.Deleted {
			continue
		}
		one, err := readPolicy(c.Entry)
		if err != nil {
			// What is denied by it must not become allowed because nobody understands it.
			p.log.Error("a policy in Kafka cannot be read", "policy", c.Key, "err", err)
			p.bad[c.Key] = true
			p.authority.blind.Store(true)
			continue
		}
		p.kept[c.Key] = one
	}
	if err := p.authority.extend(p.list()); err != nil {
		p.log.Error("the policies in Kafka cannot be used", "err", err)
		p.bad[""] = true
		p.authority.blind.Store(true)
	} else {
		delete(p.bad, "")
	}
	close(p.moved)
	p.moved = make(chan struct{})
}

func readPolicy(e table.Entry) (*madePolicy, error) {
	var k KeptPolicy
	d := json.NewDecoder(bytes.NewReader(e.Value))
	d.DisallowUnknownFields() // a later version may have written what this one must not pass over
	if err := d.Decode(&k); err != nil {
		return nil, err
	}
	if k.Name != e.Key {
		return nil, errors.New("it has another name than its key")
	}
	k.Version = int64(e.Version)
	return k.compile()
}

// list is called with mu held.
func (p *Policies) list() []*madePolicy {
	list := make([]*madePolicy, 0, len(p.kept))
	for _, one := range p.kept {
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b *madePolicy) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// extend makes the authority decide by these beside the file's.
func (a *Authority) extend(made []*madePolicy) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	l, err := a.file.with(made, a.owns)
	if err != nil {
		return err
	}
	a.made = made
	a.enact(l)
	return nil
}

// inFile lists the policies of the file.
func (a *Authority) inFile() []KeptPolicy {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []KeptPolicy
	for _, p := range a.file.Policies {
		all = append(all, KeptPolicy{Name: p.Name, Kind: p.Kind, Attach: p.Attach, Document: p.Document, InFile: true})
	}
	for i := range a.file.Rules {
		all = append(all, KeptPolicy{Name: ruleName(i), Kind: KindRule, Rule: &a.file.Rules[i], InFile: true})
	}
	return all
}

// List returns the policies and rules of the file and of the table, those of the
// file first, each sorted by name. It fails while the table has not been read.
func (p *Policies) List(ctx context.Context) ([]KeptPolicy, error) {
	if _, err := p.open(ctx); err != nil {
		return nil, err
	}
	all := p.authority.inFile()
	named := map[string]bool{}
	for _, one := range all {
		named[one.Name] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.list() {
		shown := one.KeptPolicy
		shown.Shadowed = named[shown.Name]
		all = append(all, shown)
	}
	return all, nil
}

// Get returns a policy by its name; the file's comes first.
func (p *Policies) Get(ctx context.Context, name string) (KeptPolicy, error) {
	all, err := p.List(ctx)
	if err != nil {
		return KeptPolicy{}, err
	}
	for _, one := range all {
		if one.Name == name {
			return one, nil
		}
	}
	return KeptPolicy{}, errNoPolicy
}

// Errors of changes to policies.
var (
	errNoPolicy     = &Error{NotFound, "no such policy"}
	errPolicyInFile = &Error{Conflict, "a policy of this name stands in the configuration file, and is changed there"}
	errOtherVersion = &Error{Conflict, "the policy was changed meanwhile, or is not there, or was there already; look at it again"}
	errManyPolicies = &Error{TooLarge, fmt.Sprintf("there are %d policies already", mostPolicies)}
	errLockedOut    = &Error{Conflict, "after that you could not change policies any more; with force it is done nevertheless"}
)

// A PolicyChange says how a change is made.
type PolicyChange struct {
	// By is who makes it.
	By Principal
	// Expect is the version that is to be changed, 0 that there is none, -1 anything.
	Expect int64
	// Force makes it also if the caller could not change policies after it.
	Force bool
}

// Put makes or replaces a policy. When it returns, this process decides by it, and
// all others do within a second. The errors are those of Classify.
func (p *Policies) Put(ctx context.Context, k KeptPolicy, how PolicyChange) (KeptPolicy, error) {
	k.Version, k.InFile, k.Shadowed = 0, false, false
	k.Changed, k.ChangedBy = time.Now().UTC().Truncate(time.Millisecond), how.By.Name
	one, err := k.compile()
	if err != nil {
		return k, err
	}
	value, err := json.Marshal(k)
	if err != nil {
		return k, invalidPolicy("policy %q: %v", k.Name, err)
	}
	e, err := p.change(ctx, k.Name, one, value, how)
	k.Version = int64(e.Version)
	return k, err
}

// Delete removes a policy. When it returns, this process does not decide by it any
// more, and no other does after a second. The errors are those of Classify.
func (p *Policies) Delete(ctx context.Context, name string, how PolicyChange) error {
	_, err := p.change(ctx, name, nil, nil, how)
	return err
}

// change writes one entry, or removes it where one is nil, and waits until it counts.
func (p *Policies) change(ctx context.Context, name string, one *madePolicy, value []byte, how PolicyChange) (table.Entry, error) {
	t, err := p.open(ctx)
	if err != nil {
		return table.Entry{}, err
	}
	if slices.ContainsFunc(p.authority.inFile(), func(f KeptPolicy) bool { return f.Name == name }) {
		return table.Entry{}, errPolicyInFile
	}
	if err := p.consider(ctx, name, one, how); err != nil {
		return table.Entry{}, err
	}
	var before table.Entry
	err = t.Update(ctx, func(tx *table.Tx) error {
		var there bool
		before, there = tx.Get(name)
		switch {
		case how.Expect >= 0 && int64(before.Version) != how.Expect:
			return errOtherVersion
		case one == nil && !there:
			return errNoPolicy
		case one == nil:
			tx.Delete(name)
		case !there && len(tx.List("")) >= mostPolicies:
			return errManyPolicies
		default:
			tx.Put(name, value)
		}
		return nil
	})
	if err != nil {
		return table.Entry{}, changeError(err)
	}
	now, _ := t.Get(name)
	return now, p.counts(ctx, name, before.Version)
}

func changeError(err error) error {
	var own *Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, table.ErrInvalid):
		return &Error{TooLarge, "the policy is too large to be kept"}
	case errors.Is(err, table.ErrUnknown):
		return &Error{Unavailable, "the brokers have not answered in time; the change may or may not have been made"}
	case errors.Is(err, table.ErrLost), errors.Is(err, table.ErrClosed):
		return errBlind
	}
	return err
}

// consider refuses a change by which its maker could make no further one.
func (p *Policies) consider(ctx context.Context, name string, one *madePolicy, how PolicyChange) error {
	if how.Force {
		return nil
	}
	p.mu.Lock()
	after := slices.DeleteFunc(p.list(), func(m *madePolicy) bool { return m.Name == name })
	p.mu.Unlock()
	if one != nil {
		after = append(after, one)
	}
	a := p.authority
	a.mu.Lock()
	l, err := a.file.with(after, a.owns)
	a.mu.Unlock()
	if err != nil {
		return &Error{Invalid, err.Error()}
	}
	q, err := a.ask(ctx, l, &Call{Principal: how.By, Action: AdminWrite, Resource: Resource{Kind: "policy", Name: name}})
	if err != nil {
		return err
	}
	if r := how.By.request; r != nil {
		route := &Call{Principal: how.By, Action: Invoke, Resource: Resource{Kind: "route", Name: r.Method + r.Path}}
		if door, err := a.ask(ctx, l, route); err != nil || a.judge(door) != nil {
			return errLockedOut
		}
	}
	if a.judge(q) != nil {
		return errLockedOut
	}
	return nil
}

// counts waits until an entry has another version than before.
func (p *Policies) counts(ctx context.Context, name string, before table.Version) error {
	for {
		p.mu.Lock()
		one, moved := p.kept[name], p.moved
		p.mu.Unlock()
		if one == nil && before != table.Absent || one != nil && one.Version != int64(before) {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// open waits for the table.
func (p *Policies) open(ctx context.Context) (*table.Table, error) {
	ctx, cancel := context.WithTimeout(ctx, openPoliciesWithin)
	defer cancel()
	select {
	case <-p.opened:
		return p.table, nil
	case <-ctx.Done():
		return nil, errBlind
	}
}
