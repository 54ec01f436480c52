package gate

import (
	"fmt"
	"testing"
)

// BenchmarkAuthority decides what one produce of one record asks: may the caller call
// the route, and write to the topic. What it costs must not depend on how many others
// have policies.
func BenchmarkAuthority(b *testing.B) {
	for _, policies := range []int{1, 10_000} {
		b.Run(fmt.Sprint(policies), func(b *testing.B) {
			law := Law{Policies: []PolicyConfig{policy("group:bench", `{"Effect":"Allow","Action":["execute-api:Invoke","kafka-cluster:Connect"],"Resource":"*"},`+
				`{"Effect":"Allow","Action":["kafka-cluster:WriteData","kafka-cluster:DescribeTopic"],"Resource":"topic:bench-*"}`)}}
			for i := range policies {
				own := policy(fmt.Sprintf("User:caller-%d", i), fmt.Sprintf(`{"Effect":"Allow","Action":"kafka-cluster:ReadData","Resource":"topic:own-%d"}`, i))
				own.Name = fmt.Sprintf("own-%d", i)
				law.Policies = append(law.Policies, own)
			}
			a := newAuthority(b, law)
			who := make([]Principal, policies)
			for i := range who {
				who[i] = Principal{Name: fmt.Sprintf("User:caller-%d", i), Groups: []string{"bench"}, Scheme: SchemeAPIKey, KeyID: fmt.Sprintf("caller-%d", i)}
			}
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				p := who[n%policies]
				n++
				p.request = &Request{Method: "POST", Path: "/topics/bench-1", Pattern: "POST /topics/{topic}"}
				for _, c := range []*Call{{Principal: p, Action: Invoke, Resource: Resource{Kind: "route", Name: "POST/topics/bench-1"}}, {Principal: p, Action: WriteData, Resource: Resource{Kind: "topic", Name: "bench-1"}}} {
					if err := a.Check(b.Context(), c); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
