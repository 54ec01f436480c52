package pipe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/target/webhook"
	"github.com/klamm-gateway/klamm/transform"
)

// A desk is a webhook that keeps what it accepts, by key, and refuses what a key
// says: "413-..." is answered 413, and "break-..." breaks the connection.
type desk struct {
	*httptest.Server
	mu    sync.Mutex
	taken map[string][]taken
}

type taken struct {
	Body    string
	Headers map[string][]string // Klamm-Header-NAME, by NAME
}

func newDesk(t *testing.T) *desk {
	d := &desk{taken: map[string][]taken{}}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		key := req.Header.Get("Klamm-Key")
		switch {
		case err != nil:
			return
		case strings.HasPrefix(key, "413-"):
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		case strings.HasPrefix(key, "break-") && !bytes.Equal(body, []byte("behind it")):
			panic(http.ErrAbortHandler)
		}
		got := taken{Body: string(body), Headers: map[string][]string{}}
		for name, values := range req.Header {
			if name, ok := strings.CutPrefix(name, "Klamm-Header-"); ok {
				got.Headers[name] = values
			}
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.taken[key] = append(d.taken[key], got)
	}))
	t.Cleanup(d.Close)
	return d
}

// deliver runs a pipe over records of one partition until all are settled, and
// returns what arrived and the dead letters by key.
func (d *desk) deliver(t *testing.T, spec *transform.Spec, letters int, records ...*kgo.Record) (map[string][]taken, map[string]*kgo.Record) {
	t.Helper()
	c := cluster(t)
	large := "33554432"
	from := fmt.Sprintf("%s-%d", t.Name(), time.Now().UnixNano())
	if err := c.EnsureTopic(t.Context(), from, 1, map[string]*string{"max.message.bytes": &large}); err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		r.Topic = from
		if err := c.Produce(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	hook, err := json.Marshal(webhook.Config{URL: d.URL})
	if err != nil {
		t.Fatal(err)
	}
	def := catalog.Pipe{Name: from, Topics: []string{from}, Start: "earliest", Transform: spec, Target: catalog.Target{Kind: "webhook", Config: hook},
		Delivery: catalog.Delivery{Attempts: 2, Timeout: 5 * time.Minute, Backoff: catalog.Backoff{Min: 20 * time.Millisecond, Max: 20 * time.Millisecond}, Log: "none"}}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := runFaults(ctx, c.Brokers(), []catalog.Pipe{def}, io.Discard); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "everything is settled", func() bool { return done(t, c, def) })
	cancel()
	running.Wait()
	dead := map[string]*kgo.Record{}
	for _, r := range faultLetters(t, c, def, letters) {
		dead[string(r.Key)] = r
	}
	if len(dead) != letters {
		t.Errorf("dead letters of %v, want %d", slices.Sorted(maps.Keys(dead)), letters)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.taken, dead
}

func TestAwkwardRecords(t *testing.T) {
	huge := bytes.Repeat([]byte("0123456789abcdef"), 20_000_000/16)
	headers := []kgo.RecordHeader{{Key: "binary", Value: []byte{0, 0xff, '\n'}}, {Key: "null", Value: nil}, {Key: "empty", Value: []byte{}},
		{Key: "twice", Value: []byte("a")}, {Key: "twice", Value: []byte("b")}, {Key: "no name", Value: []byte("c")}, {Key: "plain", Value: []byte("d")}}
	got, dead := newDesk(t).deliver(t, nil, 4,
		&kgo.Record{Key: []byte("break-poison"), Value: []byte("poison")},
		&kgo.Record{Key: []byte("other"), Value: []byte("of another key")},
		&kgo.Record{Key: []byte("break-poison"), Value: []byte("behind it")},
		&kgo.Record{Key: []byte("huge"), Value: huge},
		&kgo.Record{Key: []byte("413-huge"), Value: huge},
		&kgo.Record{Key: []byte("tombstone")},
		&kgo.Record{Key: []byte("413-tombstone")},
		&kgo.Record{Key: []byte("headers"), Value: []byte("v"), Headers: headers},
		&kgo.Record{Key: []byte("413-headers"), Value: []byte("v"), Headers: headers},
	)
	none := map[string][]string{}
	want := map[string][]taken{
		"other":        {{"of another key", none}},
		"break-poison": {{"behind it", none}},
		"huge":         {{string(huge), none}},
		"tombstone":    {{"", none}},
		"headers":      {{"v", map[string][]string{"Empty": {""}, "Twice": {"a", "b"}, "Plain": {"d"}}}},
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if !cmp.Equal(got[key], want[key]) {
			t.Errorf("%s: got %.200v, want %.200v", key, got[key], want[key])
		}
		delete(got, key)
	}
	if len(got) > 0 {
		t.Errorf("these should not have arrived: %v", slices.Sorted(maps.Keys(got)))
	}
	for _, c := range []struct {
		key              string
		value            []byte
		headers          []kgo.RecordHeader
		attempts, status string
	}{
		{"break-poison", []byte("poison"), nil, "2", ""},
		{"413-huge", huge, nil, "1", "413"},
		{"413-tombstone", nil, nil, "1", "413"},
		{"413-headers", []byte("v"), headers, "1", "413"},
	} {
		r := dead[c.key]
		if r == nil {
			t.Errorf("%s: no dead letter", c.key)
			continue
		}
		if !bytes.Equal(r.Value, c.value) || (r.Value == nil) != (c.value == nil) {
			t.Errorf("%s: the value of the dead letter has %d bytes (nil: %t), want %d", c.key, len(r.Value), r.Value == nil, len(c.value))
		}
		if header(r, "klamm.attempts") != c.attempts || header(r, "klamm.status") != c.status {
			t.Errorf("%s: %s attempts and status %q, want %s and %q", c.key, header(r, "klamm.attempts"), header(r, "klamm.status"), c.attempts, c.status)
		}
		own := slices.DeleteFunc(slices.Clone(r.Headers), func(h kgo.RecordHeader) bool { return strings.HasPrefix(h.Key, "klamm.") })
		if diff := cmp.Diff(c.headers, own); diff != "" && len(own)+len(c.headers) > 0 {
			t.Errorf("%s: headers (-want +got):\n%s", c.key, diff)
		}
	}
}

// A record of which no body can be made is given up without an attempt, and the
// next of its key follows.
func TestRecordsThatCannotBeTransformed(t *testing.T) {
	got, dead := newDesk(t).deliver(t, &transform.Spec{JQ: ".value.n + 1"}, 2,
		&kgo.Record{Key: []byte("a"), Value: []byte(`{"n":"x"}`)},
		&kgo.Record{Key: []byte("a"), Value: []byte(`{"n":1}`)},
		&kgo.Record{Key: []byte("b"), Value: []byte("\xff no text")},
		&kgo.Record{Key: []byte("c"), Value: []byte(`{"n":41}`)},
	)
	want := map[string][]taken{"a": {{"2", map[string][]string{}}}, "c": {{"42", map[string][]string{}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for key, value := range map[string]string{"a": `{"n":"x"}`, "b": "\xff no text"} {
		r := dead[key]
		if r == nil || string(r.Value) != value || header(r, "klamm.attempts") != "0" || !strings.HasPrefix(header(r, "klamm.reason"), "transform: ") {
			t.Errorf("%s: dead letter is %v", key, r)
		}
	}
}
