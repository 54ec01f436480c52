package confluent2

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// An operation is what the OpenAPI document says about one.
type operation struct {
	OperationID string `json:"operationId"`
	Parameters  []struct {
		Ref string `json:"$ref"`
	} `json:"parameters"`
	Responses map[string]json.RawMessage `json:"responses"`
}

// TestOpenAPIDescribesTheRoutes compares the document with the routes, of every
// profile, both ways.
func TestOpenAPIDescribesTheRoutes(t *testing.T) {
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]operation
		Components map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(openAPI, &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		t.Fatalf("version %q, %v", doc.OpenAPI, err)
	}
	described := map[string]operation{}
	for path, operations := range doc.Paths {
		for method, o := range operations {
			described[strings.ToUpper(method)+" "+path] = o
		}
	}
	for _, profile := range append(profiles, "") {
		routes := map[string]bool{}
		for _, route := range Dialect(nil, Config{Profile: profile}).Routes {
			pattern := strings.ReplaceAll(route.Pattern, "{$}", "")
			routes[pattern] = true
			o, ok := described[pattern]
			if !ok || o.OperationID != route.Name || len(o.Responses) < 2 {
				t.Errorf("%s, profile %q: described as %q with %d responses, want %q", pattern, profile, o.OperationID, len(o.Responses), route.Name)
			}
			for _, name := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(pattern, -1) {
				named := false
				for _, p := range o.Parameters {
					named = named || p.Ref == "#/components/parameters/"+name[1]
				}
				if !named {
					t.Errorf("%s: %s is not described", pattern, name[0])
				}
			}
		}
		for pattern := range described {
			if !routes[pattern] {
				t.Errorf("%s is described, but not served with profile %q", pattern, profile)
			}
		}
	}
	for _, ref := range regexp.MustCompile(`"#/components/(\w+)/(\w+)"`).FindAllSubmatch(openAPI, -1) {
		if doc.Components[string(ref[1])][string(ref[2])] == nil {
			t.Errorf("%s is not there", ref[0])
		}
	}
}
