package aws_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
)

func TestArchives(t *testing.T) {
	s := start(t)
	name := unique("a")
	bus := eventsARN + "event-bus/" + name
	arn := eventsARN + "archive/" + name
	s.told("CreateArchive", m{"ArchiveName": name, "EventSourceArn": bus}, missing, "Event bus "+name+" does not exist.")
	s.events("CreateEventBus", m{"Name": name, "Tags": []m{{"Key": "klamm:partitions", "Value": "2"}}})
	pattern := `{ "source": ["a"] }`
	same(t, "create", without(t, s.events("CreateArchive", m{"ArchiveName": name, "EventSourceArn": bus, "EventPattern": pattern, "RetentionDays": 3, "KmsKeyIdentifier": "k"}), "CreationTime"),
		m{"ArchiveArn": arn, "State": "ENABLED"})
	if topic, err := s.cluster.Topic(t.Context(), event.ArchiveTopic(name)); err != nil || len(topic.Partitions) != 2 {
		t.Errorf("the archive's topic: %v, %v", topic, err)
	}
	s.told("CreateArchive", m{"ArchiveName": name, "EventSourceArn": bus}, taken, "Archive "+name+" already exists.")
	retention := func(want string) {
		t.Helper()
		eventually(t, "retention.ms is "+want, func() bool {
			all, err := s.cluster.Settings(t.Context(), kafka.OfTopic, event.ArchiveTopic(name))
			for _, d := range all[event.ArchiveTopic(name)] {
				if err == nil && d.Name == "retention.ms" && d.Value != nil && *d.Value == want {
					return true
				}
			}
			return false
		})
	}
	retention("259200000")
	described := m{"ArchiveArn": arn, "ArchiveName": name, "EventSourceArn": bus, "EventPattern": pattern, "State": "ENABLED", "RetentionDays": 3.0, "KmsKeyIdentifier": "k", "EventCount": 0.0}
	same(t, "describe", without(t, s.events("DescribeArchive", m{"ArchiveName": name}), "CreationTime", "SizeBytes"), described)
	same(t, "update", without(t, s.events("UpdateArchive", m{"ArchiveName": name, "Description": "d", "RetentionDays": 0}), "CreationTime"), m{"ArchiveArn": arn, "State": "ENABLED"})
	retention("-1")
	described["Description"], described["RetentionDays"] = "d", 0.0
	same(t, "describe", without(t, s.events("DescribeArchive", m{"ArchiveName": name}), "CreationTime", "SizeBytes"), described)
	listed := m{"ArchiveName": name, "EventSourceArn": bus, "State": "ENABLED", "RetentionDays": 0.0, "EventCount": 0.0}
	for _, filter := range []m{{"NamePrefix": name}, {"EventSourceArn": bus}, {"EventSourceArn": bus, "State": "ENABLED"}} {
		list := s.events("ListArchives", filter)["Archives"].([]any)
		if len(list) != 1 {
			t.Fatalf("%v: %v", filter, list)
		}
		same(t, "list", without(t, list[0].(m), "CreationTime", "SizeBytes"), listed)
	}
	if list := s.events("ListArchives", m{"EventSourceArn": bus, "State": "DISABLED"}); len(list["Archives"].([]any)) != 0 {
		t.Errorf("disabled: %v", list)
	}
	s.events("DeleteArchive", m{"ArchiveName": name})
	for _, operation := range []string{"DescribeArchive", "DeleteArchive"} {
		s.told(operation, m{"ArchiveName": name}, missing, "Archive "+name+" does not exist.")
	}
	s.told("UpdateArchive", m{"ArchiveName": name, "Description": ""}, missing, "Archive "+name+" does not exist.")
}

func TestArchivesAndReplaysThatCannotBe(t *testing.T) {
	s := start(t)
	name := unique("a")
	bus, other := eventsARN+"event-bus/"+name, eventsARN+"event-bus/default"
	s.events("CreateEventBus", m{"Name": name})
	s.events("CreateArchive", m{"ArchiveName": name, "EventSourceArn": bus})
	s.events("PutRule", m{"Name": "r", "EventBusName": name, "EventPattern": `{"source":["a"]}`})
	with := func(change m) m {
		q := m{"ReplayName": name, "EventSourceArn": eventsARN + "archive/" + name, "EventStartTime": 1, "EventEndTime": 2, "Destination": m{"Arn": bus}}
		for member, value := range change {
			if q[member] = value; value == nil {
				delete(q, member)
			}
		}
		return q
	}
	const one = "1 validation error detected: Value "
	for _, tt := range []struct {
		operation string
		body      m
		name, say string
	}{
		{"CreateArchive", m{}, notValid, "2 validation errors detected: Value null at 'archiveName' failed to satisfy constraint: Member must not be null; Value null at 'eventSourceArn'"},
		{"CreateArchive", m{"ArchiveName": strings.Repeat("a", 49), "EventSourceArn": bus}, notValid, one + "'" + strings.Repeat("a", 49) + "' at 'archiveName' failed to satisfy constraint: Member must have length less than or equal to 48"},
		{"CreateArchive", m{"ArchiveName": "x", "EventSourceArn": "bus"}, notValid, one + "'bus' at 'eventSourceArn' failed to satisfy constraint: Member must satisfy regular expression pattern: ^arn:aws"},
		{"CreateArchive", m{"ArchiveName": "x", "EventSourceArn": bus, "RetentionDays": -1}, notValid, one + "'-1' at 'retentionDays' failed to satisfy constraint: Member must have value greater than or equal to 0"},
		{"CreateArchive", m{"ArchiveName": "x", "EventSourceArn": bus, "RetentionDays": "7"}, notShaped, ""},
		{"CreateArchive", m{"ArchiveName": "x", "EventSourceArn": bus, "EventPattern": "[]"}, notPattern, ""},
		{"UpdateArchive", m{"ArchiveName": name, "EventPattern": `{"source":"a"}`}, notPattern, ""},
		{"UpdateArchive", m{"ArchiveName": name}, notValid, "At least one of EventPattern, RetentionDays or Description must be provided."},
		{"ListArchives", m{"State": "ON"}, notValid, one + "'ON' at 'state' failed to satisfy constraint: Member must satisfy enum value set: [ENABLED, "},
		{"StartReplay", m{}, notValid, "5 validation errors detected: "},
		{"StartReplay", with(m{"Destination": m{"FilterArns": []string{""}}}), notValid, "2 validation errors detected: Value null at 'destination.arn'"},
		{"StartReplay", with(m{"EventStartTime": true}), notShaped, ""},
		{"StartReplay", with(m{"EventStartTime": "yesterday"}), notShaped, ""},
		{"StartReplay", with(m{"EventSourceArn": bus}), notValid, "Parameter EventSourceArn is not valid. Reason: Must contain an archive ARN."},
		{"StartReplay", with(m{"EventSourceArn": eventsARN + "archive/gone"}), notValid, "Parameter EventSourceArn is not valid. Reason: Archive gone does not exist."},
		{"StartReplay", with(m{"Destination": m{"Arn": other}}), notValid, "Parameter Destination.Arn is not valid. Reason: Cross event bus replay is not permitted."},
		{"StartReplay", with(m{"Destination": m{"Arn": "bus"}}), notValid, "Parameter Destination.Arn is not valid. Reason: Must contain an event bus ARN."},
		{"StartReplay", with(m{"EventEndTime": 1}), notValid, "Parameter EventEndTime is not valid. Reason: EventStartTime must be before EventEndTime."},
		{"StartReplay", with(m{"Destination": m{"Arn": bus, "FilterArns": []string{eventsARN + "rule/r"}}}), notValid, "Parameter Destination.FilterArns is not valid."},
		{"StartReplay", with(m{"Destination": m{"Arn": bus, "FilterArns": []string{eventsARN + "rule/" + name + "/gone"}}}), notValid, "Parameter Destination.FilterArns is not valid. Reason: Rule gone does not exist"},
		{"ListReplays", m{"State": "RUNNING", "NamePrefix": "a"}, notValid, "At most one filter is allowed for ListReplays."},
		{"DescribeReplay", m{"ReplayName": name}, missing, "Replay " + name + " does not exist."},
		{"CancelReplay", m{"ReplayName": name}, missing, "Replay " + name + " does not exist."},
	} {
		s.told(tt.operation, tt.body, tt.name, tt.say)
	}
	s.events("DeleteRule", m{"Name": "r", "EventBusName": name})
	s.events("DeleteEventBus", m{"Name": name})
	s.told("StartReplay", with(nil), missing, "Event bus "+name+" does not exist.")
}

// TestArchiveAndReplay keeps what a pattern lets through, replays a part of it for one
// rule, and finds it there once more, with the name of the replay, and nowhere else.
func TestArchiveAndReplay(t *testing.T) {
	s := start(t)
	name := unique("a")
	bus, n := eventsARN+"event-bus/"+name, 300
	s.events("CreateEventBus", m{"Name": name})
	for _, rule := range []string{"chosen", "other"} {
		s.events("PutRule", m{"Name": rule, "EventBusName": name, "EventPattern": `{"source":["a"]}`})
		s.events("PutTargets", m{"Rule": rule, "EventBusName": name, "Targets": []m{{"Id": "1", "Arn": "arn:klamm:kafka:::topic/" + name + "-" + rule}}})
		if err := s.cluster.EnsureTopic(t.Context(), name+"-"+rule, 1, nil); err != nil {
			t.Fatal(err)
		}
	}
	archive := s.events("CreateArchive", m{"ArchiveName": name, "EventSourceArn": bus, "EventPattern": `{"detail":{"kept":[true]}}`})["ArchiveArn"]
	for i := 0; i < n; i += 10 {
		entries := make([]m, 10)
		for k := range entries {
			entries[k] = m{"Source": "a", "DetailType": "t", "Detail": fmt.Sprintf(`{"n":%d,"kept":%t}`, i+k, (i+k)%3 > 0), "EventBusName": name, "Time": 1_700_000_000 + i + k}
		}
		s.events("PutEvents", m{"Entries": entries})
	}
	request := m{"ReplayName": name, "EventSourceArn": archive, "EventStartTime": 1_700_000_100, "EventEndTime": "2023-11-14T22:16:40Z", "Description": "again",
		"Destination": m{"Arn": bus, "FilterArns": []string{eventsARN + "rule/" + name + "/chosen"}}}
	same(t, "start", without(t, s.events("StartReplay", request), "ReplayStartTime"), m{"ReplayArn": eventsARN + "replay/" + name, "State": "STARTING"})
	s.told("StartReplay", request, taken, "Replay "+name+" already exists.")
	var d m
	eventually(t, "the replay is complete", func() bool {
		d = s.events("DescribeReplay", m{"ReplayName": name})
		return d["State"] == "COMPLETED"
	})
	same(t, "describe", without(t, d, "ReplayStartTime", "ReplayEndTime"), m{
		"ReplayName": name, "ReplayArn": eventsARN + "replay/" + name, "Description": "again", "State": "COMPLETED", "EventSourceArn": archive,
		"Destination":    m{"Arn": bus, "FilterArns": []any{eventsARN + "rule/" + name + "/chosen"}},
		"EventStartTime": 1_700_000_100.0, "EventEndTime": 1_700_000_200.0, "EventLastReplayedTime": 1_700_000_199.0,
	})
	wanted := map[int]bool{}
	for i := 100; i < 200; i++ {
		if i%3 > 0 {
			wanted[i] = true
		}
	}
	eventually(t, "the chosen rule has all", func() bool { return s.lies(name+"-chosen") >= n+len(wanted) })
	for _, value := range s.values(name + "-chosen")[n:] {
		var e struct {
			Replay string `json:"replay-name"`
			Detail struct{ N int }
		}
		if err := json.Unmarshal([]byte(value), &e); err != nil || e.Replay != name || !wanted[e.Detail.N] {
			t.Errorf("got %s", value)
		}
		delete(wanted, e.Detail.N)
	}
	if len(wanted) > 0 {
		t.Errorf("not replayed: %v", wanted)
	}
	if got := s.lies(name + "-other"); got != n {
		t.Errorf("the other rule has %d events, want %d", got, n)
	}
	if got := s.events("DescribeArchive", m{"ArchiveName": name})["EventCount"]; got != float64(2*n/3) {
		t.Errorf("the archive has %v events, want %d", got, 2*n/3)
	}
	list := s.events("ListReplays", m{"EventSourceArn": archive})["Replays"].([]any)
	if len(list) != 1 || list[0].(m)["ReplayName"] != name || list[0].(m)["State"] != "COMPLETED" || list[0].(m)["Destination"] != nil || list[0].(m)["ReplayArn"] != nil {
		t.Errorf("list: %v", list)
	}
	s.told("CancelReplay", m{"ReplayName": name}, "IllegalStatusException", "Replay "+name+" is not in a valid state for this operation.")
}

// lies returns how many records a topic of one partition has.
func (s *server) lies(topic string) int {
	s.t.Helper()
	ranges, err := s.cluster.Ranges(s.t.Context(), topic)
	if err != nil {
		s.t.Fatal(err)
	}
	return int(ranges[0].End - ranges[0].Start)
}

// values returns the records of a topic of one partition.
func (s *server) values(topic string) (values []string) {
	s.t.Helper()
	at, err := s.cluster.Topic(s.t.Context(), topic)
	if err != nil {
		s.t.Fatal(err)
	}
	for next, end := int64(0), int64(s.lies(topic)); next < end; {
		records, after, err := s.cluster.Read(s.t.Context(), at, 0, next, kafka.Limits{Records: 1000, Bytes: 1 << 20})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, r := range records {
			values = append(values, string(r.Value))
		}
		next = after
	}
	return values
}
