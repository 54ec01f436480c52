package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A peer is who a client has connected to.
type peer struct {
	near, far net.Conn
	arrived   chan time.Time // when each request arrives
}

// beaten connects a client so many times.
func beaten(t *testing.T, b *beat, times int) []peer {
	t.Helper()
	var near net.Conn
	dial := b.dial(func(context.Context, string, string) (net.Conn, error) { return near, nil })
	all := make([]peer, times)
	for i := range all {
		var far net.Conn
		near, far = net.Pipe()
		conn, err := dial(t.Context(), "tcp", "broker:9092")
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
		all[i] = peer{conn, far, arrived}
	}
	return all
}

// answers has an answer arrive, and waits until it is read.
func (p peer) answers(t *testing.T) {
	t.Helper()
	go func() { _, _ = p.far.Write([]byte{0, 0, 0, 1}) }()
	if _, err := p.near.Read(make([]byte, 4)); err != nil {
		t.Error(err)
	}
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
		all := make([]chan time.Time, members)
		began := time.Now()
		for i := range members {
			p := beaten(t, &b, 1)[0]
			all[i] = p.arrived
			go func() { // each begins at another time, as kgo does, and goes on so long after an answer
				time.Sleep(time.Duration(i) * 35 * time.Millisecond)
				for range 4 {
					time.Sleep(interval - beatEvery + time.Millisecond) // the answer takes a millisecond
					write(t, p.near, kmsg.Heartbeat)
				}
				_ = p.near.Close()
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
		p := beaten(t, &b, 1)[0]
		conn, arrived := p.near, p.arrived
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

// TestAHeartbeatGoesWhenSomethingArrives has a fetch answered beside a heartbeat that
// waits: the next fetch would wait with it.
func TestAHeartbeatGoesWhenSomethingArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b beat
		both := beaten(t, &b, 2)
		beats, fetches := both[0], both[1]
		write(t, fetches.near, kmsg.Fetch)
		<-fetches.arrived
		time.Sleep(aloneFor + 100*time.Millisecond)
		for _, when := range []string{"while it waits", "shortly before"} {
			begun := time.Now()
			if when == "shortly before" {
				fetches.answers(t)
			}
			go write(t, beats.near, kmsg.Heartbeat)
			if when == "while it waits" {
				synctest.Wait()
				fetches.answers(t)
			}
			if late := (<-beats.arrived).Sub(begun); late != 0 {
				t.Errorf("a fetch was answered %s: a heartbeat is %s late", when, late)
			}
			time.Sleep(aloneFor)
		}
		// What answers a heartbeat is nothing else.
		beats.answers(t)
		time.Sleep(time.Until(time.Now().Truncate(beatEvery).Add(beatEvery + 100*time.Millisecond)))
		begun := time.Now()
		go write(t, beats.near, kmsg.Heartbeat)
		synctest.Wait()
		beats.answers(t)
		if late := (<-beats.arrived).Sub(begun); late != beatEvery-100*time.Millisecond {
			t.Errorf("an answer to a heartbeat was read: the next is %s late", late)
		}
	})
}

func TestAHeartbeatThatIsGivenUpDoesNotWait(t *testing.T) {
	for _, c := range []struct {
		name  string
		end   func(net.Conn) error
		sends bool // it goes out, and the connection can be used
	}{
		{"closed", net.Conn.Close, false},
		{"client closed", func(c net.Conn) error { return c.SetDeadline(time.Now()) }, false},
		{"deadline passed", func(c net.Conn) error { return c.SetWriteDeadline(time.Now()) }, true},
	} {
		for _, before := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, before it is written %t", c.name, before), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var b beat
					p := beaten(t, &b, 1)[0]
					time.Sleep(aloneFor + 100*time.Millisecond)
					begun := time.Now()
					end := func() {
						if err := c.end(p.near); err != nil {
							t.Fatal(err)
						}
					}
					if before {
						end()
					}
					failed := make(chan error, 1)
					go func() {
						_, err := p.near.Write(request(kmsg.Heartbeat))
						failed <- err
					}()
					synctest.Wait()
					if !before {
						end()
					}
					sends := c.sends && !before
					if err := <-failed; (err == nil) != sends || time.Since(begun) != 0 {
						t.Errorf("%v after %s, want it at once; sent: %t", err, time.Since(begun), sends)
					}
					if !sends {
						return
					}
					if err := p.near.SetWriteDeadline(time.Time{}); err != nil {
						t.Fatal(err)
					}
					write(t, p.near, kmsg.LeaveGroup)
				})
			})
		}
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
