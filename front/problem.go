package front

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/klamm-gateway/klamm/gate"
)

// A Problem is an answer in the form of RFC 9457, with what is wrong with a request
// (gateway-policies.md 4.5).
type Problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	Instance string `json:"instance,omitempty"`
	// Errors are at most twenty; Truncated says that there are more.
	Errors    []ProblemEntry `json:"errors,omitempty"`
	Truncated bool           `json:"truncated,omitempty"`
	// Violated names the limits that a call was too much for.
	Violated []string `json:"violated-policies,omitempty"`
}

// A ProblemEntry is one thing that is wrong with a request: at a place in its body,
// or with what a field outside of it holds.
type ProblemEntry struct {
	// Pointer is a JSON Pointer in the form of a URI fragment.
	Pointer string `json:"pointer,omitempty"`
	// In is path, query or header, where Name is the parameter's, or key or header of
	// the record.
	In      string `json:"in,omitempty"`
	Name    string `json:"name,omitempty"`
	Keyword string `json:"keyword"`
	// Detail says it in words and does not repeat the value.
	Detail string `json:"detail"`
	// Actual is the value that stands there, where the configuration has it repeated.
	Actual json.RawMessage `json:"actual,omitempty"`
	// Schema is where in its schema the keyword stands.
	Schema string `json:"schema,omitempty"`
}

// InvalidProblem returns the problem of a request that does not look as its route
// asks, or of records that break the rules of their topic; nil for any other error. A body that is one record is that record's value.
func InvalidProblem(err error) *Problem {
	var invalid *gate.Invalidity
	if !errors.As(err, &invalid) {
		return mismatchProblem(err)
	}
	p := invalidity(invalid.Summary())
	p.Truncated = invalid.Truncated
	for _, v := range invalid.Violations {
		one := ProblemEntry{Keyword: v.Keyword, Detail: v.Detail, Actual: json.RawMessage(v.Actual), Schema: v.Schema}
		switch {
		case v.Part == "value" && invalid.Records == 1:
			one.Pointer = v.Pointer
		case invalid.Records == 1:
			one.In, one.Name, one.Pointer = v.Part, v.Name, v.Pointer
		default:
			one.Pointer = v.In("#/records/" + strconv.Itoa(v.Record))
		}
		p.Errors = append(p.Errors, one)
	}
	return p
}

// invalidity is the problem of a request that is not as it has to be.
func invalidity(detail string) *Problem {
	return &Problem{
		Type: "urn:klamm:problem:validation", Title: "The request does not match its schema", Status: http.StatusBadRequest,
		Detail: detail, Instance: "urn:uuid:" + requestID(),
	}
}

// Write answers with the problem.
func (p *Problem) Write(w http.ResponseWriter) {
	body, _ := json.Marshal(p)
	h := w.Header()
	h["Content-Type"] = []string{"application/problem+json"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body)
}
