package iam

import (
	"strings"
	"testing"
)

func TestWrongDocuments(t *testing.T) {
	statement := func(members string) string {
		return `{"Version":"2012-10-17","Statement":[{"Sid":"First","Effect":"Allow","Action":"*","Resource":"*"},{` + members + `}]}`
	}
	for _, c := range []struct {
		name, in string
		kind     Kind
		want     []string // words of the error
	}{
		{"no JSON", `{"Version"`, Identities, []string{"JSON"}},
		{"two documents", `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}} {}`, Identities, []string{"behind"}},
		{"a list", `[]`, Identities, []string{"object"}},
		{"no statement", `{"Version":"2012-10-17"}`, Identities, []string{"Statement"}},
		{"statements that are none", `{"Statement":"*"}`, Identities, []string{"Statement"}},
		{"unknown version", `{"Version":"2013-01-01","Statement":[]}`, Identities, []string{"Version"}},
		{"unknown member", `{"Statements":[]}`, Identities, []string{"Statements"}},
		{"duplicate member", `{"Statement":{"Effect":"Deny","Effect":"Allow","Action":"*","Resource":"*"}}`, Identities, []string{"Effect", "twice"}},
		{"not UTF-8", "{\"Statement\":\"\xff\"}", Identities, []string{"UTF-8"}},
		{"too deep", strings.Repeat(`[`, 20), Identities, []string{"within"}},
		{"misspelled element", statement(`"Sid":"Odd","Efect":"Allow","Action":"*","Resource":"*"`), Identities, []string{"statement 2", "Odd", "Efect"}},
		{"no effect", statement(`"Action":"*","Resource":"*"`), Identities, []string{"statement 2", "Effect"}},
		{"effect in lower case", statement(`"Effect":"allow","Action":"*","Resource":"*"`), Identities, []string{"Effect", "Allow"}},
		{"no action", statement(`"Effect":"Allow","Resource":"*"`), Identities, []string{"Action"}},
		{"both actions", statement(`"Effect":"Allow","Action":"*","NotAction":"kafka-cluster:Delete*","Resource":"*"`), Identities, []string{"NotAction"}},
		{"both resources", statement(`"Effect":"Allow","Action":"*","Resource":"*","NotResource":"topic:x"`), Identities, []string{"NotResource"}},
		{"no resource", statement(`"Effect":"Allow","Action":"*"`), Identities, []string{"Resource"}},
		{"empty list", statement(`"Effect":"Allow","Action":[],"Resource":"*"`), Identities, []string{"Action"}},
		{"a number for an action", statement(`"Effect":"Allow","Action":7,"Resource":"*"`), Identities, []string{"Action"}},
		{"vendor with wildcard", statement(`"Effect":"Allow","Action":"kafka-*:Read","Resource":"*"`), Identities, []string{"kafka-*", "Action"}},
		{"action without vendor", statement(`"Effect":"Allow","Action":"ReadData","Resource":"*"`), Identities, []string{"ReadData"}},
		{"principal in an identity policy", statement(`"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"`), Identities, []string{"Principal"}},
		{"principal in a boundary", statement(`"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"`), Boundaries, []string{"Principal"}},
		{"both principals", statement(`"Effect":"Deny","Principal":"*","NotPrincipal":"*","Action":"*","Resource":"*"`), Resources, []string{"NotPrincipal"}},
		{"part of a principal", statement(`"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/al*"},"Action":"*","Resource":"*"`), Resources, []string{"Principal", "al*"}},
		{"no principal at all", statement(`"Effect":"Allow","Principal":{},"Action":"*","Resource":"*"`), Resources, []string{"Principal"}},
		{"principal of unknown kind", statement(`"Effect":"Allow","Principal":{"GCP":"x"},"Action":"*","Resource":"*"`), Resources, []string{"GCP"}},
		{"principal that is none", statement(`"Effect":"Allow","Principal":{"Klamm":"alice"},"Action":"*","Resource":"*"`), Resources, []string{"alice"}},
		{"unknown operator", statement(`"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqual":{"aws:username":"x"}}`), Identities, []string{"StringEqual", "Condition"}},
		{"unknown operator without keys", statement(`"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqual":{}}`), Identities, []string{"StringEqual"}},
		{"Null with IfExists", statement(`"Effect":"Allow","Action":"*","Resource":"*","Condition":{"NullIfExists":{"a":"true"}}`), Identities, []string{"NullIfExists"}},
		{"Null with another value", statement(`"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"a":"yes"}}`), Identities, []string{"Null", "yes"}},
		{"no value", statement(`"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringLike":{"a":[]}}`), Identities, []string{"StringLike"}},
		{"null", statement(`"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringLike":{"a":null}}`), Identities, []string{"StringLike"}},
		{"open variable", statement(`"Effect":"Allow","Action":"*","Resource":"topic:${aws:username"`), Identities, []string{"Resource", "}"}},
		{"empty variable", statement(`"Effect":"Allow","Action":"*","Resource":"topic:${}"`), Identities, []string{"Resource"}},
		{"default without quotes", statement(`"Effect":"Allow","Action":"*","Resource":"topic:${a, b}"`), Identities, []string{"quotes"}},
		{"too large", statement(`"Effect":"Allow","Action":"*","Resource":"` + strings.Repeat("x", MaxDocument) + `"`), Identities, []string{"65536"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.in), c.kind)
			if err == nil {
				t.Fatal("it was accepted")
			}
			for _, word := range c.want {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("got %q, want %q in it", err, word)
				}
			}
		})
	}
}

func TestOddDocumentsAreWarnedOf(t *testing.T) {
	for _, c := range []struct {
		name, in string
		kind     Kind
		want     string // empty: no warning
	}{
		{"nothing odd", `{"Effect":"Allow","Action":"kafka-cluster:ReadData","Resource":"topic:x"}`, Identities, ""},
		{"padded", `{"Effect":"Allow","Action":"kafka-cluster:ReadData","Resource":"arn:aws:kafka:*:*:topic/*/*/x"}`, Identities, ""},
		{"AWS's own", `{"Effect":"Allow","Action":"lambda:InvokeFunction","Resource":"arn:aws:lambda:*:*:function:f"}`, Identities, ""},
		{"NotPrincipal with Allow", `{"Effect":"Allow","NotPrincipal":{"AWS":"111122223333"},"Action":"*","Resource":"*"}`, Resources, "NotPrincipal"},
		{"ForAllValues with Allow", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAllValues:StringEquals":{"klamm:Groups":"g"}}}`, Identities, "Null"},
		{"denial with a variable", `{"Effect":"Deny","Action":"*","Resource":"topic:${aws:username}"}`, Identities, "aws:username"},
		{"denial with a variable and a default", `{"Effect":"Deny","Action":"*","Resource":"topic:${aws:username, 'x'}"}`, Identities, ""},
		{"a resource of another kind", `{"Effect":"Allow","Action":"kafka-cluster:ReadData","Resource":"group:x"}`, Identities, "group:x"},
		{"an ARN of another kind", `{"Effect":"Allow","Action":"kafka-cluster:ReadData","Resource":"arn:aws:kafka:*:*:group/*"}`, Identities, "group/"},
		{"no statements", `[]`, Identities, "no statements"},
		{"a number that is none", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"NumericEquals":{"klamm:RecordCount":"many"}}}`, Identities, "many"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := Parse([]byte(`{"Version":"2012-10-17","Statement":`+c.in+`}`), c.kind)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(d.Warnings(), "\n")
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q in it", got, c.want)
			}
		})
	}
}

func TestByteOrderMark(t *testing.T) {
	if _, err := Parse([]byte("\ufeff{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}}"), Identities); err != nil {
		t.Error(err)
	}
}

func TestAttachments(t *testing.T) {
	for _, c := range []struct {
		name, in string
		kind     Kind
		want     bool
	}{
		{"user", "User:alice", Identities, true},
		{"user of a boundary", "User:alice", Boundaries, true},
		{"role ARN", "arn:aws:iam::222222222222:role/consumer", Identities, true},
		{"whole account", "arn:aws:iam::222222222222:root", Identities, false},
		{"no prefix", "alice", Identities, false},
		{"topic to a caller", "topic:x", Identities, false},
		{"gateway", "gateway", Resources, true},
		{"topics", "topic:a.*", Resources, true},
		{"stage", "stage:prod", Resources, true},
		{"nobody's", "User:alice", Resources, false},
		{"no kind", "gateway", Kind("identities"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := CheckAttach(c.kind, c.in); (err == nil) != c.want {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestActions(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     string // empty: none
	}{
		{"known", "kafka-cluster:ReadData", "kafka-cluster:ReadData"},
		{"case", "KAFKA-CLUSTER:readdata", "kafka-cluster:ReadData"},
		{"of an AWS API", "lambda:InvokeFunction", "lambda:InvokeFunction"},
		{"misspelled", "kafka-cluster:ReadDate", ""},
		{"nonsense", "nonsense", ""},
		{"wildcard", "lambda:*", ""},
		{"nobody's", "other:Read", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if a, err := ParseAction(c.in); a.String() != c.want || (err == nil) != (c.want != "") {
				t.Errorf("got %q, %v", a, err)
			}
		})
	}
}
