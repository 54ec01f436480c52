package front

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strconv"

	"github.com/klamm-gateway/klamm/gate"
)

// A Refusal is an authenticator's "no". What it does not settle itself is said in
// the shape of the dialect that was called.
type Refusal struct {
	// Kind is what the refusal counts as, and Message what the caller is told.
	Kind    gate.Kind
	Message string
	// Header is added to the answer: a challenge, or Retry-After. Of a Body it may say the
	// Content-Type; the default is application/json.
	Header http.Header
	// Status and Body, if Body is not nil, are the answer in every dialect alike:
	// the body is JSON.
	Status int
	Body   []byte
}

// RefuseAWS returns the refusal that clients of AWS APIs know
// (gateway-policies.md 1.3.4, 5.6): a body with one member, "message" or as said,
// and the name of the error in a header. A nil message is JSON's null.
func RefuseAWS(kind gate.Kind, status int, name, member string, message *string) *Refusal {
	body, _ := json.Marshal(map[string]*string{member: message})
	said := name
	if message != nil {
		said = *message
	}
	return &Refusal{Kind: kind, Message: said, Status: status, Body: body, Header: http.Header{"X-Amzn-Errortype": {name}}}
}

func (e *Refusal) Error() string { return e.Message }

// Unwrap makes a refusal one of the gate's errors. That a part of klamm cannot be
// asked is 503 in every dialect.
func (e *Refusal) Unwrap() []error {
	errs := []error{&gate.Error{Kind: e.Kind, Message: e.Message}}
	if e.Kind == gate.Unavailable {
		errs = append(errs, &RepeatError{http.StatusServiceUnavailable, e.Message})
	}
	return errs
}

// Reported says that there is nothing about it that the log should know: the
// authenticator has told it.
func (e *Refusal) Reported() {}

// refuse puts a refusal's header into the answer, and answers where the refusal
// is the same in every dialect.
func refuse(w http.ResponseWriter, err error) (done bool) {
	var e *Refusal
	if !errors.As(err, &e) {
		return false
	}
	h := w.Header()
	maps.Copy(h, e.Header)
	if e.Body == nil {
		return false
	}
	nameForAWS(h)
	if e.Header.Get("Content-Type") == "" {
		h["Content-Type"] = []string{"application/json"}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(e.Body))}
	w.WriteHeader(e.Status)
	_, _ = w.Write(e.Body)
	return true
}
