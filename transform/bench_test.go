package transform

import (
	"fmt"
	"strings"
	"testing"
)

func BenchmarkApply(b *testing.B) {
	small := `{"topic":"orders","partition":3,"offset":42,"timestamp":1717000000123,"key":"c-7","headers":{"tenant":["acme"]},"value":{"id":7,"tags":["a"],"who":{"n":"x"}}}`
	large := `{"topic":"orders","value":{"id":7,"sku":"A-1","note":"` + strings.Repeat("some text ", 50) + `","lines":[` + strings.Repeat(`{"sku":"A-100","count":12,"price":9.95,"gift":false},`, 40) + `{"sku":"last"}],"buyer":{"name":"Kim","vip":true}}}`
	// Names and values of ever other lengths, which a processor cannot foresee.
	mixed := []byte(`{"topic":"orders","value":{"id":7,"all":[`)
	for i := range 60 {
		mixed = fmt.Appendf(mixed, `{"%s":"%s","n":%d,"%s":[%d.%d,true,null]},`, strings.Repeat("n", 1+i*i%13), strings.Repeat("v", i*i*i%23), i*i*i, strings.Repeat("k", 1+i*7%11), i, i*i)
	}
	mixed = append(mixed, `{}]}}`...)
	record := `{"eventSource":"SelfManagedKafka","topic":"orders","partition":"3","offset":42,"key":"Yy03","value":"` + b64(`{"id":7,"tags":["a"],"who":{"n":"x"}}`) + `","headers":[{"tenant":[97,99,109,101]}]}`
	for _, c := range []struct {
		name, doc string
		spec      Spec
	}{
		{"small", small, Spec{Template: `{"t": <$.topic>, "id": <$.value.id>, "who": "<$.value.who.n>"}`}},
		{"text", small, Spec{Template: `"id <$.value.id> from <$.topic>"`}},
		{"pick from 3 KB", large, Spec{Template: `{"id": <$.value.id>, "sku": <$.value.sku>, "vip": <$.value.buyer.vip>}`}},
		{"copy 3 KB", large, Spec{Template: `{"all": <$.value>}`}},
		{"wildcard in 3 KB", large, Spec{Template: `{"skus": <$.value.lines[*].sku>}`}},
		{"copy mixed 3 KB", string(mixed), Spec{Template: `{"all": <$.value>}`}},
		{"variables", small, Spec{Template: `{"p": <aws.pipes.pipe-name>, "at": <aws.pipes.event.ingestion-time>}`}},
		{"encoded", record, Spec{Template: `{"t": <$.topic>, "id": <$.value.id>}`, Encoded: true}},
		{"named", small, Spec{Template: `{"t": <t>, "id": <id>}`, InputPaths: map[string]string{"t": "$.topic", "id": "$.value.id"}}},
		{"jq", small, Spec{JQ: `{t: .topic, id: .value.id}`}},
	} {
		b.Run(strings.ReplaceAll(c.name, " ", "_"), func(b *testing.B) {
			t, err := Compile(c.spec, Vars{PipeName: "p"})
			if err != nil {
				b.Fatal(err)
			}
			doc := []byte(c.doc)
			var out []byte
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				if out, err = t.Apply(out[:0], doc, noon); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
