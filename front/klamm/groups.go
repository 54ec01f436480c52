package klamm

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// groupRoutes are those for consumer groups and for consumer instances, which take
// part in them by HTTP.
func (a api) groupRoutes() []front.Route {
	return []front.Route{
		{Name: "groups.list", Pattern: "GET /klamm/v1/groups", Serve: a.listGroups},
		{Name: "groups.get", Pattern: "GET /klamm/v1/groups/{group}", Serve: a.getGroup},
		{Name: "groups.seek", Pattern: "POST /klamm/v1/groups/{group}/seek", Serve: a.seekGroup},
		{Name: "groups.delete", Pattern: "DELETE /klamm/v1/groups/{group}", Serve: a.deleteGroup},
		{Name: "instances.list", Pattern: "GET /klamm/v1/instances", Serve: a.listInstances},
	}
}

const (
	// maxGroup bounds the name of a group, in bytes.
	maxGroup = 255
	// mostAges is of how many partitions a group is asked how old their first record
	// is that it has not read.
	mostAges = 200
)

// A groupDoc is a group in a list.
type groupDoc struct {
	Group   string   `json:"group"`
	Type    string   `json:"type"`
	State   string   `json:"state"`
	Members int      `json:"members"`
	Topics  []string `json:"topics"` // with committed offsets
	// Lag is the sum over all partitions that have a committed offset.
	Lag int64 `json:"lag"`
}

// A groupShown is a group with its members and partitions.
type groupShown struct {
	Group       string           `json:"group"`
	Type        string           `json:"type"`
	State       string           `json:"state"`
	Assignor    string           `json:"assignor"`
	Coordinator int32            `json:"coordinator"`
	Lag         int64            `json:"lag"`
	Members     []groupMember    `json:"members"`
	Partitions  []groupPartition `json:"partitions"`
}

type groupMember struct {
	ID         string      `json:"id"`
	InstanceID string      `json:"instance_id,omitempty"`
	ClientID   string      `json:"client_id"`
	Host       string      `json:"host"`
	Partitions []placeText `json:"partitions"`
}

// A placeText names a partition.
type placeText struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

type groupPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed *int64 `json:"committed"` // null: nothing was
	End       *int64 `json:"end"`       // null: not known
	Lag       *int64 `json:"lag"`
	// LagSeconds is how long ago the first record was written that the group has not
	// read: 0 if there is none, null if that is not known.
	LagSeconds *float64 `json:"lag_seconds"`
	// Holder is the client id of the member that has the partition.
	Holder string `json:"holder,omitempty"`
}

func placesOf(all []kafka.TopicPartition) []placeText {
	out := make([]placeText, len(all))
	for i, p := range all {
		out[i] = placeText{p.Topic, p.Partition}
	}
	return out
}

// listGroups serves GET /klamm/v1/groups ?prefix= &topic= &after= &limit=: {"groups":
// [groupDoc], "next"?}, those that the caller may describe and that have committed offsets
// of the topic, by name. Next is what after is to be for the rest.
func (a api) listGroups(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	g, l, err := a.listing(r, "topic")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTime)
	defer cancel()
	page, more, err := g.GroupPage(ctx, who, gate.GroupsWanted{Prefix: l.prefix, Topic: l.topic, After: l.after, Limit: l.limit})
	if err != nil {
		return ofTopic(err, l.topic)
	}
	out := struct {
		Groups []groupDoc `json:"groups"`
		Next   string     `json:"next,omitempty"`
	}{Groups: []groupDoc{}}
	for _, one := range page {
		d := groupDoc{Group: one.ID, Type: one.Type, State: one.State, Members: len(one.Members), Topics: []string{}}
		for _, l := range one.Lags {
			d.Lag += max(l.Behind(), 0)
			if !slices.Contains(d.Topics, l.Topic) {
				d.Topics = append(d.Topics, l.Topic)
			}
		}
		slices.Sort(d.Topics)
		out.Groups = append(out.Groups, d)
	}
	if more {
		out.Next = out.Groups[len(out.Groups)-1].Group
	}
	return writeJSON(w, http.StatusOK, "application/json", out)
}

// groupNamed returns the gate and the group of the path.
func (a api) groupNamed(r *http.Request) (*gate.Gate, string, error) {
	if _, err := queryOf(r); err != nil {
		return nil, "", err
	}
	g, err := a.gateway()
	if err != nil {
		return nil, "", err
	}
	name := r.PathValue("group")
	if name == "" || len(name) > maxGroup {
		return nil, "", noGroup(name)
	}
	return g, name, nil
}

func noGroup(name string) error {
	return &gate.Error{Kind: gate.NotFound, Message: fmt.Sprintf("no such consumer group: %.300q", name)}
}

// ofGroup gives the error of an operation on a group the words for one that is not
// there.
func ofGroup(err error, name string) error {
	if err != nil && gate.Classify(err) == gate.NotFound {
		return noGroup(name)
	}
	return err
}

// getGroup serves GET /klamm/v1/groups/{group}: a groupShown.
func (a api) getGroup(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	g, name, err := a.groupNamed(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTime)
	defer cancel()
	group, err := g.Group(ctx, who, name)
	if err != nil {
		return ofGroup(err, name)
	}
	lags, err := g.Lags(ctx, who, name)
	if err != nil {
		return ofGroup(err, name)
	}
	now := time.Now()
	times, err := g.NextTimes(ctx, who, name, lags, mostAges)
	if err != nil {
		return ofGroup(err, name)
	}
	shown := groupShown{
		Group: name, Type: group.Type, State: group.State, Assignor: group.Assignor, Coordinator: group.Coordinator,
		Members: []groupMember{}, Partitions: []groupPartition{},
	}
	known := map[placeText]bool{}
	for _, l := range lags {
		at, behind := placeText{l.Topic, l.Partition}, max(l.Behind(), 0)
		known[at] = true
		shown.Lag += behind
		p := groupPartition{Topic: at.Topic, Partition: at.Partition, Committed: &l.Committed, End: &l.End, Lag: &behind}
		if written, ok := times[l.TopicPartition]; ok {
			age := max(now.Sub(written).Seconds(), 0)
			p.LagSeconds = &age
		} else if behind == 0 {
			p.LagSeconds = new(float64)
		}
		if l.Member != nil {
			p.Holder = l.Member.ClientID
		}
		shown.Partitions = append(shown.Partitions, p)
	}
	for _, m := range group.Members {
		one := groupMember{ID: m.ID, ClientID: m.ClientID, Host: strings.TrimPrefix(m.Host, "/"), Partitions: placesOf(m.Assigned)}
		if m.InstanceID != nil {
			one.InstanceID = *m.InstanceID
		}
		shown.Members = append(shown.Members, one)
		for _, at := range one.Partitions {
			if !known[at] { // nothing was committed yet
				known[at] = true
				shown.Partitions = append(shown.Partitions, groupPartition{Topic: at.Topic, Partition: at.Partition, Holder: m.ClientID})
			}
		}
	}
	slices.SortFunc(shown.Partitions, func(x, y groupPartition) int {
		if x.Topic != y.Topic {
			return strings.Compare(x.Topic, y.Topic)
		}
		return int(x.Partition) - int(y.Partition)
	})
	return writeJSON(w, http.StatusOK, "application/json", shown)
}

// A groupSeekBody says where a group is to go on.
type groupSeekBody struct {
	Topic      string  `json:"topic"`
	Partitions []int32 `json:"partitions"` // empty: all
	To         string  `json:"to"`
	DryRun     *bool   `json:"dry_run"` // not given: true
}

// A groupMoveDoc is what a seek does to a partition.
type groupMoveDoc struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      *int64 `json:"from"` // null: nothing was committed
	To        int64  `json:"to"`
	// Lag is what there is to be read from there on.
	Lag int64 `json:"lag"`
}

// seekGroup serves POST /klamm/v1/groups/{group}/seek {"topic", "partitions"?, "to",
// "dry_run"?}: {"group", "dry_run", "moves": [groupMoveDoc]}. To is beginning, end, a
// time, how long ago such as -15m, an offset, or a shift such as +10 or -10. Nothing is
// moved unless dry_run is false.
func (a api) seekGroup(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	g, name, err := a.groupNamed(r)
	if err != nil {
		return err
	}
	var body groupSeekBody
	if err := decode(r, &body); err != nil {
		return err
	}
	seek := gate.GroupSeek{Group: name, Topic: body.Topic, Partitions: body.Partitions, Execute: body.DryRun != nil && !*body.DryRun}
	if !kafka.ValidTopic(body.Topic) {
		return invalid("topic: want the name of the topic in which the group is to go on elsewhere")
	}
	for i, p := range body.Partitions {
		if p < 0 || slices.Contains(body.Partitions[:i], p) {
			return invalid("partitions: want numbers from 0, each once")
		}
	}
	if seek.To, err = seekTo(body.To); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	moves, err := g.SeekGroup(ctx, who, seek)
	if err != nil {
		return ofTopic(err, body.Topic)
	}
	out := struct {
		Group  string         `json:"group"`
		DryRun bool           `json:"dry_run"`
		Moves  []groupMoveDoc `json:"moves"`
	}{name, !seek.Execute, make([]groupMoveDoc, len(moves))}
	for i, m := range moves {
		out.Moves[i] = groupMoveDoc{Topic: body.Topic, Partition: m.Partition, To: m.To, Lag: m.End - m.To}
		if m.From >= 0 {
			out.Moves[i].From = &m.From
		}
	}
	return writeJSON(w, http.StatusOK, "application/json", out)
}

// seekTo reads where a group is to go on.
func seekTo(text string) (to gate.SeekTo, err error) {
	switch text {
	case "beginning":
		to.Beginning = true
		return to, nil
	case "end":
		return to, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if text[0] == '+' || text[0] == '-' {
			to.Shift = &n
		} else {
			to.Offset = &n
		}
		return to, nil
	}
	if text != "" {
		to.Time, err = query{"since": {text}}.since()
	}
	if err != nil || to.Time.IsZero() {
		return to, invalid(`to: want "beginning", "end", a time such as 2026-01-31T12:00:00Z, how long ago such as -15m, an offset such as 1200, or a shift such as -10 or +10`)
	}
	return to, nil
}

// deleteGroup serves DELETE /klamm/v1/groups/{group}: the group goes with its
// offsets.
func (a api) deleteGroup(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	g, name, err := a.groupNamed(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	if err := g.DeleteGroup(ctx, who, name); err != nil {
		return ofGroup(err, name)
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"group": name, "deleted": true})
}
