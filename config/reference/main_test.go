package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/target/all"
)

func TestReferenceIsUpToDate(t *testing.T) {
	want, err := reference()
	if err != nil {
		t.Fatal(err)
	}
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/configuration.md is out of date; run go generate ./config (-want +got):\n%s", diff)
	}
}

func TestExampleIsRight(t *testing.T) {
	_, problems := config.Load([]byte(example), all.Kinds())
	for _, p := range problems {
		t.Errorf("example.yaml:%s", p)
	}
}

// TestExampleShowsEveryKey holds new keys to a line in the example.
func TestExampleShowsEveryKey(t *testing.T) {
	for _, k := range keysOf(reflect.TypeFor[config.Config]()) {
		if !regexp.MustCompile(`(?m)(^|[ {])` + k + `:`).MatchString(example) {
			t.Errorf("the key %q is not in example.yaml", k)
		}
	}
}

// keysOf lists the keys of a section and of all sections in it.
func keysOf(t reflect.Type) (all []string) {
	switch {
	case isSecret(t):
	case isTarget(t):
		for kind, config := range kinds() {
			all = append(append(all, kind), keysOf(config)...)
		}
	case t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice:
		return keysOf(t.Elem())
	case t.Kind() == reflect.Struct:
		for _, r := range rows(t) {
			all = append(append(all, r.key), keysOf(r.field.Type)...)
		}
	}
	return all
}
