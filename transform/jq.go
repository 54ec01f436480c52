package transform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/itchyny/gojq"

	"github.com/klamm-gateway/klamm/scan"
)

// The limits of a jq program. The first decides; the time only catches single
// steps that take long, so that the same document has the same fate on a busy
// machine.
const (
	maxSteps   = 5_000_000       // of gojq's machine
	maxRunTime = 2 * time.Second // of one document
)

// A ProgramError is the failure of a jq program on a document. Another attempt
// fails the same way.
type ProgramError struct {
	// Reason says what failed. It holds no part of the document.
	Reason string
	// Detail is gojq's whole message, which may quote the document; it may be
	// empty. It is for whoever writes the program, not for logs.
	Detail string
}

func (e *ProgramError) Error() string { return "jq: " + e.Reason }

// A program is a compiled jq program, safe for concurrent use.
type program struct {
	text    string
	encoded bool
	steps   int // at most
	current atomic.Pointer[compiled]
}

// A compiled is what gojq made of a program.
type compiled struct {
	code *gojq.Code
	seen *expressions
}

func compileJQ(text string, encoded bool) (*program, error) {
	c, err := compileGuarded(text)
	if err != nil {
		return nil, err
	}
	p := &program{text: text, encoded: encoded, steps: maxSteps}
	p.current.Store(c)
	return p, nil
}

func compileGuarded(text string) (*compiled, error) {
	query, err := gojq.Parse(text)
	if err != nil {
		var parse *gojq.ParseError
		if errors.As(err, &parse) {
			reason := "unexpected " + excerpt(parse.Token)
			if parse.Token == "" {
				reason = "the program ends too early"
			}
			return nil, &SpecError{Field: "jq", Position: position(text, max(0, parse.Offset-len(parse.Token))), Reason: reason}
		}
		return nil, &SpecError{Field: "jq", Reason: err.Error()}
	}
	if err := guardQuery(query); err != nil {
		return nil, err
	}
	seen := &expressions{met: map[string]bool{}}
	code, err := gojq.Compile(query, guards(seen)...)
	if err != nil {
		return nil, &SpecError{Field: "jq", Reason: err.Error()}
	}
	return &compiled{code, seen}, nil
}

// run appends the one value that the program makes of a document.
func (p *program) run(dst, document []byte) (out []byte, err error) {
	if !scan.Valid(document) {
		return dst, ErrDocument
	}
	if p.encoded {
		document = new(walk).appendDecoded(nil, bytes.TrimSpace(document))
	}
	input, err := decode(document)
	if err != nil {
		return dst, ErrDocument
	}
	defer func() {
		// gojq panics on values that it does not expect. One bad program must
		// not end all pipes.
		if p := recover(); p != nil {
			out, err = dst, &ProgramError{Reason: "the program made the interpreter fail", Detail: fmt.Sprint(p)}
		}
	}()
	c := p.current.Load()
	if c.seen.many() {
		if c, err = compileGuarded(p.text); err != nil {
			return dst, err
		}
		p.current.Store(c)
	}
	results := c.code.RunWithContext(&budget{left: p.steps, end: time.Now().Add(maxRunTime)}, input)
	value, ok := results.Next()
	if !ok {
		return dst, &ProgramError{Reason: "the program gave no value; use the pipe's filter to drop records"}
	}
	if err, failed := value.(error); failed {
		return dst, programError(err)
	}
	if err := fits(value); err != nil {
		return dst, programError(err)
	}
	switch further, ok := results.Next(); err := further.(type) {
	case error:
		return dst, programError(err)
	default:
		if ok {
			return dst, &ProgramError{Reason: "the program gave more than one value; collect them with [ and ]"}
		}
	}
	text, err := gojq.Marshal(value)
	if err != nil {
		return dst, &ProgramError{Reason: "the value is not JSON", Detail: err.Error()}
	}
	if len(text) > MaxResult {
		return dst, ErrTooLarge
	}
	return append(dst, text...), nil
}

// decode keeps the text of numbers.
func decode(document []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// programError keeps the values that gojq quotes in its messages, behind a colon
// or a bracket, out of the reason.
func programError(err error) *ProgramError {
	if own := (*ProgramError)(nil); errors.As(err, &own) {
		return own
	}
	reason := err.Error()
	if i := strings.IndexAny(reason, ":("); i >= 0 {
		reason = strings.TrimSpace(reason[:i])
	}
	return &ProgramError{Reason: reason, Detail: err.Error()}
}

// A budget is the context of one run. gojq asks for its channel before each
// step, which is how the steps are counted; it belongs to one goroutine.
type budget struct {
	left  int // steps
	end   time.Time
	spent bool
}

// closed is the channel of a budget that is spent.
var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (b *budget) Done() <-chan struct{} {
	b.left--
	if b.spent || b.left < 0 || b.left%64 == 0 && time.Now().After(b.end) {
		b.spent = true
		return closed
	}
	return nil
}

func (b *budget) Err() error {
	if !b.spent {
		return nil
	}
	return &ProgramError{Reason: fmt.Sprintf("the program was stopped; it may take at most %d steps and %s", maxSteps, maxRunTime)}
}

func (b *budget) Deadline() (time.Time, bool) { return b.end, true }

func (b *budget) Value(any) any { return nil }

var _ context.Context = (*budget)(nil)
