package confluent2

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/peer"
)

const (
	// reachWithin is how long a call looks for the process that holds its instance.
	// It is more than it takes to find out that one has died, and to take over.
	reachWithin = 15 * time.Second
	// firstPause lies between two looks; it doubles up to lastPause.
	firstPause = 10 * time.Millisecond
	lastPause  = 250 * time.Millisecond
)

// errUnreached is the answer to a call whose instance is held by a process that
// lives and cannot be reached.
var errUnreached = &gate.Error{Kind: gate.Unavailable, Message: "the klamm process that holds the consumer instance cannot be reached"}

// reach has a call of an instance answered by the process that holds it: by this
// one, which may take it over for that, or by another one, whose answer is passed
// on. It looks again while instances move. A call that was passed on once is not
// passed on again: who has sent it looks again.
func (k consumerAPI) reach(w http.ResponseWriter, r *http.Request, who gate.Principal, serve func(use *gate.Consumer, body []byte) error) error {
	body, release, err := k.whole(r)
	if err != nil {
		return err
	}
	defer release()
	forwarded := k.api.cfg.Peers != nil && peer.Forwarded(r)
	if forwarded {
		peer.Answer(w, r)
	}
	end, pause := time.Now().Add(reachWithin), firstPause
	for {
		use, err := k.gate.UseConsumer(r.Context(), who, r.PathValue("group"), r.PathValue("instance"))
		var elsewhere *gate.ConsumerElsewhere
		switch {
		case forwarded && (errors.As(err, &elsewhere) || errors.Is(err, gate.ErrStopping)):
			peer.Misdirect(w)
			return nil
		case errors.As(err, &elsewhere):
			if err = k.forward(w, r, who, elsewhere.Process, body); errors.Is(err, peer.ErrAgain) {
				err = errUnreached
			}
		case err == nil:
			err = serve(use, body)
			use.Release()
		}
		if !errors.Is(err, errUnreached) && !errors.Is(err, gate.ErrConsumerMoved) || time.Now().After(end) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-r.Context().Done():
			return r.Context().Err()
		}
		pause = min(2*pause, lastPause)
	}
}

// whole returns the body of a request. One that was passed on is believed only when it
// is there as a whole.
func (k consumerAPI) whole(r *http.Request) ([]byte, func(), error) {
	body, release, err := front.ReadBody(r)
	if errors.Is(err, peer.ErrForged) {
		err = refusedForward(err)
	}
	return body, release, err
}

// makeElsewhere has another process make an instance, as this one is about to end.
func (k consumerAPI) makeElsewhere(w http.ResponseWriter, r *http.Request, who gate.Principal, process string, body []byte) error {
	if peer.Forwarded(r) {
		peer.Misdirect(w)
		return nil
	}
	err := k.forward(w, r, who, process, body)
	if errors.Is(err, peer.ErrAgain) {
		return gate.ErrStopping
	}
	return err
}

// forward has another process answer a call.
func (k consumerAPI) forward(w http.ResponseWriter, r *http.Request, who gate.Principal, process string, body []byte) error {
	caller, err := json.Marshal(who)
	if err != nil {
		return err
	}
	return k.api.cfg.Peers.Forward(r.Context(), w, peer.Call{
		To: process, Method: r.Method, URI: r.URL.RequestURI(), Host: r.Host, Header: peer.Header(r), Body: body, Caller: caller,
	})
}

// refusedForward is the answer to a request that only claims to come from another
// klamm process.
func refusedForward(err error) error {
	return &gate.Error{Kind: gate.Unauthenticated, Message: err.Error()}
}

// Forwarded returns the authenticator of calls that another klamm process passes on:
// the caller is whom that one has found. It goes before all others, and refuses
// whatever claims to be such a call and is none.
func Forwarded(peers *peer.Peers) front.Authenticator {
	return forwardedCalls{peers, &sync.Mutex{}, map[string]gate.Principal{}}
}

type forwardedCalls struct {
	peers *peer.Peers

	mu      *sync.Mutex // guards callers
	callers map[string]gate.Principal
}

// keptCallers bounds the callers that are remembered as they were written, and
// keptCaller the length of one.
const (
	keptCallers = 512
	keptCaller  = 4 << 10
)

// Authenticate returns the caller of a call that was passed on.
func (f forwardedCalls) Authenticate(r *http.Request) (gate.Principal, error) {
	if !peer.Forwarded(r) {
		return gate.Principal{}, front.ErrNotMine
	}
	caller, err := f.peers.Check(r)
	if err != nil {
		return gate.Principal{}, refusedForward(err)
	}
	f.mu.Lock()
	who, known := f.callers[string(caller)]
	f.mu.Unlock()
	if known {
		return who, nil
	}
	claims := json.NewDecoder(bytes.NewReader(caller))
	claims.UseNumber()
	if err := claims.Decode(&who); err != nil {
		return gate.Principal{}, refusedForward(peer.ErrForged)
	}
	who.Groups, who.Scopes, who.Roles = slices.Clip(who.Groups), slices.Clip(who.Scopes), slices.Clip(who.Roles) // calls share them
	if len(caller) > keptCaller {
		return who, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.callers) >= keptCallers {
		clear(f.callers)
	}
	f.callers[string(caller)] = who
	return who, nil
}
