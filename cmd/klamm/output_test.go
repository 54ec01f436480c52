package main

import "testing"

func TestNumbersInYAML(t *testing.T) {
	for in, want := range map[string]string{
		`{"b":1795364000.25,"a":1795364000.0}`:    "b: 1795364000.25\na: 1795364000\n",
		`[9007199254740993,-0.5,12345678]`:        "- 9007199254740993\n- -0.5\n- 12345678\n",
		`{"text":"1.5","list":[],"none":null}`:    "text: \"1.5\"\nlist: []\nnone: null\n",
		`{"nested":{"times":[{"at":1.795e+09}]}}`: "nested:\n  times:\n  - at: 1795000000\n",
	} {
		if got, err := asYAML([]byte(in)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", in, got, err, want)
		}
	}
}
