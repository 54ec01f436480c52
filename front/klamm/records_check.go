package klamm

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// A draftBody is a record that somebody thinks of writing, in the words of v3's
// produce.
type draftBody struct {
	Key     *draftPart    `json:"key"`
	Value   *draftPart    `json:"value"`
	Headers []draftHeader `json:"headers"`
}

type draftPart struct {
	Type string          `json:"type"` // JSON, STRING, BINARY, AVRO, JSONSCHEMA or PROTOBUF
	Data json.RawMessage `json:"data"`
}

type draftHeader struct {
	Name  string  `json:"name"`
	Value *string `json:"value"` // in base64, as in v3
}

// A violationDoc is something that a record would be refused for.
type violationDoc struct {
	Part    string `json:"part"`
	Name    string `json:"name,omitempty"` // of a header
	Pointer string `json:"pointer"`
	Keyword string `json:"keyword"`
	Detail  string `json:"detail"`
}

// draftFormats are the formats of the registry, by v3's words.
var draftFormats = map[string]string{"AVRO": "AVRO", "JSONSCHEMA": "JSON", "PROTOBUF": "PROTOBUF"}

// part reads a key or value.
func (p *draftPart) part(name string) (out gate.DraftPart, err error) {
	if p == nil || len(p.Data) == 0 || string(p.Data) == "null" && p.Type != "JSON" {
		return out, nil // there is none
	}
	var text string
	switch p.Type {
	case "JSON":
		out.Data = p.Data
		return out, nil
	case "STRING", "BINARY":
		if json.Unmarshal(p.Data, &text) != nil {
			return out, invalid(fmt.Sprintf("%s: data of type %s is a text", name, p.Type))
		}
		if out.Data = []byte(text); p.Type == "STRING" {
			return out, nil
		}
		if out.Data, err = base64.StdEncoding.DecodeString(text); err != nil {
			return out, invalid(name + ": data of type BINARY is base64")
		}
		return out, nil
	}
	format, ok := draftFormats[p.Type]
	if !ok {
		return out, invalid(fmt.Sprintf("%s: want the type JSON, STRING, BINARY, AVRO, JSONSCHEMA or PROTOBUF", name))
	}
	return gate.DraftPart{Data: p.Data, Format: format}, nil
}

// checkRecord serves POST /klamm/v1/topics/{topic}/records/check: what a record would
// be refused for, in the words of v3's produce, without writing it: {"valid",
// "violations": [violationDoc], "by": [gate.DraftSchema]}.
func (a api) checkRecord(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	g, err := a.gateway()
	if err != nil {
		return err
	}
	draft := gate.Draft{Topic: r.PathValue("topic")}
	if !kafka.ValidTopic(draft.Topic) {
		return noTopic(draft.Topic)
	}
	var body draftBody
	if err := decode(r, &body); err != nil {
		return err
	}
	if draft.Key, err = body.Key.part("key"); err != nil {
		return err
	}
	if draft.Value, err = body.Value.part("value"); err != nil {
		return err
	}
	for _, h := range body.Headers {
		one := kgo.RecordHeader{Key: h.Name}
		if h.Value != nil {
			if one.Value, err = base64.StdEncoding.DecodeString(*h.Value); err != nil {
				return invalid(fmt.Sprintf("headers: the value of %.100q is not base64", h.Name))
			}
		}
		draft.Headers = append(draft.Headers, one)
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTime)
	defer cancel()
	broken, by, err := g.CheckDraft(ctx, who, draft)
	if err != nil {
		return ofTopic(err, draft.Topic)
	}
	out := struct {
		Valid      bool               `json:"valid"`
		Violations []violationDoc     `json:"violations"`
		By         []gate.DraftSchema `json:"by"`
	}{len(broken) == 0, make([]violationDoc, len(broken)), append([]gate.DraftSchema{}, by...)}
	for i, v := range broken {
		out.Violations[i] = violationDoc{v.Part, v.Name, v.Pointer, v.Keyword, v.Detail}
	}
	return writeJSON(w, http.StatusOK, "application/json", out)
}
