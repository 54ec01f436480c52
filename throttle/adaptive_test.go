package throttle

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestAdaptiveProtectsASlowCluster is the acceptance test of gateway-policies.md 3.6, in
// the time of a bubble: a broker that takes one call in 5 ms takes 500 ms for half a
// minute, under three times the load that it has otherwise.
func TestAdaptiveProtectsASlowCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 20
		a := NewAdaptive(most, time.Now)
		begin := time.Now()
		latency := func() time.Duration {
			if at := time.Since(begin); at >= 10*time.Second && at < 40*time.Second {
				return 500 * time.Millisecond
			}
			return 5 * time.Millisecond
		}
		var slowest time.Duration
		var first time.Time
		results := make(chan func(), 100_000)
		call := func(class Class) {
			start := time.Now()
			if err := a.Enter(t.Context(), class, 0); err != nil {
				results <- func() {
					var overload *Overload
					if !errors.As(err, &overload) || overload.Wait <= 0 {
						t.Errorf("refused with %v", err)
					}
					if first.IsZero() {
						first = start
					}
				}
				return
			}
			took := latency()
			time.Sleep(took)
			a.Leave(took, Good)
			if class == Critical {
				results <- func() { slowest = max(slowest, time.Since(start)) }
			}
		}
		run := func(seconds, each int) {
			for range seconds * 100 {
				for i := range each {
					class := Normal
					if i%10 == 0 {
						class = Critical
					}
					go call(class)
				}
				time.Sleep(10 * time.Millisecond)
				for len(results) > 0 {
					(<-results)()
				}
			}
		}
		run(10, 10) // 1000 a second, ten at once
		if !first.IsZero() || a.Stats().Limit != most {
			t.Errorf("before: %+v", a.Stats())
		}
		run(30, 30) // three times as many
		if wait := first.Sub(begin.Add(10 * time.Second)); first.IsZero() || wait > 3*time.Second {
			t.Errorf("rejects have begun after %s", wait)
		}
		if slowest > 2*time.Second {
			t.Errorf("a critical call took %s", slowest)
		}
		run(30, 30)
		if got := a.Stats().Limit; got < 0.8*most {
			t.Errorf("30 s after: a limit of %.0f", got)
		}
		time.Sleep(time.Second)
		if s := a.Stats(); s.InFlight != 0 || s.Queue != 0 {
			t.Errorf("at the end: %+v", s)
		}
	})
}

func TestAdaptiveBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAdaptive(8, time.Now)
		fails := func() error {
			err := a.Enter(t.Context(), Normal, 0)
			if err == nil {
				a.Leave(time.Millisecond, Failed)
			}
			return err
		}
		n := 0
		for ; fails() == nil && n < 1000; n++ {
			time.Sleep(100 * time.Millisecond)
		}
		if n < 100 || n > 102 {
			t.Errorf("open after %d failures, want 10 s of them", n)
		}
		time.Sleep(4 * time.Second)
		if err := fails(); err == nil {
			t.Error("let in while it is open")
		}
		time.Sleep(1100 * time.Millisecond)
		// One probe a second; three that are good close it.
		for i := range 3 {
			if err := a.Enter(t.Context(), Normal, 0); err != nil {
				t.Fatalf("probe %d: %v", i, err)
			}
			if i < 2 {
				if err := a.Enter(t.Context(), Normal, 0); err == nil {
					t.Error("two probes in a second")
				}
			}
			a.Leave(time.Millisecond, Good)
			time.Sleep(time.Second)
		}
		if a.Stats().Open {
			t.Error("still open")
		}
	})
}

func TestAdaptivePauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAdaptive(8, time.Now)
		start := time.Now()
		if err := a.Enter(t.Context(), Bulk, 300*time.Millisecond); err != nil || time.Since(start) != 300*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		a.Leave(time.Millisecond, Good)
		var overload *Overload
		if err := a.Enter(t.Context(), Critical, 5*time.Second); !errors.As(err, &overload) || overload.Wait != 5*time.Second {
			t.Errorf("got %v", err)
		}
		// Calls for other brokers do not wait, and no more sit than may go on at once.
		for range 8 {
			go func() { _ = a.Enter(t.Context(), Normal, time.Second) }()
		}
		synctest.Wait()
		if err := a.Enter(t.Context(), Normal, time.Second); !errors.As(err, &overload) || overload.Wait != time.Second {
			t.Errorf("the ninth: %v", err)
		}
		start = time.Now()
		if err := a.Enter(t.Context(), Normal, 0); err != nil || time.Since(start) != 0 {
			t.Errorf("without a pause: %v after %s", err, time.Since(start))
		}
		if q := a.Stats().Queue; q != 8 {
			t.Errorf("%d wait, want 8", q)
		}
		time.Sleep(2 * time.Second)
	})
}

// TestAdaptivePausedLowersTheLimit checks the fifth that a pause costs.
func TestAdaptivePausedLowersTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAdaptive(100, time.Now)
		for range fewSamples {
			if err := a.Enter(t.Context(), Normal, 0); err != nil {
				t.Fatal(err)
			}
			a.Leave(5*time.Millisecond, Good)
		}
		a.Paused()
		time.Sleep(window)
		if err := a.Enter(t.Context(), Normal, 0); err != nil {
			t.Fatal(err)
		}
		if s := a.Stats(); s.Gradient != 0.8 || s.Limit != 90 { // 100 * 0.8 + 10
			t.Errorf("gradient %v, limit %v", s.Gradient, s.Limit)
		}
	})
}

// TestAdaptiveUrgentGoesFirst checks that calls which wait do not keep those out that are
// more urgent, and make room for them in a full queue.
func TestAdaptiveUrgentGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAdaptive(10, time.Now)
		for range 7 {
			if err := a.Enter(t.Context(), Bulk, 0); err != nil {
				t.Fatal(err)
			}
		}
		refused := make(chan error, 20)
		for range 10 { // fill the queue
			go func() {
				if err := a.Enter(t.Context(), Bulk, 0); err != nil {
					refused <- err
				}
			}()
		}
		synctest.Wait()
		start := time.Now()
		for i, class := range []Class{Normal, Normal, Critical} {
			if err := a.Enter(t.Context(), class, 0); err != nil || time.Since(start) != 0 {
				t.Fatalf("%d: %v after %s", i, err, time.Since(start))
			}
		}
		in := make(chan error, 1)
		go func() { in <- a.Enter(t.Context(), Critical, 0) }()
		synctest.Wait()
		if len(refused) != 1 || a.Stats().Queue != 10 {
			t.Errorf("%d refused, %d wait; want 1 and 10", len(refused), a.Stats().Queue)
		}
		if err := a.Enter(t.Context(), Bulk, 0); err == nil {
			t.Error("one more bulk call was let into a full queue")
		}
		a.Leave(time.Millisecond, Good)
		if err := <-in; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
	})
}

func TestAdaptiveClasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAdaptive(10, time.Now)
		for i, class := range []Class{Bulk, Bulk, Bulk, Bulk, Bulk, Bulk, Bulk, Normal, Normal, Critical} {
			if err := a.Enter(t.Context(), class, 0); err != nil {
				t.Fatalf("%d: %v", i, err)
			}
		}
		order := make(chan Class, 2)
		for _, class := range []Class{Bulk, Critical} {
			go func() {
				if a.Enter(t.Context(), class, 0) == nil {
					order <- class
				}
			}()
			synctest.Wait()
		}
		a.Leave(time.Millisecond, Good)
		if got := <-order; got != Critical {
			t.Errorf("class %d was let in first", got)
		}
		for range 4 {
			a.Leave(time.Millisecond, Good)
		}
		if got := <-order; got != Bulk {
			t.Errorf("then class %d", got)
		}
	})
}
