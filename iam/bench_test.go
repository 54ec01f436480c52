package iam

import (
	"fmt"
	"strings"
	"testing"
)

// hundred is a document of statements of the usual kind; the last one allows.
func hundred(t testing.TB) *Document {
	t.Helper()
	var b strings.Builder
	b.WriteString(`{"Version":"2012-10-17","Statement":[`)
	for i := range 99 {
		fmt.Fprintf(&b, `{"Effect":"Allow","Action":["kafka-cluster:ReadData","kafka-cluster:WriteData"],"Resource":"arn:aws:kafka:*:*:topic/*/*/team%d.*"},`, i)
	}
	b.WriteString(`{"Sid":"last","Effect":"Allow","Action":"kafka-cluster:*Data","Resource":"arn:aws:kafka:*:*:topic/*/*/mine.*","Condition":{"StringEquals":{"aws:username":"alice"}}}]}`)
	d, err := Parse([]byte(b.String()), Identities)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func BenchmarkHundredStatements(b *testing.B) {
	set, err := NewSet(ownAccount, []*Policy{{Name: "many", Kind: Identities, Attach: []string{"User:alice"}, Document: hundred(b)}})
	if err != nil {
		b.Fatal(err)
	}
	q := requestOf(b, []string{"ask", "alice", "kafka-cluster:WriteData", topicARN + "/mine.x"})
	b.ReportAllocs()
	for b.Loop() {
		if d := set.Decide(&q); !d.Allowed() {
			b.Fatal(d)
		}
	}
}

func BenchmarkTenThousandPolicies(b *testing.B) {
	var all []*Policy
	for i := range 10_000 {
		d, err := Parse(fmt.Appendf(nil, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"kafka-cluster:WriteData","Resource":"topic:t%d"}}`, i), Identities)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, &Policy{Name: "p", Kind: Identities, Attach: []string{fmt.Sprint("User:u", i)}, Document: d})
	}
	set, err := NewSet(ownAccount, all)
	if err != nil {
		b.Fatal(err)
	}
	q := requestOf(b, []string{"ask", "alice", "kafka-cluster:WriteData", topicARN + "/t77"})
	q.Identity.Name = "User:u77"
	b.ReportAllocs()
	for b.Loop() {
		if d := set.Decide(&q); !d.Allowed() {
			b.Fatal(d)
		}
	}
}
