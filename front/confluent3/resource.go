package confluent3

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/scan"
)

// The common shapes of answers (rest-apis.md 5.1).
type (
	// head is how every resource begins.
	head struct {
		Kind      string   `json:"kind"`
		Metadata  metadata `json:"metadata"`
		ClusterID string   `json:"cluster_id"`
	}
	metadata struct {
		Self         string `json:"self"`
		ResourceName string `json:"resource_name,omitempty"`
	}
	// relation is a link to another resource; a nil one is null.
	relation struct {
		Related string `json:"related"`
	}
	listMetadata struct {
		Self string  `json:"self"`
		Next *string `json:"next"`
	}
	list[T any] struct {
		Kind     string       `json:"kind"`
		Metadata listMetadata `json:"metadata"`
		Data     []T          `json:"data"`
	}
)

// url is the address of something in the cluster. Segments are not escaped, as
// the original leaves them.
func (c *call) url(segments ...string) string {
	return c.base + "/clusters/" + c.cluster + join(segments)
}

func join(segments []string) string {
	if len(segments) == 0 {
		return ""
	}
	return "/" + strings.Join(segments, "/")
}

func (c *call) to(segments ...string) *relation { return &relation{c.url(segments...)} }

// crn is the name of a resource: "topic=orders" and so on behind the cluster.
func (c *call) crn(parts ...string) string { return c.crnBase + c.cluster + join(parts) }

// head begins a resource whose address and name are given.
func (c *call) head(kind, self, crn string) head {
	return head{kind, metadata{self, crn}, c.cluster}
}

// listOf makes the answer to a listing; nothing is an empty array.
func listOf[T any](kind, self string, data []T) list[T] {
	if data == nil {
		data = []T{}
	}
	return list[T]{kind, listMetadata{Self: self}, data}
}

// answer writes a value as the body of the answer.
func (c *call) answer(status int, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // links hold ampersands
	if err := e.Encode(v); err != nil {
		return err
	}
	c.w.Header()["Content-Type"] = jsonType
	c.w.WriteHeader(status)
	_, err := c.w.Write(bytes.TrimSuffix(b.Bytes(), []byte{'\n'}))
	return err
}

// done answers that what was asked for is done, and nothing else.
func (c *call) done() error {
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// number reads an integer of the path; the error is errNotFound.
func (c *call) number(name string) (int32, error) {
	n, err := strconv.ParseInt(c.r.PathValue(name), 10, 32)
	if err != nil {
		return 0, errNotFound
	}
	return int32(n), nil
}

func text(n int32) string { return strconv.Itoa(int(n)) }

// decode reads the request's body, a JSON object, into v. An empty one is
// refused with the given detail.
func (c *call) decode(v any, empty string) error {
	body, release, err := front.ReadBody(c.r)
	if err != nil {
		return err
	}
	defer release()
	trimmed := bytes.TrimSpace(body)
	if len(trimmed) == 0 || string(trimmed) == "null" {
		return payload(empty)
	}
	return decodeStrict(trimmed, v)
}

// decodeStrict decodes JSON as the original's binder does (rest-apis.md 3.3).
func decodeStrict(b []byte, v any) error {
	if !isJSON(b) {
		return refuse(http.StatusBadRequest, 400, "Unexpected character or end-of-input: the body is not valid JSON")
	}
	if err := plainNames(b); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	var wrong *json.UnmarshalTypeError
	var own *refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return own
	case errors.As(err, &wrong):
		return wrongType(wrong.Field, wrong.Type.String(), wrong.Value)
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		if name, err := strconv.Unquote(field); err == nil {
			field = name
		}
		return unknownField(field)
	}
	return refuse(http.StatusBadRequest, 400, "Cannot deserialize the body: %s", clipped(err.Error()))
}

// isJSON says whether a body is JSON, which is UTF-8.
func isJSON(b []byte) bool { return scan.Valid(b) && utf8.Valid(b) }

// plainNames refuses JSON in which a member has a name that is written in any
// other way than the fields of this API: encoding/json would take capitals for
// them.
func plainNames(b []byte) error {
	for i := 0; i < len(b); {
		if b[i] != '"' {
			i++
			continue
		}
		end, _, _ := scan.String(b, i)
		if at := scan.Space(b, end); at < len(b) && b[at] == ':' {
			name := string(unquote(b[i:end]))
			if strings.ContainsFunc(name, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' }) {
				return unknownField(name)
			}
		}
		i = end
	}
	return nil
}

func wrongType(field, want, got string) *refusal {
	if strings.ContainsAny(want, ".{[") && !strings.HasPrefix(want, "java.") {
		want = "object or array" // a type of Go says nothing to the caller
	}
	if field == "" {
		return refuse(http.StatusBadRequest, 400, "Cannot deserialize value of type `%s` from %s", want, got)
	}
	return refuse(http.StatusBadRequest, 400, "Cannot deserialize value of type `%s` from %s (field %q)", want, got, clipped(field))
}

// An integer is a number, or a string of one, as the original's binder takes
// both.
type integer int32

// UnmarshalJSON reads the number; its error is a refusal.
func (n *integer) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	v, err := strconv.ParseInt(unquoted(b), 10, 32)
	if err != nil {
		return wrongType("", "int", clipped(string(b)))
	}
	*n = integer(v)
	return nil
}

// A truth is true or false, or a string of either.
type truth bool

// UnmarshalJSON reads the truth; its error is a refusal.
func (t *truth) UnmarshalJSON(b []byte) error {
	switch strings.ToLower(unquoted(b)) {
	case "true":
		*t = true
	case "false":
		*t = false
	case "null":
	default:
		return wrongType("", "boolean", clipped(string(b)))
	}
	return nil
}

// unquoted is the inside of a string, or the text itself.
func unquoted(b []byte) string {
	if len(b) >= 2 && b[0] == '"' {
		b = b[1 : len(b)-1]
	}
	return strings.TrimSpace(string(b))
}
