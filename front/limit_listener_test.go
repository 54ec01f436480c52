package front

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestConnectionsAreLimited(t *testing.T) {
	tests := []struct {
		name    string
		cfg     Connections
		trusted []string
		want    int // of five that stay
	}{
		{"all together", Connections{MaxConnections: 2}, nil, 2},
		{"of one address", Connections{MaxConnectionsPerIP: 3}, nil, 3},
		{"of a proxy", Connections{MaxConnectionsPerIP: 3}, []string{"127.0.0.1"}, 5},
		{"by time alone", Connections{AcceptRate: 1000}, nil, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			links, err := NewLinks("", tt.trusted)
			if err != nil {
				t.Fatal(err)
			}
			limit := NewConnectionLimit(tt.cfg, links)
			raw, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l := limit.Listen(raw)
			accepted := make(chan net.Conn, 10)
			ended := make(chan error, 1)
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						ended <- err
						return
					}
					_, _ = conn.Write([]byte("."))
					accepted <- conn
				}
			}()
			open := func() bool {
				conn, err := net.Dial("tcp", raw.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
				_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
				_, err = io.ReadFull(conn, make([]byte, 1))
				return err == nil
			}
			n := 0
			for range 5 {
				if open() {
					n++
				}
			}
			if n != tt.want {
				t.Errorf("%d of 5 were let in, want %d", n, tt.want)
			}
			// One that goes makes room, once.
			gone := <-accepted
			_ = gone.Close()
			_ = gone.Close()
			if !open() {
				t.Error("nobody is let in after one has gone")
			}
			if tt.want < 5 && open() {
				t.Error("one too many")
			}
			_ = l.Close()
			select {
			case <-ended:
			case <-time.After(30 * time.Second):
				t.Error("Accept goes on after Close")
			}
		})
	}
}

func TestAcceptRate(t *testing.T) {
	c := NewConnectionLimit(Connections{AcceptRate: 10}, Links{})
	now := time.Now()
	for i := range 10 {
		if wait := c.turn(now); wait > 0 {
			t.Errorf("connection %d waits %s", i, wait)
		}
	}
	for i := range 3 {
		if wait, want := c.turn(now), time.Duration(i+1)*100*time.Millisecond; wait != want {
			t.Errorf("%d waits %s, want %s", i, wait, want)
		}
	}
}

func TestConnectionLimitsChange(t *testing.T) {
	c, at := NewConnectionLimit(Connections{}, Links{}), netip.MustParseAddr("192.0.2.7")
	for range 3 {
		if !c.enter(at) {
			t.Fatal("a limit of nothing")
		}
	}
	c.Change(Connections{MaxConnections: 4}, Links{})
	if got := []bool{c.enter(at), c.enter(at)}; !got[0] || got[1] {
		t.Errorf("the fourth and fifth connection are let in: %v, want only the fourth", got)
	}
	c.Change(Connections{MaxConnectionsPerIP: 4}, Links{})
	if c.enter(at) || !c.enter(netip.MustParseAddr("192.0.2.8")) {
		t.Error("those that came before the change do not count")
	}
}

func TestConnectionsByNetwork(t *testing.T) {
	for address, want := range map[string]string{"192.0.2.7:1": "192.0.2.7", "[2001:db8:1:2:3::4]:1": "2001:db8:1:2::", "[::ffff:192.0.2.7]:1": "192.0.2.7"} {
		at, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := addressOf(remote{addr: at}); got != netip.MustParseAddr(want) {
			t.Errorf("%s: %s", address, got)
		}
	}
	problems := 0
	Connections{MaxConnections: -1, AcceptRate: 1 << 30, HeaderTimeout: time.Hour, Idle: -1}.Validate(func(string, string) { problems++ })
	if problems != 4 {
		t.Errorf("%d problems", problems)
	}
}

type remote struct {
	net.Conn
	addr net.Addr
}

func (r remote) RemoteAddr() net.Addr { return r.addr }
