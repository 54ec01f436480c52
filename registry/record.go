package registry

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/klamm-gateway/klamm/scan"
	"github.com/klamm-gateway/klamm/schema"
)

// Topic is the compacted topic that everything lies in. Its records are those of
// Confluent's registry: keys and values are JSON, and the bytes of keys are the same,
// so that compaction finds an older record of either.
//
//	{"keytype":"SCHEMA","subject":S,"version":N,"magic":1}   a version of a subject
//	{"keytype":"CONFIG","subject":S,"magic":0}               its settings; S is null for all
//	{"keytype":"MODE","subject":S,"magic":0}                 its mode
//	{"keytype":"DELETE_SUBJECT","subject":S,"magic":0}       versions up to one are deleted
//	{"keytype":"NOOP","magic":0}                             nothing; klamm keeps here which ids were given
//
// CLEAR_SUBJECT and kinds that are not listed are passed over.
const Topic = "_schemas"

// The kinds of keys.
const (
	kindSchema = "SCHEMA"
	kindConfig = "CONFIG"
	kindMode   = "MODE"
	kindDelete = "DELETE_SUBJECT"
	kindNoop   = "NOOP"
)

// noopKey is the key under which the highest ids lie: a permanent delete would
// otherwise make them free again. Confluent's registry reads no value there.
const noopKey = `{"keytype":"NOOP","magic":0}`

// A recordKey is the key of a record as it is read.
type recordKey struct {
	Kind    string  `json:"keytype"`
	Subject *string `json:"subject"`
	Version int     `json:"version"`
}

func (k recordKey) subject() string {
	if k.Subject == nil {
		return ""
	}
	return *k.Subject
}

func schemaKey(subject string, version int) string {
	b := scan.AppendString([]byte(`{"keytype":"SCHEMA","subject":`), subject)
	b = strconv.AppendInt(append(b, `,"version":`...), int64(version), 10)
	return string(append(b, `,"magic":1}`...))
}

// keyOf is the key of settings of a subject; the empty one stands for all.
func keyOf(kind, subject string) string {
	b := []byte(`{"keytype":"` + kind + `","subject":`)
	if subject == "" {
		b = append(b, "null"...)
	} else {
		b = scan.AppendString(b, subject)
	}
	return string(append(b, `,"magic":0}`...))
}

// A schemaValue is a version of a subject as it lies in the topic.
type schemaValue struct {
	Subject    string             `json:"subject"`
	Version    int                `json:"version"`
	ID         int                `json:"id"`
	Type       schema.Format      `json:"schemaType,omitempty"` // absent: Avro
	References []schema.Reference `json:"references,omitempty"`
	Metadata   json.RawMessage    `json:"metadata,omitempty"`
	RuleSet    json.RawMessage    `json:"ruleSet,omitempty"`
	Text       string             `json:"schema"`
	Deleted    bool               `json:"deleted"`
}

type modeValue struct {
	Subject string `json:"subject,omitempty"`
	Mode    Mode   `json:"mode"`
}

type deleteValue struct {
	Subject string `json:"subject"`
	Version int    `json:"version"`
}

type noopValue struct {
	// Highest are the highest ids that were given, by context.
	Highest map[string]int `json:"klammHighestIds"`
}

// encode is a value's JSON, with texts as they are: no escapes that only HTML needs.
func encode(value any) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		panic("registry: " + err.Error()) // the types here can all be encoded
	}
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}
