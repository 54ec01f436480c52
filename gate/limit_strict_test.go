package gate

import (
	"errors"
	"testing"
	"time"
)

// strict is a plan with a strict quota that nobody has used.
func strict(limit int64, unit string) UsagePlan {
	plan := fresh(limit, unit)
	plan.Quota.Mode = quotaStrict
	return plan
}

func TestStrictQuotaIsHeldExactlyByReplicas(t *testing.T) {
	const limit, replicas, callers = 90, 3, 8
	c := testCluster(t)
	plan := strict(limit, "")
	var list []*Limits
	for range replicas {
		list = append(list, process(t, c, plan))
	}
	if n := passedBy(t, list, callers); n != limit {
		t.Errorf("%d passed of %d", n, limit)
	}
}

func TestStrictQuotaLosesNothingWithItsProcess(t *testing.T) {
	c := testCluster(t)
	plan := strict(10, "")
	first := process(t, c, plan)
	for i := range 7 {
		if _, err := enter(t, first); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	// The process dies without a word.
	first.plans.ex.table.Load().Close()
	first.plans.close()
	second := process(t, c, plan)
	passed := 0
	for range 10 {
		if _, err := enter(t, second); err == nil {
			passed++
		}
	}
	if passed != 3 {
		t.Errorf("%d of the 3 left have passed", passed)
	}
}

func TestStrictQuotaRefundsAndReads(t *testing.T) {
	c := testCluster(t)
	plan := strict(100, quotaBytes)
	a, b := process(t, c, plan), process(t, c, plan)
	v, err := enter(t, a)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.spend(t.Context(), quotaBytes, 80); err != nil {
		t.Fatal(err)
	}
	other, err := enter(t, b)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.spend(t.Context(), quotaBytes, 80); Classify(err) != Throttled {
		t.Fatalf("160 of 100: %v", err)
	}
	v.Failed(&Error{Invalid, "no"}, 400)
	for end := time.Now().Add(time.Minute); used(t, b).Used != 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("a refused call has used %d", used(t, b).Used)
		}
	}
	// What a read has used is known to others as soon as it is written.
	v.count(quotaBytes, 150)
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if err := other.left(t.Context(), quotaBytes); Classify(err) == Throttled {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a read passes although more is used than there is")
		}
	}
}

func TestStrictQuotaWithoutKafka(t *testing.T) {
	c := testCluster(t)
	l := process(t, c, strict(10, ""))
	l.Close()
	v := l.Visit("POST /topics/{}", "", brokenAddr, nil, false)
	_, err := v.Enter(t.Context(), Principal{Name: "User:acme", KeyID: "acme"}, false)
	var limited *Limited
	if errors.As(err, &limited) || Classify(err) != Unavailable {
		t.Errorf("got %v", err)
	}
}
