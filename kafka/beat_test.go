package kafka

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// beaten connects to somebody who tells when each request of his arrives.
func beaten(t *testing.T, b *beat) (net.Conn, <-chan time.Time) {
	t.Helper()
	near, far := net.Pipe()
	conn, err := b.dial(func(context.Context, string, string) (net.Conn, error) { return near, nil })(t.Context(), "tcp", "broker:9092")
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan time.Time, 100)
	go func() {
		defer close(arrived)
		for b := make([]byte, 100); ; {
			if _, err := far.Read(b); err != nil {
				return
			}
			arrived <- time.Now()
		}
	}()
	t.Cleanup(func() { _, _ = conn.Close(), far.Close() })
	return conn, arrived
}

// request is the beginning of a request.
func request(key kmsg.Key) []byte { return []byte{0, 0, 0, 40, 0, byte(key), 0, 4, 0, 0, 0, 1} }

func write(t *testing.T, conn net.Conn, key kmsg.Key) {
	t.Helper()
	if _, err := conn.Write(request(key)); err != nil {
		t.Errorf("%v: %v", key.Name(), err)
	}
}

func TestHeartbeatsOfMembersGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b beat
		const members, interval = 50, 4 * time.Second
		all := make([]<-chan time.Time, members)
		began := time.Now()
		for i := range members {
			conn, arrived := beaten(t, &b)
			all[i] = arrived
			go func() { // each begins at another time, as kgo does, and goes on so long after an answer
				time.Sleep(time.Duration(i) * 35 * time.Millisecond)
				for range 4 {
					time.Sleep(interval - beatEvery + time.Millisecond) // the answer takes a millisecond
					write(t, conn, kmsg.Heartbeat)
				}
				_ = conn.Close()
			}()
		}
		times := map[time.Time]int{}
		for i, arrived := range all {
			var at []time.Time
			for when := range arrived {
				at = append(at, when)
				times[when]++
			}
			if len(at) != 4 {
				t.Fatalf("member %d: %d heartbeats arrived, want 4", i, len(at))
			}
			for n := 1; n < len(at); n++ {
				if gap := at[n].Sub(at[n-1]); gap != interval {
					t.Errorf("member %d: %s from heartbeat %d to the next, want %s", i, gap, n, interval)
				}
			}
			if late := at[0].Sub(began) - (interval - beatEvery + time.Duration(i)*35*time.Millisecond); late < 0 || late > beatEvery {
				t.Errorf("member %d: the first heartbeat is %s late", i, late)
			}
		}
		// The first ones are due within two seconds, so that they meet at two beats or three.
		if len(times) > 4*3 {
			t.Errorf("%d heartbeats at %d times: %v", 4*members, len(times), times)
		}
	})
}

func TestHeartbeatsHoldNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b beat
		conn, arrived := beaten(t, &b)
		time.Sleep(100 * time.Millisecond)
		begun := time.Now()
		wrote := []kmsg.Key{kmsg.OffsetCommit, kmsg.Heartbeat, kmsg.OffsetCommit}
		for _, key := range wrote {
			write(t, conn, key)
		}
		for range wrote {
			if late := (<-arrived).Sub(begun); late != 0 {
				t.Errorf("a request beside which there are others is %s late", late)
			}
		}
		time.Sleep(aloneFor)
		write(t, conn, kmsg.OffsetCommit)
		if late := (<-arrived).Sub(begun) - aloneFor; late != 0 {
			t.Errorf("a commit behind a pause is %s late", late)
		}
	})
}

func TestAHeartbeatThatIsGivenUpDoesNotWait(t *testing.T) {
	for name, end := range map[string]func(net.Conn) error{
		"closed":          net.Conn.Close,
		"deadline passed": func(c net.Conn) error { return c.SetWriteDeadline(time.Now()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b beat
				conn, _ := beaten(t, &b)
				time.Sleep(aloneFor + 100*time.Millisecond)
				begun := time.Now()
				failed := make(chan error, 1)
				go func() {
					_, err := conn.Write(request(kmsg.Heartbeat))
					failed <- err
				}()
				synctest.Wait()
				if err := end(conn); err != nil {
					t.Fatal(err)
				}
				if err := <-failed; err == nil || time.Since(begun) != 0 {
					t.Errorf("%v after %s, want an error at once", err, time.Since(begun))
				}
			})
		})
	}
}

func TestADialThatFailsIsTold(t *testing.T) {
	var b beat
	broken := errors.New("broken")
	conn, err := b.dial(func(context.Context, string, string) (net.Conn, error) { return nil, broken })(t.Context(), "tcp", "broker:9092")
	if conn != nil || !errors.Is(err, broken) {
		t.Errorf("got %v, %v", conn, err)
	}
}

func TestFetchesWaitForABeat(t *testing.T) {
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID("klamm"))
	anonymous := kmsg.NewRequestFormatter()
	now := time.Date(2026, 1, 2, 3, 4, 5, 400_000_000, time.UTC)
	for version := range int16(newestFetch + 1) {
		for name, c := range map[string]struct {
			formatter  *kmsg.RequestFormatter
			wait, want int32
		}{
			"long": {formatter, 30_000, 29_601}, "without a name": {anonymous, 30_000, 29_601}, "up to a beat": {formatter, 29_600, 29_601},
			"short": {formatter, 4_999, 4_999}, "none": {formatter, 0, 0},
		} {
			request := kmsg.NewPtrFetchRequest()
			request.SetVersion(version)
			request.MaxWaitMillis, request.MinBytes, request.MaxBytes = c.wait, 1, 1<<20
			if version < 15 {
				request.ReplicaID = -1
			}
			topic := kmsg.NewFetchRequestTopic()
			topic.Topic, topic.TopicID = "t", [16]byte{1, 2, 3}
			topic.Partitions = append(topic.Partitions, kmsg.NewFetchRequestTopicPartition())
			request.Topics = append(request.Topics, topic)
			bytes := c.formatter.AppendRequest(nil, request, 7)
			kept := slices.Clone(bytes)
			request.MaxWaitMillis = c.want
			if got, want := toBeat(bytes, now), c.formatter.AppendRequest(nil, request, 7); !slices.Equal(got, want) {
				t.Errorf("version %d, %s: got %v, want %v", version, name, got, want)
			}
			if !slices.Equal(bytes, kept) {
				t.Errorf("version %d, %s: the request was changed", version, name)
			}
		}
	}
	if newest := kmsg.NewPtrFetchRequest().MaxVersion(); newest != newestFetch {
		t.Errorf("the newest fetch is version %d now: look whether it has its wait where version %d has it", newest, newestFetch)
	}
}

func FuzzRequests(f *testing.F) {
	f.Add(request(kmsg.Fetch))
	f.Add(request(kmsg.Heartbeat))
	f.Fuzz(func(t *testing.T, b []byte) {
		kept := slices.Clone(b)
		got := toBeat(b, time.Now())
		if keyOf(b) == kmsg.Heartbeat && len(b) < 6 || len(got) != len(b) || !slices.Equal(b, kept) {
			t.Errorf("%v became %v", kept, got)
		}
	})
}
