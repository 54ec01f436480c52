package schema_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/uuid"

	"github.com/klamm-gateway/klamm/schema"
)

// A glueAPI answers as the API of AWS Glue does.
type glueAPI struct {
	*httptest.Server
	requests atomic.Int64
	versions map[string][2]string // format and text, by the version's id
	instead  atomic.Pointer[http.HandlerFunc]
}

const (
	glueOrder  = "01020304-0506-0708-090a-0b0c0d0e0f10"
	gluePerson = "01020304-0506-0708-090a-0b0c0d0e0f11"
	gluePet    = "01020304-0506-0708-090a-0b0c0d0e0f12"
	glueGone   = "01020304-0506-0708-090a-0b0c0d0e0f13"
	glueBroken = "01020304-0506-0708-090a-0b0c0d0e0f14"
)

func openGlueAPI(t testing.TB) *glueAPI {
	t.Helper()
	g := &glueAPI{versions: map[string][2]string{
		glueOrder:  {"AVRO", orderAvro},
		gluePerson: {"JSON", `{"type":"object","required":["name"]}`},
		gluePet: {"PROTOBUF", `syntax = "proto3"; package zoo;
			message Pet { message Toy { string name = 1; } string name = 1; map<string, int32> age = 2; }
			message Ark { repeated Pet pets = 1; }`},
		glueBroken: {"AVRO", `{"type":"recor"}`},
	}}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.requests.Add(1)
		if h := g.instead.Load(); h != nil {
			(*h)(w, r)
			return
		}
		var in struct{ SchemaVersionID string }
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &in)
		}
		if err != nil || r.Method != http.MethodPost || r.Header.Get("X-Amz-Target") != "AWSGlue.GetSchemaVersion" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" ||
			!strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/") || !strings.Contains(r.Header.Get("Authorization"), "/eu-west-3/glue/aws4_request") {
			t.Errorf("a request %s %v %s, %v", r.Method, r.Header, body, err)
		}
		found, ok := g.versions[in.SchemaVersionID]
		if !ok {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"EntityNotFoundException","Message":"Schema version is not found."}`)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"SchemaVersionId": in.SchemaVersionID, "DataFormat": found[0], "SchemaDefinition": found[1], "Status": "AVAILABLE", "VersionNumber": 1})
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *glueAPI) registry(t testing.TB) *schema.GlueRegistry {
	t.Helper()
	r := schema.OpenGlue(schema.Glue{Region: "eu-west-3", Endpoint: g.URL}, 0, func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret"}, nil
	}, nil)
	t.Cleanup(r.Close)
	return r
}

// glued puts the frame of AWS Glue before a payload.
func glued(id, payload string) []byte {
	version := uuid.MustParse(id)
	return append(append([]byte{3, 0}, version[:]...), payload...)
}

func TestGlue(t *testing.T) {
	c := schema.NewClient(nil, openGlueAPI(t).registry(t), false)
	for _, tc := range []struct {
		name, id, payload string
		want              string // or, without, what the error is
		unfit, broken     bool
	}{
		{"avro", glueOrder, "\x02", `{"id":1}`, false, false},
		{"avro cut off", glueOrder, "", "", true, false},
		{"json", gluePerson, `{ "name": "Ada" }`, `{"name":"Ada"}`, false, false},
		// By their full names: Ark, Pet, Pet.AgeEntry, Pet.Toy.
		{"protobuf", gluePet, "\x01\x0a\x03Rex\x12\x06\x0a\x02in\x10\x07", `{"name":"Rex","age":{"in":7}}`, false, false},
		{"the first by name", gluePet, "\x00\x0a\x05\x0a\x03Rex", `{"pets":[{"name":"Rex"}]}`, false, false},
		{"a nested one", gluePet, "\x03\x0a\x04Ball", `{"name":"Ball"}`, false, false},
		{"no such message", gluePet, "\x04", "", true, false},
		{"no index", gluePet, "", "", true, false},
		{"an endless index", gluePet, strings.Repeat("\xff", 11), "", true, false},
		{"broken", glueBroken, "\x02", "", false, true},
		{"no such version", glueGone, "\x02", "", false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			raw := glued(tc.id, tc.payload)
			if !c.Frames(raw) {
				t.Error("is not seen to be framed")
			}
			got, err := c.Decode(t.Context(), nil, raw, schema.Bare)
			var unfit *schema.ValueError
			var broken *schema.BrokenError
			var refused *schema.RegistryError
			switch {
			case tc.want != "":
				if err != nil || string(got.JSON) != tc.want || got.String() != tc.id || string(got.Payload) != tc.payload {
					t.Errorf("got %s of %s, %v, want %s", got.JSON, got.String(), err, tc.want)
				}
			case tc.unfit:
				if !errors.As(err, &unfit) {
					t.Errorf("got %v", err)
				}
			case tc.broken:
				if !errors.As(err, &broken) {
					t.Errorf("got %v", err)
				}
			default:
				if !errors.As(err, &refused) || !refused.NotFound() || refused.Unavailable() {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

// What is framed for one kind of registry is not looked for in another one.
func TestGlueBesideAnother(t *testing.T) {
	ctx, r, g := t.Context(), registry(t), openGlueAPI(t)
	alone, plain := schema.NewClient(nil, g.registry(t), false), client(t, r)
	both := schema.NewClient(open(t, schema.Config{URL: r.URL}), g.registry(t), false)
	s, _, err := both.Choose(ctx, schema.Choice{Topic: "orders", Text: orderAvro})
	if err != nil {
		t.Fatal(err)
	}
	one, err := s.Encode([]byte(`{"id":1}`))
	if err != nil {
		t.Fatal(err)
	}
	other := glued(glueOrder, "\x02")
	for _, raw := range [][]byte{one, other} {
		if got, err := both.Decode(ctx, nil, raw, schema.Bare); err != nil || string(got.JSON) != `{"id":1}` || !both.Frames(raw) {
			t.Errorf("%x: %s, %v", raw, got.JSON, err)
		}
	}
	before := g.requests.Load()
	for _, tc := range []struct {
		c   *schema.Client
		raw []byte
	}{{alone, one}, {plain, other}} {
		var unfit *schema.ValueError
		if _, err := tc.c.Decode(ctx, nil, tc.raw, schema.Bare); !errors.As(err, &unfit) || tc.c.Frames(tc.raw) {
			t.Errorf("%x: %v", tc.raw, err)
		}
	}
	if n := g.requests.Load(); n != before {
		t.Errorf("Glue was asked %d times more", n-before)
	}
	if _, _, err := alone.Choose(ctx, schema.Choice{Topic: "orders", Text: orderAvro}); !errors.Is(err, schema.ErrNone) {
		t.Errorf("Glue is written with: %v", err)
	}
}

// A version is asked for once, however many want it.
func TestGlueIsRemembered(t *testing.T) {
	g := openGlueAPI(t)
	c := schema.NewClient(nil, g.registry(t), false)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := c.Decode(context.Background(), nil, glued(glueOrder, "\x02"), schema.Bare); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := g.requests.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// Only what Glue says of a schema is its verdict; what else goes wrong may pass.
func TestGlueRefuses(t *testing.T) {
	for _, tc := range []struct {
		status      int
		body        string
		found       bool // false: there is no such schema
		unavailable bool
	}{
		{400, `{"__type":"com.amazonaws.glue#EntityNotFoundException","message":"gone"}`, false, false},
		{200, `{"DataFormat":"AVRO","SchemaDefinition":"\"int\"","Status":"FAILURE"}`, false, false},
		{400, `{"__type":"InvalidInputException","message":"no"}`, true, false},
		{200, `{"DataFormat":"AVRO","SchemaDefinition":"\"int\"","Status":"PENDING"}`, true, true},
		{400, `{"__type":"AccessDeniedException","Message":"not you"}`, true, true},
		{400, `{"__type":"ThrottlingException"}`, true, true},
		{403, `<html>`, true, true},
		{404, ``, true, true},
		{301, ``, true, true},
		{500, `{"__type":"InternalServiceException"}`, true, true},
		{200, `{}`, true, true},
		{200, `<html>`, true, true},
	} {
		t.Run(fmt.Sprint(tc.status, tc.body), func(t *testing.T) {
			g := openGlueAPI(t)
			h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "http://example.com/")
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})
			g.instead.Store(&h)
			_, err := schema.NewClient(nil, g.registry(t), false).Decode(t.Context(), nil, glued(glueOrder, "\x02"), schema.Bare)
			var refused *schema.RegistryError
			if !errors.As(err, &refused) || refused.NotFound() == tc.found || refused.Unavailable() != tc.unavailable {
				t.Errorf("got %#v", err)
			}
		})
	}
	locked := schema.OpenGlue(schema.Glue{Region: "eu-west-3"}, 0, func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, errors.New("none") }, nil)
	if _, err := locked.Version(t.Context(), uuid.New()); err == nil || !strings.Contains(err.Error(), "login") {
		t.Errorf("without credentials: %v", err)
	}
}

func TestGlueRegions(t *testing.T) {
	for arn, want := range map[string]string{
		"arn:aws:glue:eu-west-3:111122223333:registry/shop":         "eu-west-3",
		"arn:aws-us-gov:glue:us-gov-west-1:111122223333:registry/r": "us-gov-west-1",
		"arn:aws:glue:eu-west-3:111122223333:schema/shop/orders":    "",
		"arn:aws:glue:eu-west-3:1:registry/shop":                    "",
		"arn:aws:glue:a.b/:111122223333:registry/shop":              "",
		"arn:aws:kafka:eu-west-3:111122223333:registry/shop":        "",
		"https://registry.example.com":                              "",
	} {
		if got, ok := schema.GlueRegion(arn); got != want || ok != (want != "") {
			t.Errorf("%s: %q", arn, got)
		}
	}
}
