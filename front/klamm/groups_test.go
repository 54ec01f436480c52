package klamm_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/waittest"
)

type groupShown struct {
	Group, Type, State string
	Lag                int64
	Members            []struct {
		ClientID   string `json:"client_id"`
		Host       string
		Partitions []struct {
			Topic     string
			Partition int32
		}
	}
	Partitions []struct {
		Topic               string
		Partition           int32
		Committed, End, Lag *int64
		LagSeconds          *float64 `json:"lag_seconds"`
		Holder              string
	}
}

// committed makes a group that has read some records of each partition of a topic.
func (k *klammd) committed(topic string, offsets ...int64) string {
	k.t.Helper()
	group := fmt.Sprintf("group-%d", time.Now().UnixNano())
	var at []kafka.Commit
	for i, o := range offsets {
		at = append(at, kafka.Commit{TopicPartition: kafka.TopicPartition{Topic: topic, Partition: int32(i)}, Offset: o})
	}
	if err := k.cluster.CommitOffsets(k.t.Context(), group, at); err != nil {
		k.t.Fatal(err)
	}
	return group
}

func TestGroups(t *testing.T) {
	k := start(t, &receiver{})
	topic, first := k.fill(30)
	group := k.committed(topic, 10, 9, 4)
	var shown groupShown
	waittest.Until(t, "the group is there", func() bool {
		status, _, text := k.ask("GET", "/groups/"+group, "")
		if status != http.StatusOK || json.Unmarshal([]byte(text), &shown) != nil {
			return false
		}
		return len(shown.Partitions) == 3
	})
	if shown.Lag != 7 || shown.State != "EMPTY" || len(shown.Members) != 0 {
		t.Errorf("%+v", shown)
	}
	age := time.Since(first).Seconds()
	for i, want := range []struct {
		committed, lag int64
		least, most    float64
	}{{10, 0, 0, 0}, {9, 1, age - 60, age + 60}, {4, 6, age - 60, age + 60}} {
		p := shown.Partitions[i]
		if p.Topic != topic || p.Partition != int32(i) || *p.Committed != want.committed || *p.End != 10 || *p.Lag != want.lag || p.LagSeconds == nil || *p.LagSeconds < want.least || *p.LagSeconds > want.most || p.Holder != "" {
			t.Errorf("partition %d: %s", i, cmp.Diff(p, nil))
		}
	}
	var list struct {
		Groups []struct {
			Group, State string
			Members      int
			Topics       []string
			Lag          int64
		}
		Next string
	}
	k.want(&list, "GET", "/groups?prefix="+group, "")
	if len(list.Groups) != 1 || list.Groups[0].Lag != 7 || list.Groups[0].State != "EMPTY" || list.Groups[0].Topics[0] != topic || list.Next != "" {
		t.Errorf("%+v", list)
	}
	other := k.committed(topic, 1)
	k.want(&list, "GET", "/groups?prefix=group-&limit=1", "")
	if len(list.Groups) != 1 || list.Next != list.Groups[0].Group {
		t.Errorf("the first of them: %+v", list)
	}
	elsewhere, _ := k.fill(1)
	third := k.committed(elsewhere, 1)
	for query, want := range map[string]string{"topic=" + topic: group + " " + other, "topic=" + elsewhere: third, "topic=" + topic + "&after=" + group: other, "topic=" + topic + "&limit=1": group + " and more", "topic=" + topic + "&prefix=" + other: other, "topic=nobody": ""} {
		list.Groups, list.Next = nil, ""
		k.want(&list, "GET", "/groups?"+query, "")
		var got []string
		for _, g := range list.Groups {
			got = append(got, g.Group)
		}
		if list.Next != "" {
			got = append(got, "and more")
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s: got %q, want %q", query, text, want)
		}
	}
	list.Groups, list.Next = nil, ""
	k.want(&list, "GET", "/groups?prefix="+other+"&after="+other, "")
	if len(list.Groups) != 0 {
		t.Errorf("behind the last: %+v", list)
	}
	if text := k.want(nil, "DELETE", "/groups/"+group, ""); text != `{"deleted":true,"group":"`+group+`"}` {
		t.Error(text)
	}
	waittest.Until(t, "the group is gone", func() bool {
		status, _, text := k.ask("GET", "/groups/"+group, "")
		return status == http.StatusNotFound && strings.Contains(text, "no such consumer group")
	})
	if status, _, text := k.ask("DELETE", "/groups/"+group, ""); status != http.StatusNotFound {
		t.Errorf("once more: %d %s", status, text)
	}
}

func TestGroupSeek(t *testing.T) {
	k := start(t, &receiver{})
	topic, first := k.fill(30)
	group := k.committed(topic, 10, 9)
	moves := func(body string) string {
		k.t.Helper()
		var out struct {
			DryRun bool `json:"dry_run"`
			Moves  []struct {
				Topic     string
				Partition int32
				From      *int64
				To, Lag   int64
			}
		}
		k.want(&out, "POST", "/groups/"+group+"/seek", `{"topic":"`+topic+`",`+body+`}`)
		var b strings.Builder
		if out.DryRun {
			b.WriteString("dry")
		}
		for _, m := range out.Moves {
			from := int64(-1)
			if m.From != nil {
				from = *m.From
			}
			fmt.Fprintf(&b, " %d:%d>%d(%d)", m.Partition, from, m.To, m.Lag)
		}
		return strings.TrimSpace(b.String())
	}
	for _, c := range []struct{ name, body, want string }{
		{"to the beginning", `"to":"beginning"`, "dry 0:10>0(10) 1:9>0(10) 2:-1>0(10)"},
		{"to the end", `"to":"end","dry_run":true`, "dry 0:10>10(0) 1:9>10(0) 2:-1>10(0)"},
		{"to a time", `"to":"` + first.Add(10*time.Second).UTC().Format(time.RFC3339) + `"`, "dry 0:10>4(6) 1:9>3(7) 2:-1>3(7)"},
		{"an hour and more ago", `"to":"-2h"`, "dry 0:10>0(10) 1:9>0(10) 2:-1>0(10)"},
		{"to an offset", `"to":"3","partitions":[1]`, "dry 1:9>3(7)"},
		{"to an offset beyond the end", `"to":"300","partitions":[0]`, "dry 0:10>10(0)"},
		{"back", `"to":"-2"`, "dry 0:10>8(2) 1:9>7(3)"},
		{"on", `"to":"+1"`, "dry 0:10>10(0) 1:9>10(0)"},
		{"really", `"to":"5","dry_run":false`, "0:10>5(5) 1:9>5(5) 2:-1>5(5)"},
		{"and it is there", `"to":"end"`, "dry 0:5>10(0) 1:5>10(0) 2:5>10(0)"},
	} {
		if got := moves(c.body); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	for _, c := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"no topic", `{"to":"end"}`, 400, "topic: want"},
		{"another topic", `{"topic":"nobody","to":"end"}`, 404, "no such topic"},
		{"another partition", `{"topic":"` + topic + `","to":"end","partitions":[7]}`, 404, ""},
		{"a partition twice", `{"topic":"` + topic + `","to":"end","partitions":[1,1]}`, 400, "each once"},
		{"nowhere", `{"topic":"` + topic + `","to":"nowhere"}`, 400, "to: want"},
		{"without to", `{"topic":"` + topic + `"}`, 400, "to: want"},
	} {
		if status, _, text := k.ask("POST", "/groups/"+group+"/seek", c.body); status != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s: %d %s, want %d and %s", c.name, status, text, c.status, c.want)
		}
	}
}

func TestGroupWithMembersIsLeftAlone(t *testing.T) {
	k := start(t, &receiver{})
	topic, _ := k.fill(3)
	group := k.committed(topic, 0, 0, 0)
	client, err := kgo.NewClient(kgo.SeedBrokers(k.cluster.Brokers()...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ClientID("reader-7"), kgo.DisableAutoCommit())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	go func() {
		for t.Context().Err() == nil && !client.PollFetches(t.Context()).IsClientClosed() {
		}
	}()
	var shown groupShown
	waittest.Until(t, "the member has all partitions", func() bool {
		k.want(&shown, "GET", "/groups/"+group, "")
		return len(shown.Members) == 1 && len(shown.Members[0].Partitions) == 3
	})
	if m := shown.Members[0]; m.ClientID != "reader-7" || m.Host == "" || strings.HasPrefix(m.Host, "/") {
		t.Errorf("%+v", m)
	}
	for _, p := range shown.Partitions {
		if p.Holder != "reader-7" {
			t.Errorf("%+v", p)
		}
	}
	if status, _, text := k.ask("POST", "/groups/"+group+"/seek", `{"topic":"`+topic+`","to":"end"}`); status != http.StatusOK {
		t.Errorf("a dry run: %d %s", status, text)
	}
	for _, call := range []string{"POST /groups/" + group + "/seek", "DELETE /groups/" + group} {
		method, path, _ := strings.Cut(call, " ")
		body := ""
		if method == "POST" {
			body = `{"topic":"` + topic + `","to":"end","dry_run":false}`
		}
		if status, _, text := k.ask(method, path, body); status != http.StatusConflict || !strings.Contains(text, "reader-7 on ") {
			t.Errorf("%s: %d %s", call, status, text)
		}
	}
}

func TestInstances(t *testing.T) {
	k := ruled(t)
	g := k.gate
	who := gate.Principal{Name: "User:ann"}
	for _, name := range []string{"i2", "i1"} {
		if _, err := g.CreateConsumer(t.Context(), who, k.pipe+"-rest", name, gate.ConsumerConfig{Format: "json", Idle: time.Hour, Timeout: time.Second, Reset: kafka.ResetEarliest}); err != nil {
			t.Fatal(err)
		}
	}
	u, err := g.UseConsumer(t.Context(), who, k.pipe+"-rest", "i1")
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Assign(t.Context(), []kafka.TopicPartition{{Topic: k.pipe}}); err != nil {
		t.Fatal(err)
	}
	u.Release()
	type instance struct {
		Group, Instance, Owner string
		ByHand                 bool `json:"by_hand"`
		Here, Alive            bool
		Partitions             []struct {
			Topic     string
			Partition int32
		}
		IdleSeconds   float64 `json:"idle_seconds"`
		Used, Expires time.Time
	}
	var list struct {
		Instances []instance
		Next      string
	}
	k.want(&list, "GET", "/instances?prefix="+k.pipe, "")
	if len(list.Instances) != 2 {
		t.Fatalf("%+v", list)
	}
	one := list.Instances[0]
	if one.Group != k.pipe+"-rest" || one.Instance != "i1" || one.Owner != "User:ann" || !one.ByHand || !one.Here || !one.Alive || len(one.Partitions) != 1 || one.Partitions[0].Topic != k.pipe ||
		one.IdleSeconds != 3600 || one.Expires.Sub(one.Used) != time.Hour {
		t.Errorf("%+v", one)
	}
	k.want(&list, "GET", "/instances?limit=1&prefix="+k.pipe, "")
	if len(list.Instances) != 1 || list.Next != k.pipe+"-rest/i1" {
		t.Errorf("the first: %+v", list)
	}
	list.Instances = nil
	k.want(&list, "GET", "/instances?prefix="+k.pipe+"&after="+k.pipe+"-rest/i1", "")
	if len(list.Instances) != 1 || list.Instances[0].Instance != "i2" || list.Instances[0].ByHand {
		t.Errorf("the second: %+v", list)
	}
}
