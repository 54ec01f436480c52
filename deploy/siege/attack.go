package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// outcomes count how the connections of an attack have ended.
type outcomes struct {
	mu     sync.Mutex // guards what follows
	ends   map[string]int
	latest time.Duration // since its beginning
}

func (o *outcomes) end(how string, took time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ends == nil {
		o.ends = map[string]int{}
	}
	o.ends[how]++
	o.latest = max(o.latest, took)
}

func (o *outcomes) String() string {
	var parts []string
	for _, how := range slices.Sorted(maps.Keys(o.ends)) {
		parts = append(parts, fmt.Sprintf("%s: %d", how, o.ends[how]))
	}
	return fmt.Sprintf("%s; the last after %s", strings.Join(parts, ", "), o.latest.Round(100*time.Millisecond))
}

// attackFor is how long an attack goes on that klamm does not end.
const attackFor = time.Minute

// The ends that have no status.
const (
	cut     = "cut off"      // by klamm
	refused = "not let in"   // by the system
	left    = "still served" // when the attack ended
)

// attack starts a klamm, lets others work on it and attacks it with so many connections
// at once, each of which goes on until it ends by itself or ctx does.
func (h *house) attack(ctx context.Context, config string, connections int, one func(ctx context.Context, conn net.Conn, n int) string) (v verdict, o *outcomes, err error) {
	p, err := h.serve(ctx, config)
	if err != nil {
		return v, nil, err
	}
	defer p.kill()
	if err := post(http.DefaultClient, "http://"+p.addr+"/topics/siege", "first"); err != nil {
		return v, nil, err
	}
	before := p.memory()
	end := others(p, "http://"+p.addr, plain)
	o = &outcomes{}
	attack, over := context.WithTimeout(ctx, attackFor)
	defer over()
	var running sync.WaitGroup
	for n := range connections {
		running.Go(func() {
			begun := time.Now()
			conn, err := (&net.Dialer{}).DialContext(attack, "tcp", p.addr)
			if err != nil {
				o.end(refused, time.Since(begun))
				return
			}
			defer func() { _ = conn.Close() }()
			stop := context.AfterFunc(attack, func() { _ = conn.SetDeadline(time.Now()) })
			defer stop()
			how := one(attack, conn, n)
			o.end(how, time.Since(begun))
		})
		if n%100 == 99 {
			pause(ctx, 5*time.Millisecond) // no more than the system lets wait
		}
	}
	running.Wait()
	if ctx.Err() != nil {
		return v, nil, context.Cause(ctx)
	}
	pause(ctx, time.Second) // others go on when it is over
	f := end()
	v.say("attack: %d connections; %s", connections, o)
	v.say("memory before: %d MiB", before)
	h.judge(&v, f)
	return v, o, nil
}

// ended reads what klamm answers, until it closes the connection or ctx ends.
func ended(ctx context.Context, conn net.Conn) string {
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	switch {
	case err == nil:
		_ = resp.Body.Close()
		return strconv.Itoa(resp.StatusCode)
	case ctx.Err() != nil:
		return left
	}
	return cut
}

// trickle writes a text again and again, until klamm has had enough.
func trickle(ctx context.Context, conn net.Conn, text string, every time.Duration) string {
	done := make(chan string, 1)
	go func() { done <- ended(ctx, conn) }() // ends with the connection
	for {
		select {
		case how := <-done:
			return how
		case <-time.After(every):
		}
		if _, err := io.WriteString(conn, text); err != nil {
			return <-done
		}
	}
}

// loris sends heads of requests a byte at a time. klamm waits ten seconds for one.
func (h *house) loris(ctx context.Context) (verdict, error) {
	v, o, err := h.attack(ctx, "", 2000, func(ctx context.Context, conn net.Conn, _ int) string {
		_, _ = io.WriteString(conn, "POST /topics/siege HTTP/1.1\r\nHost: siege\r\nX-A: ")
		return trickle(ctx, conn, "a", time.Second)
	})
	if err == nil {
		v.hold(o.ends[left] == 0, "%d connections are still served", o.ends[left])
	}
	return v, err
}

// bodies announces large bodies and sends them ten bytes at a time: more of them than
// there is memory for bodies.
func (h *house) bodies(ctx context.Context) (verdict, error) {
	v, o, err := h.attack(ctx, "", 200, func(ctx context.Context, conn net.Conn, _ int) string {
		_, _ = io.WriteString(conn, "POST /topics/siege HTTP/1.1\r\nHost: siege\r\nContent-Type: text/plain\r\nContent-Length: 60000000\r\n\r\n")
		return trickle(ctx, conn, "0123456789", time.Second)
	})
	if err == nil {
		v.hold(o.ends[left] == 0, "%d bodies are still waited for", o.ends[left])
		v.hold(o.ends["200"] == 0, "%d bodies were taken", o.ends["200"])
	}
	return v, err
}

// halfOpen opens connections and says nothing.
func (h *house) halfOpen(ctx context.Context) (verdict, error) {
	v, o, err := h.attack(ctx, "", h.connections, func(ctx context.Context, conn net.Conn, _ int) string { return ended(ctx, conn) })
	if err == nil {
		v.hold(o.ends[left] == 0, "%d connections are still open", o.ends[left])
		v.hold(o.ends[refused] == 0, "%d connections were not taken", o.ends[refused])
	}
	return v, err
}

// headers sends heads without end, as fast as it can.
func (h *house) headers(ctx context.Context) (verdict, error) {
	line := []byte("X-Filler-" + strings.Repeat("a", 50) + ": " + strings.Repeat("b", 900) + "\r\n")
	v, o, err := h.attack(ctx, "", 200, func(ctx context.Context, conn net.Conn, _ int) string {
		done := make(chan string, 1)
		go func() { done <- ended(ctx, conn) }() // ends with the connection
		_, _ = io.WriteString(conn, "GET /topics HTTP/1.1\r\nHost: siege\r\n")
		for range 100_000 { // 100 MB
			if _, err := conn.Write(line); err != nil {
				break
			}
		}
		return <-done
	})
	if err == nil {
		v.hold(o.ends[left] == 0, "%d heads are still read", o.ends[left])
		v.hold(o.ends["200"] == 0, "%d heads were taken", o.ends["200"])
	}
	return v, err
}

// paths asks for paths of a megabyte.
func (h *house) paths(ctx context.Context) (verdict, error) {
	const many = 300
	text := []byte("GET /topics/" + strings.Repeat("a", 1_000_000) + " HTTP/1.1\r\nHost: siege\r\n\r\n")
	v, o, err := h.attack(ctx, "", many, func(ctx context.Context, conn net.Conn, _ int) string {
		done := make(chan string, 1)
		go func() { done <- ended(ctx, conn) }() // ends with the connection
		_, _ = conn.Write(text)
		return <-done
	})
	if err == nil {
		v.hold(o.ends["414"]+o.ends["431"]+o.ends[cut] == many, "not all paths were refused")
	}
	return v, err
}

// bombs sends a gigabyte in a megabyte. klamm inflates no more than a hundredfold.
func (h *house) bombs(ctx context.Context) (verdict, error) {
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	for range 1000 {
		_, _ = w.Write(make([]byte, 1_000_000))
	}
	_ = w.Close()
	const most = 100
	v, o, err := h.attack(ctx, "", most, func(ctx context.Context, conn net.Conn, _ int) string {
		done := make(chan string, 1)
		go func() { done <- ended(ctx, conn) }() // ends with the connection
		_, _ = fmt.Fprintf(conn, "POST /topics/siege HTTP/1.1\r\nHost: siege\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", bomb.Len())
		_, _ = conn.Write(bomb.Bytes())
		return <-done
	})
	if err == nil {
		v.hold(o.ends["413"]+o.ends["503"]+o.ends[cut] == most && o.ends["413"] > 0, "not all bombs were refused")
	}
	return v, err
}
