package pipe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/table"
)

// What the API says of a mapping (event-source-mapping.md 7).
const (
	// UserInitiated is the reason of a state in which nothing is wrong.
	UserInitiated = "USER_INITIATED"
	// NothingProcessed and Processed are results in which nothing is wrong.
	NothingProcessed = "No records processed"
	Processed        = "OK"

	functionFailed = "PROBLEM: Function call failed"
	// functionNotValid is the reason where there is no function to call.
	functionNotValid = "FUNCTION_CONFIG_NOT_VALID"
)

// A MappingResult is how an event source mapping fares.
type MappingResult struct {
	// Reason is its StateTransitionReason, and Result its LastProcessingResult.
	Reason string `json:"reason"`
	Result string `json:"result"`
}

// trouble is what is wrong with the source of a mapping.
type trouble struct{ MappingResult }

// errNoTopic says that what a mapping is to read is not there: it is read from its
// beginning when somebody makes it.
var errNoTopic = errors.New("the topic does not exist")

// MappingTrouble returns the words for an error with the source of a mapping.
func MappingTrouble(err error) MappingResult {
	var (
		certificate *tls.CertificateVerificationError
		authority   x509.UnknownAuthorityError
		host        x509.HostnameError
		invalid     x509.CertificateInvalidError
		alert       tls.AlertError
	)
	text := strings.ToLower(err.Error())
	says := func(parts ...string) bool {
		for _, part := range parts {
			if strings.Contains(text, part) {
				return true
			}
		}
		return false
	}
	switch {
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.GroupAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed), errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return MappingResult{"EVENT_SOURCE_AUTHZ_ERROR", "PROBLEM: Cluster failed to authorize Lambda."}
	case errors.Is(err, errNoTopic):
		return MappingResult{"ESM_CONFIG_NOT_VALID", "PROBLEM: The topic does not exist."}
	case errors.Is(err, kafka.ErrUnusable):
		return MappingResult{"ESM_CONFIG_NOT_VALID", "PROBLEM: Provided certificate or private key is invalid."}
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kerr.UnsupportedSaslMechanism), errors.Is(err, kerr.IllegalSaslState), says("sasl", "credentials:"):
		return MappingResult{"EVENT_SOURCE_AUTHN_ERROR", "PROBLEM: SASL authentication failed."}
	case errors.As(err, &certificate), errors.As(err, &authority), errors.As(err, &host), errors.As(err, &invalid):
		return MappingResult{"EVENT_SOURCE_AUTHN_ERROR", "PROBLEM: Lambda failed to authenticate server."}
	case errors.As(err, &alert), says("remote error: tls"):
		return MappingResult{"EVENT_SOURCE_AUTHN_ERROR", "PROBLEM: Server failed to authenticate Lambda."}
	}
	return MappingResult{UserInitiated, "PROBLEM: Connection error. Please check your event source connection configuration."}
}

// A mappingNote is how a mapping fares, as its processes have noted it together.
type mappingNote struct {
	MappingResult
	// Partitions are those with whose records the function has failed, and the reason.
	// A process may lack a function that others have, so that only who reads a partition
	// knows when it is well again.
	Partitions map[int32]string `json:"partitions,omitempty"`
}

func (n mappingNote) equal(m mappingNote) bool {
	return n.MappingResult == m.MappingResult && maps.Equal(n.Partitions, m.Partitions)
}

// Result returns how an event source mapping fares, as far as this process has heard
// or knows by itself, whichever is worse; false: it has never run.
func (r *Runner) Result(pipe string) (MappingResult, bool) {
	noted, known := r.noted(pipe)
	r.mu.Lock()
	var own *mapping
	for f := range r.flows {
		if f.def.Name == pipe {
			own = f.mapping
		}
	}
	r.mu.Unlock()
	if own == nil {
		return noted.MappingResult, known
	}
	return own.view().over(noted, known).MappingResult, true
}

// noted returns what the processes have noted last of how a mapping fares.
func (r *Runner) noted(pipe string) (n mappingNote, known bool) {
	t := r.memory.opened()
	if t == nil {
		return n, false
	}
	e, ok := t.Get(resultKey(pipe))
	return readNote(e, ok)
}

func readNote(e table.Entry, there bool) (n mappingNote, known bool) {
	return n, there && json.Unmarshal(e.Value, &n) == nil
}

func resultKey(pipe string) string { return "result/" + pipe }

// noteResult notes how a mapping fares, where that is news, and returns what is noted.
func (m *memory) noteResult(ctx context.Context, pipe string, view mappingView) (now mappingNote, err error) {
	if _, err := m.runner.definition(pipe); err != nil {
		return mappingNote{MappingResult: view.said}, nil // it is gone
	}
	t, err := m.open(ctx)
	if err != nil {
		return now, err
	}
	err = t.Update(ctx, func(tx *table.Tx) error {
		noted, known := readNote(tx.Get(resultKey(pipe)))
		if now = view.over(noted, known); known && now.equal(noted) {
			return nil
		}
		value, err := json.Marshal(now)
		if err == nil {
			tx.Put(resultKey(pipe), value)
		}
		return err
	})
	return now, err
}

// trouble notes that the function has failed with a partition's records.
func (m *mapping) trouble(p *partition, err error) {
	reason := UserInitiated
	if notValid(err) {
		reason = functionNotValid
	}
	m.mu.Lock()
	m.fares[p] = reason
	m.mu.Unlock()
	m.tell()
}

// notValid says whether a function cannot be called because of what it is: it is not
// there, has no program, or the API that it is behind says so of the request.
func notValid(err error) bool {
	var start *function.StartError
	var unreached *function.UnreachedError
	switch {
	case errors.Is(err, function.ErrNotFound):
		return true
	case errors.As(err, &start):
		return start.Type == function.InvalidEntrypoint
	case errors.As(err, &unreached):
		return unreached.Status == http.StatusBadRequest || unreached.Status == http.StatusNotFound || unreached.Status == http.StatusUnsupportedMediaType
	}
	return false
}

// well notes that a batch of a partition is done.
func (m *mapping) well(p *partition) {
	m.mu.Lock()
	reason, seen := m.fares[p]
	m.worked, m.fares[p] = true, ""
	m.mu.Unlock()
	if !seen || reason != "" {
		m.tell()
	}
}

func (m *mapping) tell() {
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// A mappingView is how a mapping fares as far as one process knows by itself.
type mappingView struct {
	source *trouble         // what is wrong with it; nil: nothing
	fares  map[int32]string // by partition that it reads and has worked for, the reason of a failure; empty: it is well
	worked bool             // something was processed
	said   MappingResult    // what this process has noted last
}

func (m *mapping) view() mappingView {
	f := m.flow
	v := mappingView{source: m.cluster.Load(), fares: map[int32]string{}}
	f.mu.Lock()
	let := make(map[*partition]bool, len(f.parts))
	for _, p := range f.parts {
		let[p] = p.let
	}
	f.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	for p, reason := range m.fares {
		if gone, ok := let[p]; !ok || gone {
			delete(m.fares, p) // somebody else has it
		} else {
			v.fares[p.number] = reason
		}
	}
	v.worked, v.said = m.worked, m.said
	return v
}

// over returns how the mapping fares altogether, after what was noted before.
func (v mappingView) over(noted mappingNote, known bool) (now mappingNote) {
	worst := UserInitiated
	for number, reason := range noted.Partitions {
		if _, own := v.fares[number]; !own {
			now.fail(number, reason)
		}
	}
	for number, reason := range v.fares {
		if reason != "" {
			now.fail(number, reason)
		}
	}
	for _, reason := range now.Partitions {
		if reason == functionNotValid {
			worst = reason
		}
	}
	switch {
	case v.source != nil:
		now.MappingResult = v.source.MappingResult
	case len(now.Partitions) > 0:
		now.MappingResult = MappingResult{worst, functionFailed}
	case !v.worked && known && noted.Result == functionFailed && len(noted.Partitions) == 0: // noted by an earlier version of klamm
		now.MappingResult = noted.MappingResult
	case known && noted.ofSource() && noted.MappingResult != v.said: // another process cannot read it
		now.MappingResult = noted.MappingResult
	case v.worked, known && noted.Result != NothingProcessed:
		now.MappingResult = MappingResult{UserInitiated, Processed}
	default:
		now.MappingResult = MappingResult{UserInitiated, NothingProcessed}
	}
	return now
}

func (n *mappingNote) fail(number int32, reason string) {
	if n.Partitions == nil {
		n.Partitions = map[int32]string{}
	}
	n.Partitions[number] = reason
}

// ofSource says whether it is trouble with the source.
func (n mappingNote) ofSource() bool {
	return n.Result != NothingProcessed && n.Result != Processed && n.Result != functionFailed
}

const (
	// resultEvery is the shortest pause between two notes of a result.
	resultEvery = 200 * time.Millisecond
	// lookEvery is the pause between two looks at the source, where there are few
	// mappings.
	lookEvery = 3 * time.Second
	// lookSoon is the same while something is wrong with the source, and until the first.
	lookSoon = 500 * time.Millisecond
)

// watch looks after the source and notes how the mapping fares, until ctx ends.
func (m *mapping) watch(ctx context.Context) {
	defer m.metrics.rest()
	f := m.flow
	look := time.NewTimer(lookSoon)
	defer look.Stop()
	before, _ := f.runner.noted(f.def.Name)
	m.say(before)
	for {
		noted, known := f.runner.noted(f.def.Name)
		if view := m.view(); !known || !view.over(noted, known).equal(noted) {
			noting, cancel := context.WithTimeout(ctx, 10*time.Second)
			now, err := f.runner.memory.noteResult(noting, f.def.Name, view)
			cancel()
			if err == nil && (view.source != nil || !now.ofSource()) {
				m.say(now)
			} else if err != nil {
				m.tell()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(resultEvery):
		}
		select {
		case <-ctx.Done():
			return
		case <-m.news:
		case <-look.C:
			m.look(ctx)
			next := lookEvery
			if m.cluster.Load() != nil {
				next = lookSoon // it may be well again
			}
			look.Reset(max(next, time.Duration(f.runner.held.pipes.Load())*20*time.Millisecond))
		}
	}
}

// say notes what this process has noted.
func (m *mapping) say(now mappingNote) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.said = now.MappingResult
}

// look asks the source how far the mapping is, and finds out what is wrong with it.
func (m *mapping) look(ctx context.Context) {
	f := m.flow
	asking, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	positions, err := f.runner.positions(asking, f.def)
	if ctx.Err() != nil {
		return
	}
	if err == nil && len(positions) == 0 {
		err = fmt.Errorf("%w: %s", errNoTopic, f.def.Topics[0])
	}
	if err != nil {
		m.metrics.pollErrors.Inc()
		found := &trouble{MappingTrouble(err)}
		if was := m.cluster.Swap(found); was == nil || *was != *found {
			f.log.Warn("the source of the mapping cannot be read", "result", found.Result, "err", err)
		}
		return
	}
	m.cluster.Store(nil)
	var sum, most int64
	for _, p := range positions {
		sum += p.lag()
		most = max(most, p.lag())
	}
	f.mu.Lock()
	works := len(f.parts) > 0
	f.mu.Unlock()
	m.metrics.lag(sum, most, works)
}

// begin watches over the mapping until ctx ends or the returned function is called,
// which waits for that.
func (m *mapping) begin(ctx context.Context) (end func()) {
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.watch(ctx)
	}()
	return func() {
		stop()
		<-done
	}
}
