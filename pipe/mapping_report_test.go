package pipe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
)

func batchOfThree() (events []*event.Event) {
	for offset := range int64(3) {
		events = append(events, &event.Event{Record: &kgo.Record{Topic: "a-b", Partition: 4, Offset: offset}})
	}
	return events
}

func TestReported(t *testing.T) {
	t.Parallel()
	failure := func(identifier string) string { return `{"batchItemFailures":[{"itemIdentifier":` + identifier + `}]}` }
	for name, tc := range map[string]struct {
		in   string
		want []int
		bad  bool
	}{
		"nothing":            {in: ""},
		"null":               {in: "null"},
		"empty object":       {in: "{}"},
		"empty list":         {in: `{"batchItemFailures":[]}`},
		"null list":          {in: `{"batchItemFailures":null}`},
		"a string":           {in: `"done"`},
		"a number":           {in: `5`},
		"text":               {in: `done`},
		"an array":           {in: `[1]`, bad: true},
		"the last":           {in: failure(`{"partition":"a-b-4","offset":2}`), want: []int{2}},
		"two":                {in: `{"batchItemFailures":[{"itemIdentifier":{"partition":"a-b-4","offset":2}},{"itemIdentifier":{"partition":"a-b-4","offset":0}}]}`, want: []int{2, 0}},
		"unknown offset":     {in: failure(`{"partition":"a-b-4","offset":7}`), bad: true},
		"unknown partition":  {in: failure(`{"partition":"a-b-3","offset":2}`), bad: true},
		"no offset":          {in: failure(`{"partition":"a-b-4"}`), bad: true},
		"a text for a place": {in: failure(`"a-b-4-2"`), bad: true},
		"offset as text":     {in: failure(`{"partition":"a-b-4","offset":"2"}`), bad: true},
		"null identifier":    {in: failure(`null`), bad: true},
		"null failure":       {in: `{"batchItemFailures":[null]}`, bad: true},
		"not a list":         {in: `{"batchItemFailures":"x"}`, bad: true},
	} {
		got, err := reported([]byte(tc.in), batchOfThree())
		if (err != nil) != tc.bad || !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, %v; want %v, bad %v", name, got, err, tc.want, tc.bad)
		}
	}
}

func FuzzReported(f *testing.F) {
	f.Add([]byte(`{"batchItemFailures":[{"itemIdentifier":{"partition":"a-b-4","offset":1}}]}`))
	f.Add([]byte(`[{}]`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		got, err := reported(answer, batchOfThree())
		if err != nil && got != nil {
			t.Fatalf("%v beside %v", got, err)
		}
		for _, i := range got {
			if i < 0 || i > 2 {
				t.Fatalf("record %d of three", i)
			}
		}
	})
}

func TestMismatch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern string
		form    event.Form
		nested  bool
		want    bool
	}{
		{`{"value":{"a":[1]}}`, event.JSON, true, false},
		{`{"value":{"a":[1]}}`, event.JSON, false, true},
		{`{"value":{"a":[1]}}`, event.Text, false, true},
		{`{"value":{"a":[1]}}`, event.Binary, false, true},
		{`{"value":{"a":[1]}}`, event.Null, false, false},
		{`{"value":["a"]}`, event.Text, false, false},
		{`{"value":["a"]}`, event.JSON, true, true},
		{`{"value":["a"]}`, event.Binary, false, true},
		{`{"topic":["a"]}`, event.Binary, false, false},
		{`{"$or":[{"value":["a"]},{"value":{"a":[1]}}]}`, event.Text, false, false},
	} {
		var mf mappingFilter
		mf.look(json.RawMessage(tc.pattern))
		if got := mf.value.mismatch(tc.form, tc.nested); got != tc.want {
			t.Errorf("%s with form %v, nested %v: %v", tc.pattern, tc.form, tc.nested, got)
		}
	}
}

func TestMappingTrouble(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   error
		want string
	}{
		{kerr.TopicAuthorizationFailed, "EVENT_SOURCE_AUTHZ_ERROR"},
		{fmt.Errorf("group: %w", kerr.GroupAuthorizationFailed), "EVENT_SOURCE_AUTHZ_ERROR"},
		{kerr.SaslAuthenticationFailed, "EVENT_SOURCE_AUTHN_ERROR"},
		{fmt.Errorf("login: %w", kafka.ErrUnusable), "ESM_CONFIG_NOT_VALID"},
		{errors.New("connection refused"), UserInitiated},
	} {
		if got := MappingTrouble(tc.in); got.Reason != tc.want || got.Result == "" {
			t.Errorf("%v: %+v, want %s", tc.in, got, tc.want)
		}
	}
}

func TestMappingLogLevels(t *testing.T) {
	t.Parallel()
	for level, want := range map[string]string{"": "INFO WARN ", "INFO": "INFO WARN ", "DEBUG": "INFO INFO WARN ", "WARN": "WARN "} {
		var b bytes.Buffer
		log := mappingLog(slog.New(slog.NewTextHandler(&b, nil)), catalog.Envelope{Mapping: "uuid", LogLevel: level})
		log.Debug("a")
		log.Info("b")
		log.With("k", 1).Warn("c")
		got := ""
		for line := range strings.Lines(b.String()) {
			_, rest, _ := strings.Cut(line, "level=")
			got += rest[:4] + " "
			if !strings.Contains(line, "mapping=uuid") {
				t.Errorf("%s: %q does not say which mapping", level, line)
			}
		}
		if got != want {
			t.Errorf("%q: %q, want %q", level, got, want)
		}
	}
}
