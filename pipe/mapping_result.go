package pipe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
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
	if own == nil || known && noted.Result != NothingProcessed && noted.Result != Processed {
		return noted, known
	}
	return own.result(noted, known), true
}

// noted returns what the processes have noted last of how a mapping fares.
func (r *Runner) noted(pipe string) (m MappingResult, known bool) {
	t := r.memory.opened()
	if t == nil {
		return m, false
	}
	e, ok := t.Get(resultKey(pipe))
	return m, ok && json.Unmarshal(e.Value, &m) == nil
}

func resultKey(pipe string) string { return "result/" + pipe }

// noteResult notes how a mapping fares, where that is news.
func (m *memory) noteResult(ctx context.Context, pipe string, now MappingResult) error {
	if _, err := m.runner.definition(pipe); err != nil {
		return nil // it is gone
	}
	t, err := m.open(ctx)
	if err != nil {
		return err
	}
	value, err := json.Marshal(now)
	if err != nil {
		return err
	}
	return t.Update(ctx, func(tx *table.Tx) error {
		if e, ok := tx.Get(resultKey(pipe)); !ok || string(e.Value) != string(value) {
			tx.Put(resultKey(pipe), value)
		}
		return nil
	})
}

// trouble notes that the function has failed with a partition's records.
func (m *mapping) trouble(p *partition, err error) {
	reason := UserInitiated
	if notValid(err) {
		reason = functionNotValid
	}
	m.mu.Lock()
	m.troubled[p] = reason
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
	first := !m.worked || m.troubled[p] != ""
	m.worked = true
	delete(m.troubled, p)
	m.mu.Unlock()
	if first {
		m.tell()
	}
}

func (m *mapping) tell() {
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// result is how the mapping fares in this process.
func (m *mapping) result(before MappingResult, known bool) MappingResult {
	if t := m.cluster.Load(); t != nil {
		return t.MappingResult
	}
	f := m.flow
	f.mu.Lock()
	gone := map[*partition]bool{}
	for _, p := range f.parts {
		gone[p] = p.let
	}
	f.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	worst := ""
	for p, reason := range m.troubled {
		if let, ok := gone[p]; !ok || let {
			delete(m.troubled, p) // somebody else has it
			m.worked = true       // what is noted of it is not this process's any more
		} else if worst != functionNotValid {
			worst = reason
		}
	}
	switch {
	case worst != "":
		return MappingResult{worst, functionFailed}
	case !m.worked && known && before.Result == functionFailed:
		return before // the records that it failed with still wait, as before a restart
	case m.worked, known && before.Result != NothingProcessed:
		return MappingResult{UserInitiated, Processed}
	}
	return MappingResult{UserInitiated, NothingProcessed}
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
	said, known := f.runner.noted(f.def.Name)
	look := time.NewTimer(lookSoon)
	defer look.Stop()
	for first := true; ; first = false {
		if now := m.result(said, known); first && !known || now != said {
			noting, cancel := context.WithTimeout(ctx, 10*time.Second)
			err := f.runner.memory.noteResult(noting, f.def.Name, now)
			cancel()
			if err == nil {
				said, known = now, true
			} else {
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
