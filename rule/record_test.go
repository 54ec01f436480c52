package rule

import "testing"

func TestOperatorsThatAWSDoesNotHaveInFilters(t *testing.T) {
	for pattern, want := range map[string]string{
		`{"a":["wildcard","anything-but"]}`:                                         "",
		`{"wildcard":[{"prefix":"a"}],"b":[{"suffix":"a"}]}`:                        "",
		`{"a":[{"anything-but":"wildcard"}],"b":[{"anything-but":["x"]}]}`:          "",
		`{"a":[{"cidr":"10.0.0.0/8"},{"exists":false}],"b":[{"exactly":"a"}]}`:      "",
		`{"a":[1,{"wildcard":"x"}]}`:                                                "wildcard",
		`{"a":[{"wild\u0063ard" : "*"}]}`:                                           "wildcard",
		`{"a":{"b":[{ "anything-but" : { "wildcard":["*"]}}]}}`:                     "anything-but with wildcard",
		`{"a":[1],"$or":[{"b":[2]},{"c":{"d":[{"anything-but":{"prefix":"p"}}]}}]}`: "anything-but with prefix",
		`{"a":[{"wildcard":"*"}],"a":[1]}`:                                          "",
	} {
		p, err := CompileRecord([]byte(pattern))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Unlisted(); got != want {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
}
