package kafka

import (
	"slices"
	"testing"
)

func TestFurtherClustersAreValidated(t *testing.T) {
	var got []string
	Config{Brokers: []string{"a:1"}, Clusters: []Further{
		{Name: "one", Brokers: []string{"b:1"}},
		{Name: "one", Brokers: []string{"b:1", "nothing"}},
		{Name: "a b", Brokers: nil},
	}}.Validate(func(path, _ string) { got = append(got, path) })
	want := []string{"clusters[1].name", "clusters[1].brokers[1]", "clusters[2].name", "clusters[2].brokers"}
	if !slices.Equal(got, want) {
		t.Errorf("problems with %v, want %v", got, want)
	}
}
