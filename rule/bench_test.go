package rule

import (
	"fmt"
	"strings"
	"testing"
)

// Sets of patterns are measured by package bench.

func mustCompile(tb testing.TB, pattern string) *Pattern {
	tb.Helper()
	p, err := Compile([]byte(pattern))
	if err != nil {
		tb.Fatalf("%s: %v", pattern, err)
	}
	return p
}

func BenchmarkPattern(b *testing.B) {
	event := fmt.Appendf(nil, `{"source":"shop","detail":{"state":"paid","total":120.5,"lines":[%s],"note":"%s"}}`, many(5, same(`{"sku":"A-1","n":2}`)), strings.Repeat("x", 500))
	for _, pattern := range []string{`{"detail":{"state":["paid"]}}`, `{"source":[{"prefix":"s"}],"detail":{"total":[{"numeric":[">",1000]}]}}`} {
		b.Run(pattern, func(b *testing.B) {
			p := mustCompile(b, pattern)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Match(event); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	pattern := []byte(`{"source":[{"prefix":"kafka-connect."}],"detail":{"topic":["orders","refunds"],"value":{"amount":[{"numeric":[">=",100]}],"test":[{"exists":false}]}}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(pattern); err != nil {
			b.Fatal(err)
		}
	}
}
