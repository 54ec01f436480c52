package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func start(t *testing.T, dir string) *Broker {
	t.Helper()
	b, err := Start(t.Context(), Config{Listen: "127.0.0.1:0", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func client(t *testing.T, b *Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(b.Addrs()...), kgo.AllowAutoTopicCreation(), kgo.MetadataMinAge(50*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func TestRecordsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	cl := client(t, b)
	if err := cl.ProduceSync(t.Context(), kgo.StringRecord("one"), &kgo.Record{Topic: "kept", Value: []byte("two")}).FirstErr(); err == nil {
		t.Fatal("a record without a topic was accepted")
	}
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "kept", Value: []byte("three")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	cl.Close()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = start(t, dir)
	cl = client(t, b, kgo.ConsumeTopics("kept"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := map[string]bool{}
	for len(got) < 2 {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("read %v: %v", got, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { got[string(r.Value)] = true })
	}
	if !got["two"] || !got["three"] {
		t.Errorf("read %v, want two and three", got)
	}
}

func TestTheDataDirectoryIsForOne(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	if _, err := Start(t.Context(), Config{Listen: "127.0.0.1:0", Dir: dir}); !errors.Is(err, ErrLocked) {
		t.Errorf("second start: %v, want ErrLocked", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
}

func TestATakenPortIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Start(t.Context(), Config{Listen: l.Addr().String(), Dir: t.TempDir()}); !errors.Is(err, ErrListen) {
		t.Errorf("got %v, want ErrListen", err)
	}
	for _, bad := range []string{"nonsense", "127.0.0.1:x", "127.0.0.1:70000"} {
		if _, err := Start(t.Context(), Config{Listen: bad, Dir: t.TempDir()}); !errors.Is(err, ErrListen) {
			t.Errorf("%s: got %v, want ErrListen", bad, err)
		}
	}
}

// A client whose brokers change cuts its connections: whatever it asks for, it must
// be shown the same broker.
func TestTheBrokerHasNoRack(t *testing.T) {
	b := start(t, t.TempDir())
	for _, topics := range [][]kmsg.MetadataRequestTopic{{}, nil} {
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = topics
		resp, err := req.RequestWith(t.Context(), client(t, b))
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.Brokers) != 1 || resp.Brokers[0].Rack == nil || *resp.Brokers[0].Rack != "" || resp.Brokers[0].NodeID != resp.ControllerID || resp.ClusterID == nil || *resp.ClusterID != "klamm-embedded" {
			t.Errorf("%+v", resp)
		}
		if got := fmt.Sprintf("%s:%d", resp.Brokers[0].Host, resp.Brokers[0].Port); got != b.Addrs()[0] {
			t.Errorf("address %s, want %s", got, b.Addrs()[0])
		}
	}
}
