package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFunctionsSurviveKills(t *testing.T) {
	if testing.Short() {
		t.Skip("a killed member is missed after ten seconds")
	}
	t.Parallel()
	s, out := testStage(t)
	f := &functions{stage: s, total: 2_000, size: 100, partitions: 3, klamms: 2, batch: 50, takes: 5 * time.Millisecond, kills: 1, shots: 2, seed: 1}
	if holds, err := f.run(t.Context()); !holds || err != nil {
		logs := ""
		for _, p := range s.processes {
			logs += "\n" + p.name + "\n" + tail(p.log, 4_000)
		}
		t.Fatalf("holds: %t, error: %v\n%s%s", holds, err, out, logs)
	}
	for _, want := range []string{"kill -9 of a function", "kill -9 of klamm-"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not tell of %q:\n%s", want, out)
		}
	}
}

// The proof must fail for what is lost, out of order, or left.
func TestTheProofOfFunctionsFindsWhatIsBroken(t *testing.T) {
	for _, c := range []struct {
		name    string
		mapping []int // the records that come, of 0 to 9 in two partitions
		left    int
		holds   bool
	}{
		{"all", []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 0, true},
		{"repeated", []int{0, 1, 2, 3, 2, 3, 4, 5, 6, 7, 8, 9}, 0, true},
		{"lost", []int{0, 1, 2, 3, 4, 5, 6, 7, 8}, 0, false},
		{"out of order", []int{0, 1, 2, 3, 6, 5, 4, 7, 8, 9}, 0, false},
		{"a process left", []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			f := &functions{stage: &stage{out: &out, begun: time.Now()}, total: 10, size: 30, partitions: 2, aim: make(chan chan int), crews: map[string]map[int]string{},
				ways: map[string]*ledger{byPipe: newLedger(10, 2, 30), byMapping: newLedger(10, 2, 30)}}
			url, stop, err := listen(http.HandlerFunc(f.receive))
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			for way, numbers := range map[string][]int{byPipe: {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, byMapping: c.mapping} {
				var values []string
				for _, n := range numbers {
					values = append(values, string(value(n, 30)))
				}
				if err := send(url+"/"+way+"/klamm-1", part{Values: values}); err != nil {
					t.Fatal(err)
				}
			}
			if holds := f.report(c.left); holds != c.holds {
				t.Errorf("holds: %t, want %t\n%s", holds, c.holds, &out)
			}
		})
	}
}

func TestValuesOf(t *testing.T) {
	record, _ := json.Marshal(map[string][]byte{"value": []byte("b")})
	for _, c := range []struct {
		event string
		want  []string // nil: an error
	}{
		{`["a","b"]`, []string{"a", "b"}},
		{`"a"`, []string{"a"}},
		{fmt.Sprintf(`{"eventSource":"aws:kafka","records":{"t-0":[%s,%s]}}`, record, record), []string{"b", "b"}},
		{`{}`, nil}, {`1`, nil}, {``, nil},
	} {
		got, err := valuesOf([]byte(c.event))
		if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%s: got %q, %v, want %q", c.event, got, err, c.want)
		}
	}
}
