package main

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// A busLedger is told of what PutEvents answers and of every event that arrives, and
// finds what is lost, and what has come that must not. It is safe for concurrent use.
type busLedger struct {
	rules []busRule

	mu        sync.Mutex
	answer    []answer // by number
	answeredN int
	refusedN  int
	arrivals  map[string][]uint8 // by rule and number: how often, up to 255
	came      map[string]int     // by rule: events that have arrived
	repeated  map[string]int
	misjudged int
	wrong     int
	first     string
	events    int // answers and arrivals
	latest    time.Time
}

type answer uint8

const (
	unanswered answer = iota
	acceptedOnce
	refusedOnce
)

func newBusLedger(total int, rules []busRule) *busLedger {
	l := &busLedger{rules: rules, answer: make([]answer, total), arrivals: map[string][]uint8{}, came: map[string]int{}, repeated: map[string]int{}, latest: time.Now()}
	for _, r := range rules {
		l.arrivals[r.name] = make([]uint8, total)
	}
	return l
}

func (l *busLedger) found(format string, args ...any) {
	if l.first == "" {
		l.first = fmt.Sprintf(format, args...)
	}
}

// answered enters what PutEvents has said of an event.
func (l *busLedger) answered(n int, accepted bool, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events, l.latest = l.events+1, time.Now()
	if l.answer[n] == unanswered {
		l.answeredN++
	}
	switch {
	case accepted:
		l.answer[n] = acceptedOnce
	case l.answer[n] != refusedOnce:
		l.answer[n] = refusedOnce
		l.refusedN++
	}
	if accepted != (fateOf(n) == taken) {
		l.misjudged++
		l.found("event %d is answered with accepted %t: %.200s", n, accepted, why)
	}
}

// note enters an event that has arrived for a rule.
func (l *busLedger) note(rule string, body []byte) {
	var e struct {
		ID     string `json:"id"`
		Detail struct {
			N    *int   `json:"n"`
			Text string `json:"text"`
		} `json:"detail"`
	}
	err := json.Unmarshal(body, &e)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events, l.latest = l.events+1, time.Now()
	of, known := l.arrivals[rule]
	if err != nil || e.ID == "" || e.Detail.N == nil || *e.Detail.N < 0 || *e.Detail.N >= len(l.answer) || e.Detail.Text != string(value(*e.Detail.N, 64)) || !known {
		l.wrong++
		l.found("rule %s got what nobody has put: %.200q", rule, body)
		return
	}
	n := *e.Detail.N
	for _, r := range l.rules {
		if r.name == rule && !r.matches(n) {
			l.wrong++
			l.found("rule %s got event %d, which it does not match", rule, n)
		}
	}
	if of[n] == 0 {
		l.came[rule]++
	} else {
		l.repeated[rule]++
	}
	if of[n] < 255 {
		of[n]++
	}
}

// arrived is how many events have arrived for a rule, refused ones included.
func (l *busLedger) arrived(rule string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	// What is refused will not come, and must not be waited for.
	return l.came[rule] + l.refusedN
}

// answers is how many events have been answered.
func (l *busLedger) answers() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answeredN
}

// moved counts answers and arrivals.
func (l *busLedger) moved() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events
}

// idle is how long nothing has been answered or has arrived.
func (l *busLedger) idle() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.latest)
}

// missing is how many deliveries of accepted events have not arrived.
func (l *busLedger) missing() int { return l.close().lost }

// A busVerdict is what a ledger has found.
type busVerdict struct {
	rules                                              []ruleVerdict
	accepted, refused, lost, sneaked, misjudged, wrong int
	first                                              string
}

type ruleVerdict struct {
	name                      string
	wanted, arrived, repeated int // arrived of those that are wanted
}

// close returns what was found so far.
func (l *busLedger) close() busVerdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := busVerdict{misjudged: l.misjudged, wrong: l.wrong}
	for _, a := range l.answer {
		switch a {
		case acceptedOnce:
			v.accepted++
		case refusedOnce:
			v.refused++
		}
	}
	for _, r := range l.rules {
		one := ruleVerdict{name: r.name, repeated: l.repeated[r.name]}
		for n, a := range l.answer {
			came := l.arrivals[r.name][n] > 0
			switch {
			case a == acceptedOnce && r.matches(n):
				one.wanted++
				if came {
					one.arrived++
				} else if v.first == "" {
					v.first = fmt.Sprintf("rule %s has not got event %d", r.name, n)
				}
			case a == refusedOnce && came:
				v.sneaked++
				l.found("rule %s got event %d, which was refused", r.name, n)
			}
		}
		v.lost += one.wanted - one.arrived
		v.rules = append(v.rules, one)
	}
	if l.first != "" {
		v.first = l.first
	}
	return v
}
