package confluent3_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/confluent3"
	"github.com/klamm-gateway/klamm/front/fronttest"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/waittest"
)

// alias stands in transcripts for the id of the cluster, which differs from
// broker to broker.
const alias = "CLUSTER"

// aliased gives the cluster another name in requests and answers.
func aliased(g *gate.Gate, cfg confluent3.Config) []front.Dialect {
	d := confluent3.Dialect(g, cfg)
	for i, route := range d.Routes {
		d.Routes[i].Serve = func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
			info, err := g.Cluster(r.Context(), who)
			if err != nil {
				return err
			}
			if r.PathValue("cluster") == alias {
				r.SetPathValue("cluster", info.ID)
			}
			recorded := httptest.NewRecorder()
			if err := route.Serve(recorded, r, who); err != nil {
				return err
			}
			for name, values := range recorded.Header() {
				for _, v := range values {
					w.Header().Add(name, strings.ReplaceAll(v, info.ID, alias))
				}
			}
			w.WriteHeader(recorded.Code)
			_, err = io.WriteString(w, strings.ReplaceAll(recorded.Body.String(), info.ID, alias))
			return err
		}
	}
	return []front.Dialect{d}
}

// links are those of a proxy, so that transcripts do not depend on a port.
func links(t testing.TB) front.Links {
	l, err := front.NewLinks("https://klamm.example/api", nil)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func withAlias(t testing.TB) func(*gate.Gate) []front.Dialect {
	return func(g *gate.Gate) []front.Dialect { return aliased(g, confluent3.Config{Links: links(t)}) }
}

// masks hide what depends on the brokers and on the clock.
var masks = []fronttest.Mask{
	{Pattern: regexp.MustCompile(`"timestamp":"20(2[5-9]|[3-9]\d)-[^"]*"`), Text: `"timestamp":"NOW"`},
	{Pattern: regexp.MustCompile(`in cluster [\w-]+\.`), Text: `in cluster ` + alias + `.`},
	{Pattern: regexp.MustCompile(`"synonyms":\[[^\]]*\]`), Text: `"synonyms":[...]`},
	{Pattern: regexp.MustCompile(`/brokers/\d+`), Text: `/brokers/ID`},
	{Pattern: regexp.MustCompile(`/replicas/\d+`), Text: `/replicas/ID`},
	{Pattern: regexp.MustCompile(`/replica=\d+`), Text: `/replica=ID`},
	{Pattern: regexp.MustCompile(`"broker_id":\d+`), Text: `"broker_id":ID`},
}

func TestTranscripts(t *testing.T) {
	t.Parallel()
	fronttest.Start(t, fronttest.Setup{Dialects: withAlias(t)}).Transcripts(t, "testdata/transcripts", masks...)
}

// refuse answers every call on something with this word in its name with an
// error.
type refuse struct {
	word string
	kind gate.Kind
}

func (p refuse) Check(_ context.Context, c *gate.Call) error {
	if strings.Contains(c.Resource.Name, p.word) {
		return &gate.Error{Kind: p.kind, Message: "not for you"}
	}
	return nil
}

func TestDeniedTranscripts(t *testing.T) {
	t.Parallel()
	policies := []gate.Policy{refuse{"topic-", gate.Denied}, refuse{"topic2-", gate.Throttled}}
	fronttest.Start(t, fronttest.Setup{Dialects: withAlias(t), Policies: policies}).Transcripts(t, "testdata/denied", masks...)
}

func TestConforms(t *testing.T) {
	fronttest.Conform(t, fronttest.Subject{
		Dialects: dialects,
		Unknown:  "/v3/nothing/here",
		Upload:   "POST /v3/clusters/any/topics/%s/records:batch",
		Header:   http.Header{"Content-Type": {"application/json"}},
		Head:     `{"entries":[{"id":"`,
		Failure:  failure,
	})
}

// failure says what is wrong with an error of this API.
func failure(status int, header http.Header, body []byte) error {
	var fields map[string]any
	if err := json.Unmarshal(body, &fields); err != nil {
		return err
	}
	code, _ := fields["error_code"].(float64)
	if message, _ := fields["message"].(string); len(fields) != 2 || message == "" || int(code) != status && int(code)/100 != status {
		return fmt.Errorf("error_code %v and the message are not as they must be", code)
	}
	if kind := header.Get("Content-Type"); kind != "application/json" {
		return fmt.Errorf("the type is %q", kind)
	}
	return nil
}

// A client talks to a server as one that follows links does.
type client struct {
	t    testing.TB
	base string // of the cluster
}

func newClient(t testing.TB, s *fronttest.Server) *client {
	c := &client{t: t}
	var all struct {
		Data []struct {
			Metadata struct{ Self string }
		}
	}
	c.base = s.URL
	c.get("/v3/clusters", &all)
	c.base = all.Data[0].Metadata.Self
	return c
}

func (c *client) do(method, path, body string) (int, http.Header, []byte) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, answer
}

func (c *client) get(path string, into any) {
	c.t.Helper()
	status, _, body := c.do(http.MethodGet, path, "")
	if status != http.StatusOK {
		c.t.Fatalf("GET %s: %d %s", path, status, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		c.t.Fatal(err)
	}
}

// want sends a request and compares the answer's status and, if it is an error,
// its code.
func (c *client) want(method, path, body string, status, code int) []byte {
	c.t.Helper()
	got, _, answer := c.do(method, path, body)
	var e struct {
		Code int `json:"error_code"`
	}
	_ = json.Unmarshal(answer, &e)
	if got != status || status >= 400 && e.Code != code {
		c.t.Errorf("%s %s: got %d %s, want %d with %d", method, path, got, answer, status, code)
	}
	return answer
}

// TestEveryLinkLeadsToWhatItSays follows all links from the cluster on.
func TestEveryLinkLeadsToWhatItSays(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	name, _ := topic(t, s, 2)
	c := newClient(t, s)
	seen, todo := map[string]bool{}, []string{c.base, c.base + "/topics/" + name, c.base + "/topics/" + name + "/partitions/1", c.base + "/topics/-/configs",
		c.base + "/brokers/-/configs", c.base + "/topics/" + name + "/configs/cleanup.policy", strings.Replace(c.base, "/v3/", "/kafka/v3/", 1)}
	related := regexp.MustCompile(`"related":"([^"]+)"`)
	for len(todo) > 0 {
		url := todo[0]
		todo = todo[1:]
		// A shared cluster has topics and groups of others, with names and states
		// that are none of this test's business; TestGroupsAndLags looks at groups.
		if seen[url] || strings.HasSuffix(url, "/acls") || strings.Contains(url, "/consumer-groups/") || strings.Contains(url, "/topics/") && !strings.Contains(url, name) && !strings.Contains(url, "/-/") {
			continue
		}
		seen[url] = true
		status, _, body := (&client{t, ""}).do(http.MethodGet, url, "")
		if strings.HasSuffix(url, "/reassignment") && !strings.Contains(url, "/-/") && status == 404 {
			continue
		}
		var doc struct {
			Kind     string
			Metadata map[string]any
			Data     *[]json.RawMessage
		}
		if err := json.Unmarshal(body, &doc); err != nil || status != 200 {
			t.Fatalf("%s: %d %s", url, status, body)
		}
		next, listed := doc.Metadata["next"]
		if doc.Metadata["self"] != url || !strings.HasPrefix(doc.Kind, "Kafka") || (doc.Data != nil) != strings.HasSuffix(doc.Kind, "List") || listed != (doc.Data != nil) || next != nil {
			t.Errorf("%s: %.300s", url, body)
		}
		if doc.Data == nil && !strings.HasPrefix(doc.Metadata["resource_name"].(string), "crn:///kafka=") {
			t.Errorf("%s: %.300s", url, body)
		}
		for _, m := range related.FindAllStringSubmatch(string(body), -1) {
			todo = append(todo, m[1])
		}
	}
	if len(seen) < 15 {
		t.Errorf("only %d links: %v", len(seen), seen)
	}
}

func TestBrokersAndTheirSettings(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	c := newClient(t, s)
	var brokers struct {
		Data []struct {
			ID   int32 `json:"broker_id"`
			Host string
			Port int
		}
	}
	c.get("/brokers", &brokers)
	if len(brokers.Data) == 0 || brokers.Data[0].Host == "" || brokers.Data[0].Port == 0 {
		t.Fatalf("%+v", brokers)
	}
	at := fmt.Sprintf("/brokers/%d", brokers.Data[0].ID)
	c.want("GET", at, "", 200, 0)
	c.want("GET", at+"/partition-replicas", "", 200, 0)
	c.want("GET", "/brokers/12345", "", 404, 404)
	c.want("GET", "/brokers/x/configs", "", 404, 404)
	c.want("GET", at+"/configs/no.such.key", "", 404, 404)
	var one struct {
		Kind, Value, Source string
		BrokerID            int32 `json:"broker_id"`
	}
	c.get(at+"/configs/log.retention.ms", &one)
	c.want("PUT", at+"/configs/no.such.key", `{"value":"1"}`, 404, 404)
	c.want("PUT", at+"/configs/log.retention.ms", `{"value":"many"}`, 400, 40002)
	c.want("POST", at+"/configs:alter", `{"data":[{"name":"log.retention.ms","value":"86400002"}],"validate_only":true}`, 204, 0)
	c.want("PUT", at+"/configs/log.retention.ms", `{"value":"86400002"}`, 204, 0)
	waittest.Until(t, "the broker's setting", func() bool {
		c.get(at+"/configs/log.retention.ms", &one)
		return one.Kind == "KafkaBrokerConfig" && one.Value == "86400002" && one.BrokerID == brokers.Data[0].ID
	})
	c.want("DELETE", at+"/configs/log.retention.ms", "", 204, 0)
}

// A setting cannot be set to nothing, nor twice by one call; PUT alone takes null, for
// the default.
func TestSettingsWithoutAValue(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	c := newClient(t, s)
	name, _ := topic(t, s, 1)
	at := "/topics/" + name + "/configs"
	is := func(value, source string) {
		t.Helper()
		waittest.Until(t, value+" of "+source, func() bool {
			var one struct{ Value, Source string }
			c.get(at+"/retention.ms", &one)
			return one.Value == value && (one.Source == "DYNAMIC_TOPIC_CONFIG") == (source == "the topic")
		})
	}
	for _, end := range []string{at + ":alter", "/topics/-/configs:alter"} {
		c.want("PUT", at+"/retention.ms", `{"value":"7200001"}`, 204, 0)
		is("7200001", "the topic")
		for _, changes := range []string{
			`[{"name":"retention.ms"}]`, `[{"name":"cleanup.policy","value":"compact"},{"name":"retention.ms","value":null,"operation":"SET"}]`,
			`[{"name":"retention.ms","value":"1"},{"name":"retention.ms","value":"2"}]`, `[{"name":"retention.ms","value":"1"},{"name":"retention.ms","operation":"DELETE"}]`,
		} {
			if end == at+":alter" {
				c.want("POST", end, `{"data":`+changes+`}`, 400, 40002)
				continue
			}
			if status, _, body := c.do("POST", end, `{"data":[{"topic_name":"`+name+`","configs":`+changes+`}]}`); status != 207 || !bytes.Contains(body, []byte(`"error_code":40002`)) {
				t.Errorf("%s: got %d %s", changes, status, body)
			}
		}
		is("7200001", "the topic")
		c.want("PUT", at+"/retention.ms", `{"value":null}`, 204, 0)
		is("604800000", "nobody")
	}
}

func TestSettingsOfAllBrokers(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	if os.Getenv("KLAMM_TEST_BROKERS") == "" {
		t.Skip("the embedded broker does not tell its defaults from its own settings")
	}
	c := newClient(t, s)
	c.want("GET", "/broker-configs/log.retention.ms", "", 404, 404)
	c.want("PUT", "/broker-configs/log.retention.ms", `{"value":"86400001"}`, 204, 0)
	waittest.Until(t, "the setting", func() bool {
		status, _, body := c.do("GET", "/broker-configs/log.retention.ms", "")
		return status == 200 && bytes.Contains(body, []byte(`"kind":"KafkaClusterConfig"`)) && bytes.Contains(body, []byte(`"value":"86400001"`)) &&
			bytes.Contains(body, []byte(`"source":"DYNAMIC_DEFAULT_BROKER_CONFIG"`)) && bytes.HasSuffix(body, []byte(`"config_type":"BROKER"}`))
	})
	c.want("POST", "/broker-configs:alter", `{"data":[{"name":"log.retention.ms","operation":"DELETE"}]}`, 204, 0)
	waittest.Until(t, "its absence", func() bool {
		status, _, _ := c.do("GET", "/broker-configs/log.retention.ms", "")
		return status == 404
	})
	c.want("DELETE", "/broker-configs/log.retention.ms", "", 204, 0)
}

func TestGroupsAndLags(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	t.Run("classic", func(t *testing.T) { groupsAndLags(t, s, "CLASSIC", kgo.Balancers(kgo.RangeBalancer())) })
	t.Run("consumer", func(t *testing.T) { groupsAndLags(t, s, "CONSUMER", kgo.ServerSideBalancer()) })
}

func groupsAndLags(t *testing.T, s *fronttest.Server, kind string, balancer kgo.Opt) {
	name, _ := topic(t, s, 3)
	c, group := newClient(t, s), "g."+name
	var records []*kgo.Record
	for p, n := range []int{5, 9, 2} {
		for range n {
			records = append(records, &kgo.Record{Topic: name, Partition: int32(p), Value: []byte("x")})
		}
	}
	if err := s.Cluster.Produce(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	member, err := kgo.NewClient(kgo.SeedBrokers(s.Cluster.Brokers()...), kgo.ClientID("lagging"), kgo.ConsumerGroup(group), kgo.ConsumeTopics(name), kgo.DisableAutoCommit(), balancer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(member.CloseAllowingRebalance)
	if got := member.PollRecords(t.Context(), 1); got.Err() != nil {
		t.Fatal(got.Err())
	}
	offsets := map[string]map[int32]kgo.EpochOffset{name: {0: {Epoch: -1, Offset: 5}, 1: {Epoch: -1, Offset: 2}, 2: {Epoch: -1, Offset: 0}}}
	at := "/consumer-groups/" + group
	c.want("GET", at+"/lags", "", 404, 404)
	c.want("GET", at+"/lag-summary", "", 404, 404)
	committed := make(chan error, 1)
	member.CommitOffsetsSync(t.Context(), offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) {
		committed <- err
	})
	if err := <-committed; err != nil {
		t.Fatal(err)
	}
	var one struct {
		Kind, State, Type string
		Simple            bool   `json:"is_simple"`
		Assignor          string `json:"partition_assignor"`
	}
	c.get(at, &one)
	if one.Kind != "KafkaConsumerGroup" || one.State != "STABLE" || one.Type != kind || one.Simple || one.Assignor == "" {
		t.Errorf("%+v", one)
	}
	if body := c.want("GET", "/consumer-groups", "", 200, 0); !bytes.Contains(body, []byte(`"consumer_group_id":"`+group+`"`)) {
		t.Errorf("%s is not in %s", group, body)
	}
	type lag struct {
		Partition int32  `json:"partition_id"`
		Current   int64  `json:"current_offset"`
		End       int64  `json:"log_end_offset"`
		Lag       int64  `json:"lag"`
		Client    string `json:"client_id"`
		Consumer  string `json:"consumer_id"`
	}
	var lags struct{ Data []lag }
	// A member of a group of the newer kind has its partitions when it says so.
	waittest.Until(t, "the members of the lags", func() bool {
		c.get(at+"/lags", &lags)
		return !slices.ContainsFunc(lags.Data, func(l lag) bool { return l.Consumer == "" })
	})
	consumer := lags.Data[0].Consumer
	want := []lag{{1, 2, 9, 7, "lagging", consumer}, {2, 0, 2, 2, "lagging", consumer}, {0, 5, 5, 0, "lagging", consumer}}
	if !slices.Equal(lags.Data, want) || consumer == "" {
		t.Errorf("got %+v, want %+v", lags.Data, want)
	}
	var summary struct {
		MaxLag    int64  `json:"max_lag"`
		TotalLag  int64  `json:"total_lag"`
		Consumer  string `json:"max_lag_consumer_id"`
		Topic     string `json:"max_lag_topic_name"`
		Partition int32  `json:"max_lag_partition_id"`
	}
	c.get(at+"/lag-summary", &summary)
	if summary.MaxLag != 7 || summary.TotalLag != 9 || summary.Consumer != consumer || summary.Topic != name || summary.Partition != 1 {
		t.Errorf("%+v", summary)
	}
	c.want("GET", at+"/lags/"+name+"/partitions/1", "", 200, 0)
	c.want("GET", at+"/lags/"+name+"/partitions/9", "", 404, 404)
	c.want("GET", at+"/consumers", "", 200, 0)
	c.want("GET", at+"/consumers/"+consumer, "", 200, 0)
	c.want("GET", at+"/consumers/nobody", "", 404, 404)
	if body := c.want("GET", at+"/consumers/"+consumer+"/assignments", "", 200, 0); bytes.Count(body, []byte(`"kind":"KafkaConsumerAssignment"`)) != 3 {
		t.Errorf("%s", body)
	}
	c.want("GET", at+"/consumers/"+consumer+"/assignments/"+name+"/partitions/2", "", 200, 0)
	c.want("GET", at+"/consumers/"+consumer+"/assignments/"+name+"/partitions/3", "", 404, 404)
}

func TestACLs(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	name, _ := topic(t, s, 1)
	c := newClient(t, s)
	for _, field := range []string{"resource_type", "pattern_type", "operation", "permission"} {
		if body := c.want("GET", "/acls?"+field+"=unknown", "", 400, 40002); !strings.Contains(string(body), "UNKNOWN") {
			t.Errorf("%s: %s", field, body)
		}
	}
	if _, err := s.Cluster.ACLs(t.Context(), kafka.ACL{}); errors.Is(err, kerr.SecurityDisabled) {
		c.want("GET", "/acls", "", 400, 40002)
		t.Skip("the broker has no authorizer")
	}
	entry := func(operation string) string {
		return `{"resource_type":"topic","resource_name":"` + name + `","pattern_type":"PREFIXED","principal":"User:ada","host":"*","operation":"` + operation + `","permission":"ALLOW"}`
	}
	status, header, body := c.do("POST", "/acls", entry("READ"))
	if location := header.Get("Location"); status != 201 || len(body) != 0 || !strings.Contains(location, "resource_type=TOPIC&resource_name="+name+"&pattern_type=PREFIXED&principal=User%3Aada&host=*&operation=READ&permission=ALLOW") {
		t.Errorf("%d %s %s", status, location, body)
	}
	c.want("POST", "/acls:batch", `{"data":[`+entry("WRITE")+`,`+entry("DESCRIBE")+`]}`, 204, 0)
	var found struct {
		Data []struct{ Kind, Operation, Principal string }
	}
	c.get("/acls?resource_name="+name+"&pattern_type=prefixed", &found)
	if len(found.Data) != 3 || found.Data[0].Operation != "DESCRIBE" || found.Data[2].Operation != "WRITE" || found.Data[0].Kind != "KafkaAcl" {
		t.Errorf("%+v", found)
	}
	c.get("/acls?principal=User:nobody", &found)
	if len(found.Data) != 0 {
		t.Errorf("%+v", found)
	}
	gone := c.want("DELETE", "/acls?resource_type=TOPIC&resource_name="+name+"&pattern_type=PREFIXED&operation=READ&permission=ALLOW", "", 200, 0)
	if err := json.Unmarshal(gone, &found); err != nil || len(found.Data) != 1 || found.Data[0].Operation != "READ" {
		t.Errorf("%s", gone)
	}
}

// TestStreamToWhatDoesNotExist sees that records for what does not exist
// are answered and that the stream goes on.
func TestStreamToWhatDoesNotExist(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	_, url := topic(t, s, 1)
	if codes := post(t, url, strings.NewReader(`{"partition_id":70}{"partition_id":-1}{"partition_id":0}`)); fmt.Sprint(codes) != "[40401 40402 200]" {
		t.Errorf("got %v", codes)
	}
}

// TestOpenAPIDescribesTheRoutes compares the document with the routes.
func TestOpenAPIDescribesTheRoutes(t *testing.T) {
	s := fronttest.Start(t, fronttest.Setup{Dialects: dialects})
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string                     `json:"operationId"`
			Responses   map[string]json.RawMessage `json:"responses"`
			Parameters  []struct {
				Name, In string
			}
		}
	}
	(&client{t, s.URL}).get("/kafka/v3/openapi.json", &doc)
	described := map[string]string{}
	for path, operations := range doc.Paths {
		for method, o := range operations {
			described[strings.ToUpper(method)+" "+path] = o.OperationID
			if len(o.Responses) == 0 {
				t.Errorf("%s %s has no responses", method, path)
			}
			for _, part := range strings.Split(path, "/") {
				if name, ok := strings.CutPrefix(part, "{"); ok && !slices.ContainsFunc(o.Parameters, func(p struct{ Name, In string }) bool { return p.In == "path" && p.Name+"}" == name }) {
					t.Errorf("%s %s does not describe %s", method, path, name)
				}
			}
		}
	}
	for _, route := range confluent3.Dialect(nil, confluent3.Config{}).Routes {
		if method, path, _ := strings.Cut(route.Pattern, " /v3"); path != "" {
			if described[method+" "+path] != route.Name {
				t.Errorf("%s: described as %q, want %q", route.Pattern, described[method+" "+path], route.Name)
			}
			delete(described, method+" "+path)
		}
	}
	if len(described) > 0 {
		t.Errorf("described, but not served: %v", described)
	}
}
