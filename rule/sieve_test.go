package rule

import (
	"fmt"
	"testing"
)

// A sieve lets everything pass that is in the table, and little else.
func TestSieve(t *testing.T) {
	var filed table[string, int]
	var s sieve
	const n = 5_000
	for i := range n {
		name := fmt.Sprint("in ", i)
		filed = filed.with(hashText(name), name, i)
		if s.full() {
			s = newSieve(filed)
		} else {
			s = s.with(hashText(name))
		}
	}
	passed := 0
	for i := range n {
		if !s.may(hashText(fmt.Sprint("in ", i))) {
			t.Fatalf("name %d does not pass", i)
		}
		if s.may(hashText(fmt.Sprint("out ", i))) {
			passed++
		}
	}
	if passed > n/8 {
		t.Errorf("%d of %d other names pass", passed, n)
	}
	if words := len(s.bits); words*64 > 8*n*sparse {
		t.Errorf("%d words for %d names", words, n)
	}
}
