package peer

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// receive returns the request that a call becomes where it arrives.
func receive(method, uri, body, header string) *http.Request {
	r := httptest.NewRequest(method, uri, strings.NewReader(body))
	r.Header[forwardHeader] = []string{header}
	return r
}

func TestWhoMayCall(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	sender := &signer{secret: []byte("the secret of the cluster"), id: "a", now: clock}
	const method, uri, body, caller = "POST", "/consumers/g/instances/i/offsets?async=1", `{"offsets":[]}`, `{"Name":"User:alice"}`
	header, proof := sender.sign("b", method, uri, []byte(body), []byte(caller))
	parts := strings.Split(header, ".")
	with := func(i int, text string) string {
		changed := append([]string{}, parts...)
		changed[i] = text
		return strings.Join(changed, ".")
	}
	for _, c := range []struct {
		name                      string
		method, uri, body, header string
		id, secret                string
		later                     time.Duration
		good                      bool
	}{
		{name: "as it was signed", good: true},
		{name: "a clock that goes ahead", later: 100 * time.Second, good: true},
		{name: "a clock that goes behind", later: -100 * time.Second, good: true},
		{name: "too late", later: 3 * time.Minute},
		{name: "much too early", later: -3 * time.Minute},
		{name: "for another process", id: "c"},
		{name: "another secret", secret: "another secret"},
		{name: "another method", method: "PUT"},
		{name: "another path", uri: "/consumers/g/instances/j/offsets?async=1"},
		{name: "another query", uri: "/consumers/g/instances/i/offsets?async=2"},
		{name: "another body", body: `{"offsets":[1]}`},
		{name: "a longer body", body: body + " "},
		{name: "a shorter body", body: body[1:]},
		{name: "another receiver", header: with(0, "c"), id: "c"},
		{name: "another expiry", header: with(1, "99999999999")},
		{name: "another caller", header: with(3, encode([]byte(`{"Name":"User:root"}`)))},
		{name: "another signature", header: with(6, encode([]byte("x")))},
		{name: "another sender", header: with(4, "c")},
		{name: "another serial number", header: with(5, "2")},
		{name: "no signature", header: strings.Join(parts[:6], ".")},
		{name: "nothing", header: "......"},
	} {
		t.Run(c.name, func(t *testing.T) {
			or := func(a, b string) string {
				if a != "" {
					return a
				}
				return b
			}
			receiver := &signer{secret: []byte(or(c.secret, string(sender.secret))), id: or(c.id, "b"), now: func() time.Time { return now.Add(c.later) }}
			r := receive(or(c.method, method), or(c.uri, uri), or(c.body, body), or(c.header, header))
			got, proved, err := receiver.check(r)
			if err == nil {
				_, err = io.ReadAll(r.Body)
			}
			switch {
			case c.good && (err != nil || string(got) != caller || proved != proof):
				t.Errorf("got %s, %v; want %s", got, err, caller)
			case !c.good && !errors.Is(err, ErrForged):
				t.Errorf("got %s, %v; want ErrForged", got, err)
			}
		})
	}
}

func TestACallWithoutBody(t *testing.T) {
	s := &signer{secret: []byte("the secret of the cluster"), id: "a", now: time.Now}
	header, _ := s.sign("a", "GET", "/x", nil, nil)
	if _, _, err := s.check(receive("GET", "/x", "", header)); err != nil {
		t.Error(err)
	}
	r := receive("GET", "/x", "smuggled", header)
	if _, _, err := s.check(r); err == nil {
		if _, err := io.ReadAll(r.Body); !errors.Is(err, ErrForged) {
			t.Errorf("a body was put under a call without one: %v", err)
		}
	}
}

func TestACallCountsOnce(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	sender := &signer{secret: []byte("the secret of the cluster"), id: "a", now: clock}
	receiver := &signer{secret: sender.secret, id: "b", now: clock}
	take := func(header string) error {
		_, _, err := receiver.check(receive("GET", "/x", "", header))
		return err
	}
	var headers []string
	for range windowCalls + 1 {
		header, _ := sender.sign("b", "GET", "/x", nil, nil)
		headers = append(headers, header)
	}
	for _, c := range []struct {
		name string
		call int
		good bool
	}{
		{"the first", 0, true},
		{"the first again", 0, false},
		{"one that was overtaken by others", 7, true},
		{"one that it has overtaken", 5, true},
		{"that one again", 5, false},
		{"one in between", 6, true},
		{"the newest", windowCalls, true},
		{"the oldest that can be known", 1, true},
		{"that one again", 1, false},
		{"one that is too old", 0, false},
		{"the newest again", windowCalls, false},
	} {
		if err := take(headers[c.call]); (err == nil) != c.good {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// Another process has serial numbers of its own.
	other := &signer{secret: sender.secret, id: "c", now: clock}
	header, _ := other.sign("b", "GET", "/x", nil, nil)
	if err := take(header); err != nil {
		t.Errorf("another process: %v", err)
	}
	// Who has been silent for long is forgotten.
	now = now.Add(forgetAfter + time.Second)
	newcomer := &signer{secret: sender.secret, id: "d", now: clock}
	if header, _ = newcomer.sign("b", "GET", "/x", nil, nil); take(header) != nil || len(receiver.came) != 1 {
		t.Errorf("%d processes are remembered, want 1", len(receiver.came))
	}
}

// TestWindow compares a window with a set.
func TestWindow(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var w window
	came, newest := map[uint64]bool{}, uint64(0)
	for range 200_000 {
		serial := newest + 1
		switch random.IntN(10) {
		case 0:
			serial += random.Uint64N(3 * windowCalls)
		case 1, 2, 3, 4:
			serial -= min(newest, random.Uint64N(windowCalls+10))
		}
		newest = max(newest, serial)
		want := !came[serial] && newest-serial < windowCalls
		if got := w.take(serial); got != want {
			t.Fatalf("take(%d) with newest %d: got %t, want %t", serial, newest, got, want)
		}
		came[serial] = true
	}
}

func FuzzCheck(f *testing.F) {
	s := &signer{secret: []byte("the secret of the cluster"), id: "a", now: func() time.Time { return time.Unix(1_700_000_000, 0) }}
	header, _ := s.sign("a", "GET", "/x", nil, []byte("alice"))
	for _, seed := range []string{header, "", "......", "a.1.b.c.d.1.e", header + "."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s.came = nil // each time is the first
		_, _, err := s.check(receive("GET", "/x", "", text))
		if (err == nil) != (text == header) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
