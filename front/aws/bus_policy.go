package aws

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
)

// permittedShape is the name of a bus in the words of PutPermission, whose model knows no
// slashes in it.
var permittedShape = busShape.as(`[\.\-_A-Za-z0-9]+`)

// mostPolicy is how many characters the policy of a bus may have.
const mostPolicy = 10_240

// A busPolicy is the policy of a bus, whose statements are kept as they came.
type busPolicy struct {
	Version   string            `json:"Version"`
	ID        string            `json:"Id,omitempty"`
	Statement []json.RawMessage `json:"Statement"`
}

// readBusPolicy reads a policy; no text is a policy without statements.
func readBusPolicy(text string) (p busPolicy, err error) {
	p.Version = "2012-10-17"
	if text == "" {
		return p, nil
	}
	var form struct {
		Version   *string
		ID        string `json:"Id"`
		Statement json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &form); err != nil {
		return p, err
	}
	p.ID = form.ID
	if form.Version != nil {
		p.Version = *form.Version
	}
	if bytes.HasPrefix(form.Statement, []byte("{")) {
		p.Statement = []json.RawMessage{form.Statement}
		return p, nil
	}
	return p, json.Unmarshal(form.Statement, &p.Statement)
}

// index finds a statement by its Sid; -1: there is none.
func (p *busPolicy) index(sid string) int {
	for i, raw := range p.Statement {
		var s struct{ Sid string }
		if json.Unmarshal(raw, &s) == nil && s.Sid == sid {
			return i
		}
	}
	return -1
}

// text is the policy as it is kept; one without statements is none.
func (p *busPolicy) text() (string, error) {
	if len(p.Statement) == 0 {
		return "", nil
	}
	raw, err := marshalPlain(p)
	return string(raw), err
}

// marshalPlain is json.Marshal without the escapes that HTML would need.
func marshalPlain(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// A statement is what PutPermission makes of its members.
type statement struct {
	Sid       string                       `json:"Sid"`
	Effect    string                       `json:"Effect"`
	Principal any                          `json:"Principal"`
	Action    string                       `json:"Action"`
	Resource  string                       `json:"Resource"`
	Condition map[string]map[string]string `json:"Condition,omitempty"`
}

// A permissionRequest is what PutPermission has.
type permissionRequest struct {
	EventBusName, Action, Principal, StatementId, Policy *string
	Condition                                            *struct{ Type, Key, Value *string }
}

func (q *permissionRequest) check(v *violations) {
	v.busName("eventBusName", q.EventBusName, permittedShape)
	v.text("action", q.Action, like(1, 64, `events:[a-zA-Z]+`))
	v.text("principal", q.Principal, like(1, 12, `(\d{12}|\*)`))
	v.text("statementId", q.StatementId, statementShape)
	if c := q.Condition; c != nil {
		for _, s := range []struct {
			path  string
			value *string
		}{{"condition.type", c.Type}, {"condition.key", c.Key}, {"condition.value", c.Value}} {
			if s.value == nil {
				v.add(s.path, nil, "not be null")
			}
		}
	}
}

var statementShape = like(1, 64, `[a-zA-Z0-9-_]+`)

// statement makes a statement of the members.
func (q *permissionRequest) statement(arn string) (json.RawMessage, error) {
	v := &violations{}
	for _, m := range []struct {
		path  string
		value *string
	}{{"action", q.Action}, {"principal", q.Principal}, {"statementId", q.StatementId}} {
		if m.value == nil {
			v.add(m.path, nil, "not be null")
		}
	}
	if err := v.fault(); err != nil {
		return nil, err
	}
	s := statement{Sid: *q.StatementId, Effect: "Allow", Principal: "*", Action: *q.Action, Resource: arn}
	if *q.Principal != "*" {
		s.Principal = map[string]string{"AWS": "arn:aws:iam::" + *q.Principal + ":root"}
	}
	if c := q.Condition; c != nil {
		s.Condition = map[string]map[string]string{*c.Type: {*c.Key: *c.Value}}
	}
	return marshalPlain(s)
}

// checkPolicy says what is wrong with the policy of a bus.
func checkPolicy(text string) error {
	if utf8.RuneCountInString(text) > mostPolicy {
		return eventsFault("PolicyLengthExceededException", "Event bus policy length exceeded: at most 10240 characters.")
	}
	if err := gate.CheckBusPolicy(text); err != nil {
		return invalid("Parameter Policy is not valid. Reason: " + clip(err.Error()))
	}
	return nil
}

// putPermission serves PutPermission: a whole policy, or one statement in the place of
// the one with its id.
func (a *API) putPermission(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q permissionRequest
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	q.check(v)
	if err := v.fault(); err != nil {
		return nil, err
	}
	arn := a.busARN(q.EventBusName)
	if err := a.allow(r, who, "events:PutPermission", arn); err != nil {
		return nil, err
	}
	_, _, err := a.changeBus(r.Context(), who, textOf(q.EventBusName), func(b *catalog.Bus) error {
		if q.Policy != nil {
			b.Policy = *q.Policy
			return checkPolicy(b.Policy)
		}
		one, err := q.statement(arn)
		if err != nil {
			return err
		}
		p, err := readBusPolicy(b.Policy)
		if err != nil {
			return err
		}
		if i := p.index(*q.StatementId); i >= 0 {
			p.Statement[i] = one
		} else {
			p.Statement = append(p.Statement, one)
		}
		if b.Policy, err = p.text(); err != nil {
			return err
		}
		return checkPolicy(b.Policy)
	})
	return struct{}{}, err
}

// removePermission serves RemovePermission.
func (a *API) removePermission(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		StatementId, EventBusName *string
		RemoveAllPermissions      bool
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	v.busName("eventBusName", q.EventBusName, permittedShape)
	v.text("statementId", q.StatementId, statementShape)
	if q.StatementId == nil && !q.RemoveAllPermissions {
		v.add("statementId", nil, "not be null")
	}
	if err := v.fault(); err != nil {
		return nil, err
	}
	if err := a.allow(r, who, "events:RemovePermission", a.busARN(q.EventBusName)); err != nil {
		return nil, err
	}
	_, _, err := a.changeBus(r.Context(), who, textOf(q.EventBusName), func(b *catalog.Bus) error {
		if q.RemoveAllPermissions {
			b.Policy = ""
			return nil
		}
		p, err := readBusPolicy(b.Policy)
		if err != nil {
			return err
		}
		i := p.index(*q.StatementId)
		if i < 0 {
			return eventsFault(events.missing.name, "Statement with the provided id does not exist.")
		}
		p.Statement = slices.Delete(p.Statement, i, i+1)
		b.Policy, err = p.text()
		return err
	})
	return struct{}{}, err
}
