package aws

import (
	"encoding/json"
	"reflect"
	"testing"
)

type sample struct {
	Name  *string
	Limit *number
	Tags  map[string]string
	List  []sample
	Inner *struct {
		Size int `json:"size"`
	}
	Kept json.RawMessage
}

func TestNamesOfMembersAreTakenAsTheyAre(t *testing.T) {
	for in, want := range map[string]string{
		`{"Name":"a","name":"b","NAME":"c"}`:                        `{"Name":"a"}`,
		`{"name":"b"}`:                                              `{}`,
		`{"limit":"no number"}`:                                     `{}`,
		`{"Inner":{"Size":1,"size":2}}`:                             `{"Inner":{"size":2}}`,
		`{"List":[{"name":"x","Name":"y"},{"list":[]}]}`:            `{"List":[{"Name":"y"},{}]}`,
		`{"Tags":{"name":"a","Name":"b"},"Kept":{"name":1}}`:        `{"Tags":{"name":"a","Name":"b"},"Kept":{"name":1}}`,
		`{"Other":{"name":1},"List":null,"Inner":null,"Name":null}`: `{}`,
	} {
		var got, exact sample
		if err := unmarshal([]byte(in), &got); err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if err := json.Unmarshal([]byte(want), &exact); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, exact) {
			t.Errorf("%s: got %+v, want what %s is", in, got, want)
		}
	}
	for _, in := range []string{`{"Name":1}`, `[]`, `{"List":{}}`, `{`, `{"Inner":{"size":"x"}}`} {
		var got, plain sample
		err, want := unmarshal([]byte(in), &got), json.Unmarshal([]byte(in), &plain)
		if err == nil || err.Error() != want.Error() {
			t.Errorf("%s: got %v, want %v", in, err, want)
		}
	}
}
