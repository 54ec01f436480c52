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

func TestOnlyHeartbeatsAreTakenForHeartbeats(t *testing.T) {
	var all []kmsg.Key
	for key := range kmsg.Key(100) {
		if isHeartbeat(request(key)) {
			all = append(all, key)
		}
	}
	if !slices.Equal(all, []kmsg.Key{kmsg.Heartbeat}) || isHeartbeat([]byte{0, 0, 0, 1, 0}) || isHeartbeat(nil) {
		t.Errorf("taken for heartbeats: %v", all)
	}
}
