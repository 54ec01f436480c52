package function

import (
	"fmt"
	"strconv"
	"testing"
	"time"
)

// What waits in a pipe is known on Linux (unread).
func TestLinesBelongToTheInvocationThatWroteThem(t *testing.T) {
	const invocations = 200
	lines := make(chan string, invocations)
	o := newOutput("f", func(l Line) { lines <- l.ID + " " + string(l.Text) })
	w, err := o.pipe()
	if err != nil {
		t.Fatal(err)
	}
	for n := range invocations {
		o.begin(strconv.Itoa(n), time.Minute)
		if _, err := fmt.Fprintf(w, "line of %d\n", n); err != nil {
			t.Fatal(err)
		}
	}
	o.settle(time.Minute)
	if got, want := string(o.tail()), fmt.Sprintf("line of %d\n", invocations-1); got != want {
		t.Errorf("the caller of the last one sees %q, want %q", got, want)
	}
	_ = w.Close()
	<-o.ended
	_ = o.reading.Close()
	for n := range invocations {
		if got, want := <-lines, fmt.Sprintf("%d line of %d", n, n); got != want {
			t.Fatalf("the log has %q, want %q", got, want)
		}
	}
}
