package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/fronttest"
	dialect "github.com/klamm-gateway/klamm/front/registry"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/registry"
)

// serve starts the dialect in front of a registry.
func serve(t *testing.T) *fronttest.Server {
	t.Helper()
	brokers := brokertest.Brokers(t)
	return fronttest.Start(t, fronttest.Setup{Brokers: brokers, Dialects: with(t, brokers)})
}

// with opens a registry of some brokers.
func with(t *testing.T, brokers []string) func(*gate.Gate) []front.Dialect {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	cluster, err := kafka.Open(kafka.Config{Brokers: brokers}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	r := registry.New(cluster, log)
	t.Cleanup(r.Close)
	return func(g *gate.Gate) []front.Dialect {
		return []front.Dialect{dialect.Dialect(gate.NewSchemaRegistry(g, r))}
	}
}

func TestTranscripts(t *testing.T) {
	serve(t).Transcripts(t, "testdata/transcripts",
		fronttest.Mask{Pattern: regexp.MustCompile(`"id":\d+`), Text: `"id":ID`})
}

func TestConforms(t *testing.T) {
	fronttest.Conform(t, fronttest.Subject{
		Dialects: with(t, brokertest.Brokers(t)), Unknown: "/subjects/a/b/c", Upload: "POST /subjects/%s/versions",
		Header: http.Header{"Content-Type": {"application/vnd.schemaregistry.v1+json"}}, Head: `{"schema":"`,
		Failure: func(status int, header http.Header, body []byte) error {
			var e struct {
				Code    int    `json:"error_code"`
				Message string `json:"message"`
			}
			if err := json.Unmarshal(body, &e); err != nil {
				return err
			}
			if e.Message == "" || e.Code != status && e.Code/100 != status || header.Get("Content-Type") != "application/vnd.schemaregistry.v1+json" {
				return fmt.Errorf("%v with %+v", header, e)
			}
			return nil
		},
	})
}

// A policy that denies what is done to subjects with a name that ends so.
type guarded string

func (g guarded) Check(_ context.Context, c *gate.Call) error {
	if c.Resource.Kind == "subject" && strings.HasSuffix(c.Resource.Name, string(g)) {
		return &gate.Error{Kind: gate.Denied, Message: "not for you"}
	}
	return nil
}

// Nobody gets to a subject by an alias who may not get there without, or makes one of it.
func TestAliasesAreGuarded(t *testing.T) {
	brokers := brokertest.Brokers(t)
	dialects := with(t, brokers)
	open := fronttest.Start(t, fronttest.Setup{Brokers: brokers, Dialects: dialects})
	closed := fronttest.Start(t, fronttest.Setup{Brokers: brokers, Dialects: dialects, Policies: []gate.Policy{guarded("-secret")}})
	name := fmt.Sprintf("guarded-%d", time.Now().UnixNano())
	ask := func(s *fronttest.Server, method, path, body string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	alias := fmt.Sprintf(`{"alias":"%s-secret"}`, name)
	for _, one := range []struct {
		server             *fronttest.Server
		method, path, body string
		want               int
	}{
		{closed, "PUT", "/config/" + name, alias, 403},
		{open, "PUT", "/config/" + name, alias, 200},
		{open, "POST", "/subjects/" + name + "/versions", `{"schema":"\"int\""}`, 200},
		{closed, "GET", "/subjects/" + name + "/versions/1", "", 403},
		{closed, "POST", "/subjects/" + name + "/versions", `{"schema":"\"int\""}`, 403},
		{closed, "POST", "/subjects/" + name, `{"schema":"\"int\""}`, 403},
		{closed, "DELETE", "/subjects/" + name, "", 403},
		{open, "GET", "/subjects/" + name + "/versions/1", "", 200},
	} {
		if got := ask(one.server, one.method, one.path, one.body); got != one.want {
			t.Errorf("%s %s: got %d, want %d", one.method, one.path, got, one.want)
		}
	}
}

// A client of Confluent's registry gets along with this one.
func TestClient(t *testing.T) {
	s := serve(t)
	c, err := sr.NewClient(sr.URLs(s.URL))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	subject := strings.ReplaceAll(t.Name()+time.Now().Format("150405.000000000"), ".", "-") + "/with a slash"
	one, err := c.CreateSchema(ctx, subject, sr.Schema{Schema: `{"type":"object","additionalProperties":false}`, Type: sr.TypeJSON})
	if err != nil {
		t.Fatal(err)
	}
	if one.Subject != subject || one.Version != 1 || one.ID < 1 {
		t.Errorf("got %+v", one)
	}
	if found, err := c.LookupSchema(ctx, subject, one.Schema); err != nil || found.ID != one.ID {
		t.Errorf("got %+v, %v", found, err)
	}
	if by, err := c.SchemaByID(ctx, one.ID); err != nil || by.Type != sr.TypeJSON {
		t.Errorf("got %+v, %v", by, err)
	}
	if usages, err := c.SchemaUsagesByID(ctx, one.ID); err != nil || len(usages) == 0 {
		t.Errorf("got %+v, %v", usages, err)
	}
	if subjects, err := c.Subjects(ctx); err != nil || !slices.Contains(subjects, subject) {
		t.Errorf("got %v, %v", subjects, err)
	}
	for _, r := range c.SetCompatibility(ctx, sr.SetCompatibility{Level: sr.CompatFull}, subject) {
		if r.Err != nil || r.Level != sr.CompatFull {
			t.Errorf("got %+v", r)
		}
	}
	check, err := c.CheckCompatibility(ctx, subject, 1, sr.Schema{Schema: `{"type":"string"}`, Type: sr.TypeJSON})
	if err != nil || check.Is {
		t.Errorf("got %+v, %v", check, err)
	}
	for _, r := range c.SetMode(ctx, sr.ModeReadOnly, subject) {
		if r.Err != nil {
			t.Error(r.Err)
		}
	}
	_, err = c.CreateSchema(ctx, subject, sr.Schema{Schema: `{"type":"string"}`, Type: sr.TypeJSON})
	var refused *sr.ResponseError
	if !errors.As(err, &refused) || refused.ErrorCode != 42205 {
		t.Errorf("got %v", err)
	}
	for _, r := range c.ResetMode(ctx, subject) {
		if r.Err != nil {
			t.Error(r.Err)
		}
	}
	if versions, err := c.DeleteSubject(ctx, subject, sr.SoftDelete); err != nil || !slices.Equal(versions, []int{1}) {
		t.Errorf("got %v, %v", versions, err)
	}
	if versions, err := c.DeleteSubject(ctx, subject, sr.HardDelete); err != nil || !slices.Equal(versions, []int{1}) {
		t.Errorf("got %v, %v", versions, err)
	}
}
