package queue

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/targettest"
)

type sqsAttribute struct {
	DataType    string
	StringValue string
	BinaryValue []byte
}

type sqsMessage struct {
	ID                     string `json:"Id"`
	MessageBody            string
	MessageGroupID         string `json:"MessageGroupId"`
	MessageDeduplicationID string `json:"MessageDeduplicationId"`
	MessageAttributes      map[string]sqsAttribute
}

// A post office speaks the JSON protocol of SQS.
type postOffice struct {
	*httptest.Server
	mu       sync.Mutex
	messages []sqsMessage
	requests []int // entries of each
	failure  string
	status   int
	refuse   func(m sqsMessage) (code string, fault bool)
	stalled  chan struct{}
}

func newPostOffice(t *testing.T) *postOffice {
	p := &postOffice{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		p.mu.Lock()
		stalled := p.stalled
		p.mu.Unlock()
		if stalled != nil {
			<-stalled
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.answer(w, r, body)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *postOffice) answer(w http.ResponseWriter, r *http.Request, body []byte) {
	fail := func(status int, code string) {
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"__type":"com.amazonaws.sqs#%s","message":"the queue's own words"}`, code)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	var in struct {
		QueueURL string `json:"QueueUrl"`
		Entries  []sqsMessage
	}
	if err := json.Unmarshal(body, &in); err != nil || r.Header.Get("X-Amz-Target") != "AmazonSQS.SendMessageBatch" || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIAKLAMM/") {
		fail(403, "InvalidSecurity")
		return
	}
	p.requests = append(p.requests, len(in.Entries))
	if p.status != 0 {
		fail(p.status, p.failure)
		return
	}
	size := 0
	type result struct {
		ID                     string `json:"Id"`
		MessageID              string `json:"MessageId,omitempty"`
		MD5OfMessageBody       string `json:",omitempty"`
		MD5OfMessageAttributes string `json:",omitempty"`
		Code                   string `json:",omitempty"`
		SenderFault            bool
	}
	var good, bad []result
	for _, m := range in.Entries {
		size += len(m.MessageBody)
		for name, a := range m.MessageAttributes {
			size += len(name) + len(a.DataType) + len(a.StringValue) + len(a.BinaryValue)
		}
		if p.refuse != nil {
			if code, fault := p.refuse(m); code != "" {
				bad = append(bad, result{ID: m.ID, Code: code, SenderFault: fault})
				continue
			}
		}
		p.messages = append(p.messages, m)
		sum := md5.Sum([]byte(m.MessageBody))
		good = append(good, result{ID: m.ID, MessageID: "m", MD5OfMessageBody: hex.EncodeToString(sum[:]), MD5OfMessageAttributes: attributesSum(m.MessageAttributes)})
	}
	if len(in.Entries) > 10 || size > 1<<20 {
		fail(400, "AWS.SimpleQueueService.BatchRequestTooLong")
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"Successful": good, "Failed": bad})
}

// attributesSum is the digest that SQS answers with.
func attributesSum(all map[string]sqsAttribute) string {
	var b []byte
	text := func(s string) { b = append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...) }
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		a := all[name]
		text(name)
		text(a.DataType)
		if a.DataType == "Binary" {
			b = append(b, 2)
			text(string(a.BinaryValue))
		} else {
			b = append(b, 1)
			text(a.StringValue)
		}
	}
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

func (p *postOffice) config(name string) Config {
	return Config{SQS: &SQS{URL: p.URL + "/000000000000/" + name, Region: "eu-klamm-1", AccessKey: secret.Ref{Value: "AKIAKLAMM"}, SecretKey: secret.Ref{Value: "s"}}}
}

func (p *postOffice) bodies() (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.messages {
		all = append(all, m.MessageBody)
	}
	return all
}

func TestSQS(t *testing.T) {
	p := newPostOffice(t)
	targettest.Run(t, targettest.Subject{
		Kind: Kind(), Config: p.config("orders"), Received: p.bodies,
		Fail: func(failing bool) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.status, p.failure = map[bool]int{true: 503}[failing], "ServiceUnavailable"
		},
		Stall: func(stalled bool) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if stalled {
				p.stalled = make(chan struct{})
			} else {
				close(p.stalled)
				p.stalled = nil
			}
		},
	})
}

func TestSQSMessage(t *testing.T) {
	p := newPostOffice(t)
	e := targettest.Event(1, "k 1", `{"n":1}`)
	e.Record.Headers = []kgo.RecordHeader{
		{Key: "trace", Value: []byte("1")}, {Key: "trace", Value: []byte("2")}, {Key: "blob", Value: []byte("\xff")}, {Key: "AWS.x", Value: []byte("1")}, {Key: "bad name", Value: []byte("1")},
		{Key: "klamm-topic", Value: []byte("forged")}, {Key: "empty", Value: []byte{}}, {Key: "c", Value: []byte("1")}, {Key: "d", Value: []byte("1")}, {Key: "too many", Value: []byte("1")}, {Key: "e", Value: []byte("1")},
	}
	if err := started(t, p.config("orders.fifo"), "").Deliver(t.Context(), []*event.Event{e}); err != nil {
		t.Fatal(err)
	}
	text := func(s string) sqsAttribute { return sqsAttribute{DataType: "String", StringValue: s} }
	want := sqsMessage{ID: "0", MessageBody: `{"n":1}`, MessageGroupID: "acf3ef55f2a4db8a07e0d26b2a4eaba4dc3d8d9e5a4ad6be0a77b1ed8d3d4d6b", MessageDeduplicationID: "id-1", MessageAttributes: map[string]sqsAttribute{
		"klamm-pipe": text("test"), "klamm-topic": text("source"), "klamm-partition": text("3"), "klamm-offset": text("1"), "klamm-delivery-id": text("id-1"), "klamm-key": text("k 1"),
		"trace": text("2"), "blob": {DataType: "Binary", BinaryValue: []byte("\xff")}, "c": text("1"), "d": text("1"),
	}}
	want.MessageGroupID = identifier("k 1")
	if diff := cmp.Diff([]sqsMessage{want}, p.messages); diff != "" {
		t.Error(diff)
	}
	if len(want.MessageGroupID) != 64 || identifier("k1") != "k1" || len(identifier(strings.Repeat("k", 129))) != 64 {
		t.Error("identifiers")
	}
}

func TestSQSBodies(t *testing.T) {
	p := newPostOffice(t)
	tg := started(t, p.config("orders"), "json")
	all := batch("a", "b", "c", "d", "e")
	all[0].Record.Value = []byte("text\x01")
	all[1].Record.Value = nil
	all[2].Record.Value = []byte{}
	all[3].Record.Value = []byte(strings.Repeat("x", 1<<20))
	err := tg.Deliver(t.Context(), all)
	var partial *target.PartialError
	if !errors.As(err, &partial) || len(partial.Failed) != 2 || !target.FailureOf(partial.Failed[2]).Final || !target.FailureOf(partial.Failed[3]).Final {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]string{"dGV4dAE=", "null", "4"}, p.bodies()); diff != "" {
		t.Error(diff)
	}
	if p.messages[0].MessageAttributes["klamm-encoding"].StringValue != "base64" {
		t.Errorf("attributes %v", p.messages[0].MessageAttributes)
	}
}

func TestSQSRequestsKeepWithinTheLimits(t *testing.T) {
	p := newPostOffice(t)
	all := batch(make([]string, 25)...)
	for i := range 12 {
		all[i].Record.Value = []byte(strings.Repeat("x", 200<<10))
	}
	if err := started(t, p.config("orders"), "json").Deliver(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{5, 5, 10, 5}, p.requests); diff != "" {
		t.Error(diff)
	}
}

func TestSQSOrderInAFIFOQueue(t *testing.T) {
	p := newPostOffice(t)
	all := batch("a", "b", "a", "a", "b", "c")
	p.refuse = func(m sqsMessage) (string, bool) {
		if m.MessageBody == "0" {
			return "ThrottlingException", true
		}
		return "", false
	}
	err := started(t, p.config("o.fifo"), "json").Deliver(t.Context(), all)
	var partial *target.PartialError
	if !errors.As(err, &partial) || len(partial.Failed) != 3 || target.FailureOf(partial.Failed[0]).Final {
		t.Fatalf("got %v", err)
	}
	if diff := cmp.Diff([]string{"1", "5", "4"}, p.bodies()); diff != "" {
		t.Error(diff)
	}
}

func TestSQSRefusals(t *testing.T) {
	p := newPostOffice(t)
	tg := started(t, p.config("orders"), "json")
	p.refuse = func(m sqsMessage) (string, bool) {
		switch m.MessageBody {
		case "1":
			return "InvalidMessageContents", true
		case "2":
			return "InternalError", false
		}
		return "", false
	}
	err := tg.Deliver(t.Context(), batch("a", "b", "c"))
	var partial *target.PartialError
	if !errors.As(err, &partial) || len(partial.Failed) != 2 || !target.FailureOf(partial.Failed[1]).Final || target.FailureOf(partial.Failed[2]).Final {
		t.Errorf("got %v", err)
	}
	for _, test := range []struct {
		status   int
		code     string
		final    bool
		requests int
	}{
		{400, "AWS.SimpleQueueService.NonExistentQueue", false, 1}, {403, "AccessDenied", false, 1}, {500, "InternalFailure", false, 1}, {400, "InvalidParameterValue", true, 4},
	} {
		p.status, p.failure, p.requests = test.status, test.code, nil
		report := &target.Report{}
		err := tg.Deliver(target.WithReport(t.Context(), report), batch("a", "b", "c"))
		final := target.FailureOf(err).Final
		if errors.As(err, &partial) {
			final = target.FailureOf(partial.Failed[2]).Final
		}
		if err == nil || final != test.final || len(p.requests) != test.requests || report.Status != test.status || strings.Contains(err.Error(), "own words") {
			t.Errorf("%d %s: %v, final %v after %d requests", test.status, test.code, err, final, len(p.requests))
		}
	}
}
