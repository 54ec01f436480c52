package pipe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/target"
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
		"blanks":             {in: " \n"},
		"text":               {in: `done`, bad: true},
		"half an object":     {in: `{"batchItemFailures":[`, bad: true},
		"true":               {in: `true`, bad: true},
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

func TestFailureOfAMapping(t *testing.T) {
	t.Parallel()
	m := &mapping{flow: &flow{def: catalog.Pipe{Topics: []string{"a-b"}}}, def: catalog.Envelope{Function: "f", ReportFailures: true}, metrics: newMappingMetrics(prometheus.NewRegistry()).of("m", "f", "a-b")}
	one := `{"batchItemFailures":[{"itemIdentifier":{"partition":"a-b-4","offset":1}}]}`
	for _, tc := range []struct {
		name string
		out  function.Outcome
		err  error
		want string // the responseContext; empty: it is no failure
	}{
		{"a version", function.Outcome{Version: "7", Error: "Handled", Payload: []byte(`{}`)}, nil, `{"statusCode":200,"executedVersion":"7","functionError":"Handled"}`},
		{"no version", function.Outcome{Error: function.Unhandled, Payload: []byte(`{}`)}, nil, `{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"}`},
		{"a report", function.Outcome{Version: "7", Payload: []byte(one)}, nil, `{"statusCode":200,"executedVersion":"7"}`},
		{"text", function.Outcome{Payload: []byte("done")}, nil, `{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"}`},
		{"text of an HTTP function", function.Outcome{Payload: []byte("done"), AnyForm: true}, nil, ""},
		{"an array of an HTTP function", function.Outcome{Payload: []byte("[1]"), AnyForm: true}, nil, `{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"}`},
		{"missed", function.Outcome{}, function.ErrThrottled, "null"},
	} {
		m.invoke = func(context.Context, string, function.Invocation) (function.Outcome, error) { return tc.out, tc.err }
		err := m.Deliver(t.Context(), batchOfThree())
		var partial *target.PartialError
		if errors.As(err, &partial) {
			err = partial.Failed[1]
		}
		got := ""
		if err != nil {
			text, _ := json.Marshal(m.failure(&verdict{err: err}, false).ResponseContext)
			got = string(text)
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s (%v)", tc.name, got, tc.want, err)
		}
	}
}

func TestFunctionThatIsNotValid(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   error
		want bool
	}{
		{fmt.Errorf("x: %w", function.ErrNotFound), true},
		{fmt.Errorf("x: %w", &function.StartError{Type: function.InvalidEntrypoint}), true},
		{&function.StartError{Type: "Runtime.CodeUnavailable"}, false},
		{target.RetryAfter(&function.UnreachedError{Status: 404, Err: errors.New("no such function")}, time.Second), true},
		{&function.UnreachedError{Status: 400, Err: errors.New("bad")}, true},
		{&function.UnreachedError{Status: 503, Err: errors.New("busy")}, false},
		{function.ErrThrottled, false},
	} {
		if got := notValid(&callError{Failure: target.Failure{Err: fmt.Errorf("f was not reached: %w", tc.in)}}); got != tc.want {
			t.Errorf("%v: %v", tc.in, got)
		}
	}
}
