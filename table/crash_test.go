package table

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/kafka"
)

// childEnv tells the test binary that it is a writer that is going to be killed:
// brokers, topic and its name.
const childEnv = "KLAMM_TABLE_WRITER"

func TestMain(m *testing.M) {
	if child := os.Getenv(childEnv); child != "" {
		if err := writeUntilKilled(strings.Split(child, " ")); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		return
	}
	// -rapid.checks on the command line still counts.
	if err := flag.Set("rapid.checks", "10"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// writeUntilKilled counts up, creates an entry for each number, and prints a line
// for everything that was acknowledged.
func writeUntilKilled(args []string) error {
	c, err := kafka.Open(kafka.Config{Brokers: strings.Split(args[0], ",")}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	table, err := Open(context.Background(), c, args[1], Options{})
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		if err := increment(context.Background(), table); err != nil {
			return err
		}
		fmt.Println("counted")
		key := fmt.Sprintf("%s/%d", args[2], i)
		if _, err := table.Put(context.Background(), key, []byte(key), Absent); err != nil {
			return err
		}
		fmt.Println(key)
	}
}

// TestKilledWriters kills writing processes with a signal that they cannot see
// while two write at once, and counts what they were told is written.
func TestKilledWriters(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	b, topic := brokertest.Brokers(t), unique(t)
	table := open(t, b, topic, Options{})
	acknowledged := map[string]bool{}
	counted, killed := 0, 0
	for round := range 4 {
		lines := make(chan string)
		done := make(chan error)
		var children []*exec.Cmd
		for i := range 2 {
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s w%d-%d", childEnv, strings.Join(b, ","), topic, round, i))
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			children = append(children, child)
			go func() {
				for scanner := bufio.NewScanner(out); scanner.Scan(); {
					lines <- scanner.Text()
				}
				done <- child.Wait()
			}()
		}
		note := func(line string) {
			switch {
			case line == "counted":
				counted++
			case strings.HasPrefix(line, "failed"):
				t.Error(line)
			default:
				acknowledged[line] = true
			}
		}
		for range 20 + rand.IntN(20) {
			note(<-lines)
		}
		for i, child := range children {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			killed++
			for ended := false; !ended; {
				select {
				case line := <-lines:
					note(line)
				case <-done:
					ended = true
				}
			}
			if i == 0 { // the other one goes on for a while
				for range 10 {
					note(<-lines)
				}
			}
		}
		began := time.Now()
		if err := increment(t.Context(), table); err != nil {
			t.Fatal(err)
		}
		counted++
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("round %d: the next writer waited for %s", round, took)
		}
	}
	e, _ := table.Get("n")
	t.Logf("%d killed, %d increments and %d entries acknowledged, %d counted", killed, counted, len(acknowledged), len(e.Value))
	if n := len(e.Value); n < counted || n > counted+killed {
		t.Errorf("counted %d, want from %d to %d", n, counted, counted+killed)
	}
	for key := range acknowledged {
		if e, ok := table.Get(key); !ok || string(e.Value) != key {
			t.Errorf("%s was acknowledged and is lost", key)
		}
	}
	if n := len(table.List("w")); n > len(acknowledged)+killed {
		t.Errorf("%d entries, want %d and at most one for each process", n, len(acknowledged))
	}
}
