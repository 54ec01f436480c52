package klamm_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/waittest"
)

type topicShown struct {
	Topic       string
	Replication int
	Records     int64
	Troubled    int
	Partitions  []struct {
		Partition, Leader int32
		Replicas          []int32
		InSync            []int32 `json:"in_sync"`
		Start, End        int64
	}
	Settings []struct {
		Name    string
		Value   *string
		Default bool
	}
}

func TestTopics(t *testing.T) {
	k := start(t, &receiver{})
	base := fmt.Sprintf("topics-%d-", time.Now().UnixNano())
	create := func(body string) (int, string) {
		status, _, text := k.ask("POST", "/topics", body)
		return status, text
	}
	if status, _, text := k.ask("POST", "/topics?dry_run=true", `{"topic":"`+base+`a","partitions":3}`); status != http.StatusOK || !strings.Contains(text, `"created":false`) || !strings.Contains(text, `"partitions":3`) {
		t.Fatal(status, text)
	}
	for _, name := range []string{"a", "b", "c"} {
		if status, text := create(`{"topic":"` + base + name + `","partitions":3,"settings":{"retention.ms":3600000,"cleanup.policy":"delete"}}`); status != http.StatusCreated || text != `{"created":true,"topic":"`+base+name+`"}` {
			t.Fatal(status, text)
		}
	}
	if status, text := create(`{"topic":"` + base + `a"}`); status != http.StatusConflict || !strings.Contains(text, "already exists") {
		t.Errorf("a second one: %d %s", status, text)
	}
	names := func(query string) (all []string, next string) {
		var list struct {
			Topics []struct {
				Topic                             string
				Partitions, Replication, Troubled int
			}
			Next string
		}
		k.want(&list, "GET", "/topics?prefix="+base+query, "")
		for _, one := range list.Topics {
			if one.Partitions != 3 || one.Replication < 1 || one.Troubled != 0 {
				t.Errorf("%+v", one)
			}
			all = append(all, strings.TrimPrefix(one.Topic, base))
		}
		return all, list.Next
	}
	waittest.Until(t, "all topics are listed", func() bool { all, next := names(""); return strings.Join(all, "") == "abc" && next == "" })
	if all, next := names("&limit=2"); strings.Join(all, "") != "ab" || next != base+"b" {
		t.Errorf("the first two: %v, next %q", all, next)
	}
	if all, next := names("&limit=2&after=" + base + "b"); strings.Join(all, "") != "c" || next != "" {
		t.Errorf("the rest: %v, next %q", all, next)
	}
	if all, next := names("&topic=" + base + "b"); strings.Join(all, "") != "b" || next != "" {
		t.Errorf("one by its name: %v, next %q", all, next)
	}
	for _, none := range []string{base, base + "d", "no%2Ftopic", "..", k.pipe} { // the last one does not begin like the others
		if all, next := names("&topic=" + none); len(all) != 0 || next != "" {
			t.Errorf("topic %s: %v, next %q, want none", none, all, next)
		}
	}

	k.produce("x", "y")
	var shown topicShown
	waittest.Until(t, "the records are there", func() bool { k.want(&shown, "GET", "/topics/PIPE", ""); return shown.Records == 2 })
	if shown.Topic != k.pipe || len(shown.Partitions) != 1 || shown.Partitions[0].End != 2 || len(shown.Partitions[0].Replicas) == 0 || len(shown.Partitions[0].InSync) == 0 {
		t.Errorf("%+v", shown)
	}
	k.want(&shown, "GET", "/topics/"+base+"a", "")
	found := map[string]string{}
	for _, s := range shown.Settings {
		if s.Value != nil && !s.Default {
			found[s.Name] = *s.Value
		}
	}
	if found["retention.ms"] != "3600000" {
		t.Errorf("settings: %v", found)
	}

	for _, name := range []string{"a", "b", "c"} {
		if text := k.want(nil, "DELETE", "/topics/"+base+name, ""); text != `{"deleted":true,"topic":"`+base+name+`"}` {
			t.Error(text)
		}
	}
	waittest.Until(t, "they are gone", func() bool { all, _ := names(""); return len(all) == 0 })
}

func TestWrongCallsAboutTopics(t *testing.T) {
	k := start(t, &receiver{})
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"one that is not there", "GET", "/topics/nobody", "", 404, `no such topic: \"nobody\"`},
		{"one that cannot be", "GET", "/topics/a%20b", "", 404, `no such topic`},
		{"a delete of nothing", "DELETE", "/topics/nobody", "", 404, `no such topic`},
		{"no name", "POST", "/topics", `{}`, 400, "the name of the new topic"},
		{"a name that cannot be", "POST", "/topics", `{"topic":"a b"}`, 400, "from 1 to 249"},
		{"too few partitions", "POST", "/topics", `{"topic":"a","partitions":-1}`, 400, "partitions: want"},
		{"too many replicas", "POST", "/topics", `{"topic":"a","replication":70000}`, 400, "replication: want"},
		{"no number", "POST", "/topics", `{"topic":"a","partitions":"3"}`, 400, "partitions cannot be a string"},
		{"an unknown member", "POST", "/topics", `{"name":"a"}`, 400, "name"},
		{"a setting without value", "POST", "/topics", `{"topic":"a","settings":{"x":null}}`, 400, "cannot be null"},
		{"a setting that is a list", "POST", "/topics", `{"topic":"a","settings":{"x":[1]}}`, 400, "want text or a number"},
		{"no dry run", "POST", "/topics?dry_run=1", `{"topic":"a"}`, 400, "true or false"},
		{"a limit of nothing", "GET", "/topics?limit=0", "", 400, "from 1 to"},
		{"another parameter", "GET", "/topics/nobody?x=1", "", 400, "no query parameter"},
		{"watching something else", "GET", "/watch?only=topics", "", 400, "status, members or pipes"},
		{"watching a pipe among others", "GET", "/watch?only=status&pipe=PIPE", "", 400, "has to name pipes"},
		{"watching a pipe that is not there", "GET", "/watch?pipe=nobody", "", 404, "no such pipe"},
		{"here or there", "GET", "/members?here=x", "", 400, "true or false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, media, text := k.ask(c.method, c.path, c.body)
			if status != c.status || media != "application/problem+json" || !strings.Contains(text, c.want) {
				t.Errorf("%d %s %s, want %d and %s", status, media, text, c.status, c.want)
			}
		})
	}
}

func TestTopicsAreGuarded(t *testing.T) {
	k := start(t, &receiver{}, &guard{})
	for _, c := range []struct {
		call   string
		status int
	}{
		{"POST /topics", 403}, {"GET /topics/PIPE", 403}, {"DELETE /topics/PIPE", 403}, {"GET /members", 403}, {"GET /watch", 403}, {"GET /watch?pipe=PIPE", 403}, {"GET /topics", 403},
	} {
		method, path, _ := strings.Cut(c.call, " ")
		if status, _, text := k.ask(method, path, `{"topic":"x"}`); status != c.status {
			t.Errorf("%s: %d %s", c.call, status, text)
		}
	}
}
