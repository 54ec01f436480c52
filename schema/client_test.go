package schema_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/secret"
)

const orderAvro = `{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"long"}]}`

// A counted registry counts the requests that reach a registry, and can be made
// to answer otherwise.
type counted struct {
	*httptest.Server
	requests atomic.Int64
	instead  atomic.Pointer[http.HandlerFunc]
}

func registry(t testing.TB) *counted {
	t.Helper()
	fake := srfake.New()
	t.Cleanup(fake.Close)
	c := &counted{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.requests.Add(1)
		if h := c.instead.Load(); h != nil {
			(*h)(w, r)
			return
		}
		fake.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(c.Server.Close)
	return c
}

func (c *counted) answer(h http.HandlerFunc) {
	if h == nil {
		c.instead.Store(nil)
		return
	}
	c.instead.Store(&h)
}

func open(t testing.TB, cfg schema.Config) *schema.HTTPRegistry {
	t.Helper()
	h, err := schema.OpenHTTP(context.Background(), cfg, secret.Local, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func client(t testing.TB, r *counted) *schema.Client {
	return schema.NewClient(open(t, schema.Config{URL: r.URL}), nil, false)
}

func TestClientRegistersFindsAndDecodes(t *testing.T) {
	ctx := context.Background()
	r := registry(t)
	c := client(t, r)
	s, ref, err := c.Choose(ctx, schema.Choice{Topic: "orders", Text: orderAvro})
	if err != nil {
		t.Fatal(err)
	}
	if ref.Subject != "orders-value" || ref.Version != 1 || ref.ID == 0 || s.ID != ref.ID {
		t.Errorf("registered as %+v", ref)
	}
	raw, err := s.Encode([]byte(`{"id":7}`))
	if err != nil {
		t.Fatal(err)
	}
	other := client(t, r)
	got, err := other.Decode(ctx, nil, raw, schema.Bare)
	if err != nil || string(got.JSON) != `{"id":7}` || got.ID != ref.ID || got.Schema.Format != schema.Avro {
		t.Fatalf("got %s, %v", got.JSON, err)
	}
	for _, again := range []schema.Choice{
		{Topic: "orders", Text: orderAvro}, {Topic: "orders", ID: ref.ID}, {Topic: "orders", Version: 1}, {Topic: "orders"}, {Topic: "x", Subject: "orders-value", Version: 1},
	} {
		if _, got, err := other.Choose(ctx, again); err != nil || got != ref {
			t.Errorf("%+v: got %+v (%v), want %+v", again, got, err, ref)
		}
	}
	before := r.requests.Load()
	for range 100 {
		if _, err := other.Decode(ctx, nil, raw, schema.Bare); err != nil {
			t.Fatal(err)
		}
		if _, _, err := other.Choose(ctx, schema.Choice{Topic: "orders"}); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.requests.Load() - before; n != 0 {
		t.Errorf("%d requests for what is remembered", n)
	}
}

func TestChoiceOfSubjects(t *testing.T) {
	ctx := context.Background()
	c := client(t, registry(t))
	for _, w := range []struct {
		name string
		in   schema.Choice
		want string
	}{
		{"value", schema.Choice{Topic: "t", Text: orderAvro}, "t-value"},
		{"key", schema.Choice{Topic: "t", Key: true, Text: orderAvro, Strategy: schema.TopicName}, "t-key"},
		{"record", schema.Choice{Topic: "t", Text: orderAvro, Strategy: schema.RecordName}, "shop.Order"},
		{"topic and record", schema.Choice{Topic: "t", Text: orderAvro, Strategy: schema.TopicRecordName}, "t-shop.Order"},
		{"protobuf record", schema.Choice{Topic: "t", Format: schema.Protobuf, Text: strings.ReplaceAll(shopProto, "Order", "Bill"), Strategy: schema.RecordName}, "shop.Bill"},
		{"json title", schema.Choice{Topic: "t", Format: schema.JSON, Text: `{"title":"P"}`, Strategy: schema.TopicRecordName}, "t-P"},
		{"subject", schema.Choice{Topic: "t", Text: orderAvro, Subject: "mine", Strategy: schema.RecordName}, "mine"},
	} {
		t.Run(w.name, func(t *testing.T) {
			_, ref, err := c.Choose(ctx, w.in)
			if err != nil || ref.Subject != w.want {
				t.Errorf("got %+v, %v, want %s", ref, err, w.want)
			}
		})
	}
}

func TestChoicesThatCannotBeMade(t *testing.T) {
	ctx := context.Background()
	c := client(t, registry(t))
	_, ref, err := c.Choose(ctx, schema.Choice{Topic: "there", Text: orderAvro})
	if err != nil {
		t.Fatal(err)
	}
	invalid := func(err error) bool { var e *schema.InvalidError; return errors.As(err, &e) }
	missing := func(err error) bool { var e *schema.RegistryError; return errors.As(err, &e) && e.NotFound() }
	for _, w := range []struct {
		name string
		in   schema.Choice
		is   func(error) bool
	}{
		{"unreadable", schema.Choice{Topic: "t", Text: `{"type":"nope"}`}, invalid},
		{"nameless", schema.Choice{Topic: "t", Text: `"long"`, Strategy: "SOMEHOW"}, invalid},
		{"no name", schema.Choice{Topic: "t", Format: schema.JSON, Text: `{}`, Strategy: schema.RecordName}, invalid},
		{"unknown id", schema.Choice{Topic: "t", ID: 999}, missing},
		{"id of another subject", schema.Choice{Topic: "t", ID: ref.ID}, missing},
		{"unknown version", schema.Choice{Topic: "there", Version: 9}, missing},
		{"unknown subject", schema.Choice{Topic: "t"}, missing},
		{"record without a schema", schema.Choice{Topic: "t", Strategy: schema.RecordName}, func(err error) bool { return errors.Is(err, schema.ErrNoName) }},
	} {
		t.Run(w.name, func(t *testing.T) {
			if _, _, err := c.Choose(ctx, w.in); err == nil || !w.is(err) {
				t.Errorf("got %v", err)
			}
		})
	}
	var none *schema.Client
	if _, _, err := none.Choose(ctx, schema.Choice{Topic: "t"}); !errors.Is(err, schema.ErrNone) {
		t.Errorf("without a registry: %v", err)
	}
	if _, err := none.Schema(ctx, 1); !errors.Is(err, schema.ErrNone) {
		t.Errorf("without a registry: %v", err)
	}
}

func TestClientFollowsReferences(t *testing.T) {
	ctx := context.Background()
	h := open(t, schema.Config{URL: registry(t).URL})
	base := schema.Definition{Format: schema.Protobuf, Text: `syntax = "proto3"; package p; message Base { string a = 1; }`}
	if _, err := h.Register(ctx, "base", base); err != nil {
		t.Fatal(err)
	}
	middle := schema.Definition{Format: schema.Protobuf, Text: `syntax = "proto3"; package p; import "p/base.proto"; message Middle { Base b = 1; }`, References: []schema.Reference{{Name: "p/base.proto", Subject: "base", Version: 1}}}
	if _, err := h.Register(ctx, "middle", middle); err != nil {
		t.Fatal(err)
	}
	top := schema.Definition{Format: schema.Protobuf, Text: `syntax = "proto3"; package p; import "p/middle.proto"; message Top { Middle m = 1; }`, References: []schema.Reference{{Name: "p/middle.proto", Subject: "middle", Version: 1}}}
	id, err := h.Register(ctx, "top", top)
	if err != nil {
		t.Fatal(err)
	}
	s, err := schema.NewClient(h, nil, false).Schema(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Encode([]byte(`{"m":{"b":{"a":"x"}}}`)); err != nil {
		t.Error(err)
	}
}

func TestOneRequestForOneSchema(t *testing.T) {
	r := registry(t)
	c := client(t, r)
	release := make(chan struct{})
	r.answer(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		_ = json.NewEncoder(w).Encode(map[string]string{"schema": orderAvro})
	})
	const waiters = 50
	var all sync.WaitGroup
	var failed atomic.Int64
	for range waiters {
		all.Go(func() {
			if _, err := c.Schema(context.Background(), 5); err != nil {
				failed.Add(1)
			}
		})
	}
	impatient, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Schema(impatient, 5); err == nil {
		t.Error("a caller whose context has ended waits")
	}
	close(release)
	all.Wait()
	if n := r.requests.Load(); n != 1 || failed.Load() != 0 {
		t.Errorf("%d requests and %d failures for one schema", n, failed.Load())
	}
}

func TestMissingSchemaIsNotAskedForAgain(t *testing.T) {
	r := registry(t)
	c := client(t, r)
	for range 100 {
		_, err := c.Decode(context.Background(), nil, []byte("\x00\x00\x00\x00\x63x"), schema.Bare)
		var refusal *schema.RegistryError
		if !errors.As(err, &refusal) || !refusal.NotFound() || refusal.Unavailable() {
			t.Fatalf("got %v", err)
		}
	}
	if n := r.requests.Load(); n != 1 {
		t.Errorf("%d requests for a schema that there is not", n)
	}
}

func TestRegistryThatCannotAnswer(t *testing.T) {
	for _, c := range []struct {
		name  string
		h     http.HandlerFunc
		after time.Duration
	}{
		{name: "busy", h: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, after: 7 * time.Second},
		{name: "wrong", h: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }},
		{name: "somebody else", h: http.NotFound},
		{name: "locked", h: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }},
		{name: "endless", h: func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}},
		{name: "broken off", h: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := registry(t)
			cl := client(t, r)
			r.answer(c.h)
			var err error
			for range 50 {
				_, err = cl.Schema(context.Background(), 1)
			}
			refusal, ok := schema.Unavailable(err)
			if !ok || refusal.After != c.after {
				t.Fatalf("got %v", err)
			}
			if n := r.requests.Load(); n > 10 {
				t.Errorf("%d requests for 50 records", n)
			}
			if cl.Failures() == 0 {
				t.Error("it is not counted")
			}
			if c.after > 0 {
				return
			}
			// It comes back by itself.
			r.answer(func(w http.ResponseWriter, _ *http.Request) {
				_ = json.NewEncoder(w).Encode(map[string]string{"schema": orderAvro})
			})
			for end := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(end); {
				<-time.After(20 * time.Millisecond)
				_, err = cl.Schema(context.Background(), 1)
			}
			if err != nil {
				t.Errorf("it does not come back: %v", err)
			}
		})
	}
}

func TestBrokenSchemaOfTheRegistry(t *testing.T) {
	r := registry(t)
	r.answer(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"schema": "message {", "schemaType": "PROTOBUF"})
	})
	_, err := client(t, r).Schema(context.Background(), 1)
	var broken *schema.BrokenError
	if !errors.As(err, &broken) {
		t.Errorf("got %v", err)
	}
}

// Apicurio does not say the format of a schema that is looked up.
func TestAnswersWithoutFormat(t *testing.T) {
	r := registry(t)
	r.answer(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"subject":"s","version":2,"id":3,"schema":"{}"}`)
	})
	h := open(t, schema.Config{URL: r.URL})
	got, err := h.Find(t.Context(), "s", schema.Definition{Format: schema.JSON, Text: "{}"})
	if err != nil || got.Format != schema.JSON || got.ID != 3 || got.Version != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestRegistriesStandInForEachOther(t *testing.T) {
	good, bad := registry(t), registry(t)
	bad.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	h := open(t, schema.Config{URL: "http://127.0.0.1:1, " + bad.URL + "/ ," + good.URL})
	for range 10 {
		if _, err := h.Register(context.Background(), "s", schema.Definition{Text: orderAvro}); err != nil {
			t.Fatal(err)
		}
	}
	if n := bad.requests.Load(); n != 1 {
		t.Errorf("the one that fails was asked %d times", n)
	}
}

func TestRegistryLogin(t *testing.T) {
	for _, c := range []struct {
		name string
		in   schema.Config
		want string
	}{
		{"none", schema.Config{}, ""},
		{"basic", schema.Config{Username: "klamm", Password: secret.Ref{Value: "pw"}}, "Basic a2xhbW06cHc="},
		{"bearer", schema.Config{Bearer: secret.Ref{Value: "token"}}, "Bearer token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got atomic.Value
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got.Store(r.Header.Get("Authorization"))
				_ = json.NewEncoder(w).Encode(map[string]string{"schema": orderAvro})
			}))
			defer server.Close()
			c.in.URL = server.URL
			if _, err := open(t, c.in).ByID(context.Background(), 1); err != nil {
				t.Fatal(err)
			}
			if got.Load() != c.want {
				t.Errorf("got %q, want %q", got.Load(), c.want)
			}
		})
	}
}

func TestFrames(t *testing.T) {
	for _, c := range []struct{ name, in, id, payload string }{
		{"confluent", "\x00\x00\x00\x01\x02rest", "258", "rest"},
		{"confluent empty", "\x00\x00\x00\x00\x01", "1", ""},
		{"glue", "\x03\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10rest", "01020304-0506-0708-090a-0b0c0d0e0f10", "rest"},
		{"glue with zlib", "\x03\x05\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x78\x9c\x2b\x4a\x2d\x2e\x01\x00\x04\x55\x01\xbf", "01020304-0506-0708-090a-0b0c0d0e0f10", "rest"},
		{"glue broken", "\x03\x05\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10rest", "", ""},
		{"glue other compression", "\x03\x07\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10rest", "", ""},
		{"short", "\x00\x00\x00\x01", "", ""},
		{"json", `{"a":1}`, "", ""},
		{"empty", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := schema.ParseFrame([]byte(c.in))
			if (err == nil) != (c.id != "") || err == nil && (f.String() != c.id || string(f.Payload) != c.payload) {
				t.Errorf("got %s %q, %v", f.String(), f.Payload, err)
			}
		})
	}
}

// A remembered schema is found without a lock: 64 goroutines take no longer than
// their work does.
func BenchmarkRememberedSchema(b *testing.B) {
	c := client(b, registry(b))
	s, _, err := c.Choose(context.Background(), schema.Choice{Topic: "orders", Text: shopAvro})
	if err != nil {
		b.Fatal(err)
	}
	raw, err := s.Encode([]byte(shopJSON))
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetParallelism(n)
			b.RunParallel(func(pb *testing.PB) {
				var dst []byte
				for pb.Next() {
					got, err := c.Decode(context.Background(), dst[:0], raw, schema.Bare)
					if err != nil {
						b.Error(err)
						return
					}
					dst = got.JSON
				}
			})
		})
	}
}
