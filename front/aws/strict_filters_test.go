package aws_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/front/aws"
)

// TestStrictFilters has pipes refuse what AWS does not have in their filters; what there was
// before stays.
func TestStrictFilters(t *testing.T) {
	s := startWith(t, nil, func(c *aws.Config) { c.StrictFilters = true })
	topic := s.topic()
	filtered := func(patterns ...string) m {
		filters := make([]m, len(patterns))
		for i, p := range patterns {
			filters[i] = m{"Pattern": p}
		}
		body := s.create(topic, "arn:klamm:kafka:::topic/"+topic+"x", m{"DesiredState": "STOPPED"})
		body["SourceParameters"].(m)["FilterCriteria"] = m{"Filters": filters}
		return body
	}
	for pattern, want := range map[string]string{
		`{"value":{"a":[{"wildcard":"a*"}]}}`:                                                           "filters.2.member.pattern: filters of pipes do not have wildcard",
		`{"$or":[{"topic":["t"]},{"value":[1,{"anything-but":{"suffix":["x"]}}]}]}`:                     "do not have anything-but with suffix",
		`{"value":[{"anything-but":["a"]},{"cidr":"::/0"},{"prefix":{"equals-ignore-case":"a*"}}]}`:     "",
		`{"$or":[{"value":[{"suffix":"x"}]},{"key":[{"numeric":["=",1]},{"equals-ignore-case":"k"}]}]}`: "",
	} {
		name := "p" + s.topic()
		status, header, answer := s.ask("POST", "/v1/pipes/"+name, nil, filtered(`{"topic":["t"]}`, pattern))
		switch {
		case want == "" && status != 200:
			t.Errorf("%s: %d %v", pattern, status, answer)
		case want != "" && (status != 400 || header.Get("X-Amzn-Errortype") != "ValidationException" || !strings.Contains(fmt.Sprint(answer), want)):
			t.Errorf("%s: %d %v, want a ValidationException about %q", pattern, status, answer, want)
		}
		if want == "" {
			s.state(name, "STOPPED")
			update := m{"RoleArn": role, "SourceParameters": m{"FilterCriteria": m{"Filters": []m{{"Pattern": `{"value":[{"wildcard":"x"}]}`}}}}}
			if status, _, answer := s.ask("PUT", "/v1/pipes/"+name, nil, update); status != 400 {
				t.Errorf("an update with a wildcard: %d %v", status, answer)
			}
		}
	}
}
