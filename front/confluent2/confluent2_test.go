package confluent2_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/confluent2"
	"github.com/klamm-gateway/klamm/front/fronttest"
	"github.com/klamm-gateway/klamm/gate"
)

func with(cfg confluent2.Config) func(*gate.Gate) []front.Dialect {
	return func(g *gate.Gate) []front.Dialect { return []front.Dialect{confluent2.Dialect(g, cfg)} }
}

// masks hide what depends on the brokers and on the clock.
var masks = []fronttest.Mask{
	{Pattern: regexp.MustCompile(`"configs":\{[^}]*"cleanup\.policy":"delete"[^}]*\}`), Text: `"configs":{...}`},
	{Pattern: regexp.MustCompile(`"leader":\d+`), Text: `"leader":ID`},
	{Pattern: regexp.MustCompile(`"broker":\d+`), Text: `"broker":ID`},
	{Pattern: regexp.MustCompile(`"brokers":\[\d+(,\d+)*\]`), Text: `"brokers":[IDS]`},
	{Pattern: regexp.MustCompile(`(?s)^\{\n "openapi": "3\.1\..*`), Text: `{"openapi":...}`},
	{Pattern: regexp.MustCompile(`"process_uptime_sec":\d+,"karapace_version":"[^"]+"`), Text: `"process_uptime_sec":N,"karapace_version":"VERSION"`},
	{Pattern: regexp.MustCompile(`"timestamp":(170[1-9]|17[1-9]\d|1[89]\d\d|[2-9]\d\d\d)\d{9}\b`), Text: `"timestamp":NOW`},
}

func TestTranscripts(t *testing.T) {
	t.Parallel()
	fronttest.Start(t, fronttest.Setup{Dialects: with(confluent2.Config{})}).Transcripts(t, "testdata/lenient", masks...)
}

func TestStrictTranscripts(t *testing.T) {
	t.Parallel()
	cfg := confluent2.Config{StrictMediaTypes: true, TopicNotFoundCode: 40401, RecordExtras: true, Profile: "confluent"}
	fronttest.Start(t, fronttest.Setup{Dialects: with(cfg)}).Transcripts(t, "testdata/strict", masks...)
}

func TestConforms(t *testing.T) {
	t.Parallel()
	fronttest.Conform(t, fronttest.Subject{
		Dialects: with(confluent2.Config{}),
		Unknown:  "/nothing/here",
		Upload:   "POST /topics/%s",
		Header:   http.Header{"Content-Type": {"application/vnd.kafka.json.v2+json"}},
		Head:     `{"records":[{"value":"`,
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
	if kind := header.Get("Content-Type"); kind != "application/vnd.kafka.v2+json" {
		return fmt.Errorf("the type is %q", kind)
	}
	return nil
}

// deny refuses whatever is done to topics with this prefix.
type deny string

func (d deny) Check(_ context.Context, c *gate.Call) error {
	if strings.HasPrefix(c.Resource.Name, string(d)) {
		return &gate.Error{Kind: gate.Denied, Message: "not for you"}
	}
	return nil
}

func TestDeniedTranscripts(t *testing.T) {
	t.Parallel()
	fronttest.Start(t, fronttest.Setup{Dialects: with(confluent2.Config{}), Policies: []gate.Policy{deny("missing-")}}).Transcripts(t, "testdata/denied", masks...)
}

func TestClosedTranscripts(t *testing.T) {
	t.Parallel()
	fronttest.Start(t, fronttest.Setup{Dialects: with(confluent2.Config{}), Closed: true}).Transcripts(t, "testdata/closed", masks...)
}

func TestTopicsAreSortedAndWithoutKafkasOwn(t *testing.T) {
	t.Parallel()
	s := fronttest.Start(t, fronttest.Setup{Dialects: with(confluent2.Config{}), Policies: []gate.Policy{deny("secret-")}})
	unique := strconv.FormatInt(time.Now().UnixNano(), 36)
	for _, name := range []string{"b-", "secret-", "_a-", "a-"} {
		s.Topic(t, name+unique, 1)
	}
	var got, want []string
	ask(t, s.URL+"/topics", &got)
	got = slices.DeleteFunc(got, func(name string) bool { return !strings.HasSuffix(name, unique) && name != "__consumer_offsets" })
	for _, name := range []string{"_a-", "a-", "b-"} {
		want = append(want, name+unique)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestKarapacesListHasKafkasOwnTopics reads with a group first, so that there is
// one.
func TestKarapacesListHasKafkasOwnTopics(t *testing.T) {
	t.Parallel()
	if os.Getenv("KLAMM_TEST_BROKERS") == "" {
		t.Skip("the embedded broker has no topics of its own")
	}
	s := fronttest.Start(t, fronttest.Setup{Dialects: with(confluent2.Config{Profile: "karapace"})})
	if status, said := post(t, s.URL+"/consumers/own", "application/json", strings.NewReader(`{"name":"a"}`)); status != 200 && status != 409 {
		t.Fatalf("got %d %s", status, said)
	}
	offsets := `{"offsets":[{"topic":"own","partition":0,"offset":1}]}`
	s.Topic(t, "own", 1)
	if status, said := post(t, s.URL+"/consumers/own/instances/a/offsets", "application/json", strings.NewReader(offsets)); status != 204 {
		t.Fatalf("got %d %s", status, said)
	}
	var names []string
	if ask(t, s.URL+"/topics", &names); !slices.Contains(names, "__consumer_offsets") {
		t.Errorf("got %q", names)
	}
}

func ask(t *testing.T, url string, answer any) http.Header {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil || resp.StatusCode != 200 {
		t.Fatalf("GET %s: %d, %v", url, resp.StatusCode, err)
	}
	return resp.Header
}

func post(t *testing.T, url, contentType string, body io.Reader) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(said)
}

const mediaJSON = "application/vnd.kafka.json.v2+json"

func TestARecordBeyondTheTopicsLimitFailsAlone(t *testing.T) {
	t.Parallel()
	s := fronttest.Start(t, fronttest.Setup{Dialects: with(confluent2.Config{})})
	topic, limit := "small-"+strconv.FormatInt(time.Now().UnixNano(), 36), "20000"
	if err := s.Cluster.EnsureTopic(t.Context(), topic, 2, map[string]*string{"max.message.bytes": &limit}); err != nil {
		t.Fatal(err)
	}
	s.Topic(t, topic, 2)
	var noise strings.Builder // so that compression cannot save it
	for i := range 10_000 {
		fmt.Fprintf(&noise, "%x", i*i*7919)
	}
	large := `"` + noise.String() + `"`
	status, said := post(t, s.URL+"/topics/"+topic, mediaJSON, strings.NewReader(`{"records":[{"value":1,"partition":0},{"value":`+large+`,"partition":1}]}`))
	if status != 200 || !strings.Contains(said, `[{"partition":0,"offset":0,"error_code":null,"error":null},{"partition":null,"offset":null,"error_code":50002,`) {
		t.Errorf("got %d %s", status, said)
	}
	if status, said = post(t, s.URL+"/topics/"+topic, "text/plain", strings.NewReader(large)); status != 413 || !strings.Contains(said, `"error_code":413`) {
		t.Errorf("plain: got %d %s", status, said)
	}
}

func TestAReadWaitsForTheFirstRecord(t *testing.T) {
	t.Parallel()
	s := fronttest.Start(t, fronttest.Setup{Dialects: with(confluent2.Config{})})
	topic := "late-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	s.Topic(t, topic, 20)
	arrived := make(chan string, 1)
	go func() {
		defer close(arrived) // also if the read fails
		var got []struct{ Value string }
		header := ask(t, s.URL+"/topics/"+topic+"/records?offset=latest&wait=30s", &got)
		arrived <- fmt.Sprint(got, header.Get("Klamm-Next"))
	}()
	// Records that come before the read has looked where the end is are none of
	// its business, so they go on coming.
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case got := <-arrived:
			if !strings.Contains(got, "{late}") || !strings.Contains(got, "19-") {
				t.Errorf("got %s", got)
			}
			return
		case <-again.C:
			if status, said := post(t, s.URL+"/topics/"+topic+"/partitions/17", "text/plain", strings.NewReader("late")); status != 200 {
				t.Fatalf("got %d %s", status, said)
			}
		}
	}
}

// TestAReadThatWaitsHoldsUpNobody lets many reads wait at the end of a topic while
// others read the same partition.
func TestAReadThatWaitsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	s := fronttest.Start(t, fronttest.Setup{Dialects: with(confluent2.Config{})})
	topic := "busy-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	s.Topic(t, topic, 1)
	var waiting sync.WaitGroup
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	for range 30 {
		waiting.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/topics/"+topic+"/records?offset=latest&wait=60s", nil)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := http.DefaultClient.Do(req)
			if ctx.Err() != nil {
				return // it was still waiting when the others were done
			}
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
		})
	}
	for range 10 {
		for _, path := range []string{"/records", "/partitions/0/records?offset=0&count=1"} {
			var got []any
			start := time.Now()
			if ask(t, s.URL+"/topics/"+topic+path, &got); len(got) != 0 {
				t.Errorf("got %v", got)
			}
			if took := time.Since(start); took > 40*time.Second {
				t.Errorf("a read took %s", took)
			}
		}
	}
	leave()
	waiting.Wait()
}

func TestReadsAreBoundedAndComplete(t *testing.T) {
	t.Parallel()
	s := fronttest.Start(t, fronttest.Setup{Dialects: with(confluent2.Config{})})
	topic := "many-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	s.Topic(t, topic, 12)
	value := `"` + strings.Repeat("v", 60_000) + `"`
	for p := range 12 {
		body := `{"records":[` + strings.Repeat(`{"value":`+value+`},`, 19) + `{"value":"last"}]}`
		if status, said := post(t, fmt.Sprintf("%s/topics/%s/partitions/%d", s.URL, topic, p), mediaJSON, strings.NewReader(body)); status != 200 {
			t.Fatalf("got %d %s", status, said)
		}
	}
	seen, at := map[[2]int64]bool{}, "earliest"
	for range 40 {
		var got []struct{ Partition, Offset int64 }
		header := ask(t, s.URL+"/topics/"+topic+"/records?count=10000&offset="+at, &got)
		at = header.Get("Klamm-Next")
		if len(got) == 0 {
			break
		}
		if len(got) > 9<<20/60_000 {
			t.Errorf("%d records of 60 kB in one answer", len(got))
		}
		for _, r := range got {
			if seen[[2]int64{r.Partition, r.Offset}] {
				t.Errorf("%v came twice", r)
			}
			seen[[2]int64{r.Partition, r.Offset}] = true
		}
	}
	if len(seen) != 12*20 {
		t.Errorf("got %d records, want %d", len(seen), 12*20)
	}
}
