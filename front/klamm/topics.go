package klamm

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// topicRoutes are those for topics: a page of the list, and one topic with all that
// is known of it, for which other dialects take many calls. Records are read and
// produced by the other dialects.
func (a api) topicRoutes() []front.Route {
	return []front.Route{
		{Name: "topics.list", Pattern: "GET /klamm/v1/topics", Serve: a.listTopics},
		{Name: "topics.create", Pattern: "POST /klamm/v1/topics", Serve: a.createTopic},
		{Name: "topics.get", Pattern: "GET /klamm/v1/topics/{topic}", Serve: a.getTopic},
		{Name: "topics.delete", Pattern: "DELETE /klamm/v1/topics/{topic}", Serve: a.deleteTopic},
	}
}

// A topicDoc is a topic in a list.
type topicDoc struct {
	Topic       string `json:"topic"`
	Partitions  int    `json:"partitions"`
	Replication int    `json:"replication"`
	// Troubled is how many partitions lack a leader or a replica.
	Troubled int `json:"troubled"`
}

// A topicShown is a topic with its partitions and settings.
type topicShown struct {
	Topic       string             `json:"topic"`
	Replication int                `json:"replication"`
	Records     int64              `json:"records"` // offsets between beginning and end
	Troubled    int                `json:"troubled"`
	Partitions  []topicPartition   `json:"partitions"`
	Settings    []topicSettingShow `json:"settings"` // empty for who may not see them
	// Masked says that values are for nobody's eyes unless asked for.
	Masked bool `json:"masked,omitempty"`
}

type topicPartition struct {
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"` // -1: none
	Replicas  []int32 `json:"replicas"`
	InSync    []int32 `json:"in_sync"`
	Start     int64   `json:"start"`
	End       int64   `json:"end"`
}

type topicSettingShow struct {
	Name    string  `json:"name"`
	Value   *string `json:"value"` // null: not shown, since it is a secret
	Default bool    `json:"default"`
	Source  string  `json:"source"`
}

// describeTopic is what a list says of a topic.
func describeTopic(t kafka.Topic) topicDoc {
	d := topicDoc{Topic: t.Name, Partitions: len(t.Partitions)}
	for _, p := range t.Partitions {
		d.Replication = max(d.Replication, len(p.Replicas))
		if p.Leader < 0 || len(p.InSync) < len(p.Replicas) {
			d.Troubled++
		}
	}
	return d
}

// listTopics serves GET /klamm/v1/topics ?prefix= &after= &limit= or ?topic=: {"topics":
// [topicDoc], "next"?}, those that the caller may describe, by name. Next is what
// after is to be for the rest. Topic is for that one alone: of many topics brokers are not
// asked about the others.
func (a api) listTopics(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	g, l, err := a.listing(r, "topic")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTime)
	defer cancel()
	out := struct {
		Topics []topicDoc `json:"topics"`
		Next   string     `json:"next,omitempty"`
	}{Topics: []topicDoc{}}
	page, more, err := pageOf(ctx, g, who, l)
	if err != nil {
		return err
	}
	for _, t := range page {
		out.Topics = append(out.Topics, describeTopic(t))
	}
	if more {
		out.Next = page[len(page)-1].Name
	}
	return writeJSON(w, http.StatusOK, "application/json", out)
}

// pageOf returns the topics of a page that a caller may describe, or the one that it
// names, and whether others come after them.
func pageOf(ctx context.Context, g *gate.Gate, who gate.Principal, l listing) (page []kafka.Topic, more bool, err error) {
	if l.topic == "" {
		return g.TopicPage(ctx, who, l.prefix, l.after, l.limit)
	}
	if !kafka.ValidTopic(l.topic) || !strings.HasPrefix(l.topic, l.prefix) || l.after != "" && l.topic <= l.after {
		return nil, false, nil
	}
	t, err := g.Topic(ctx, who, l.topic)
	if err != nil {
		if kind := gate.Classify(err); kind == gate.NotFound || kind == gate.Denied {
			err = nil
		}
		return nil, false, err
	}
	return []kafka.Topic{t}, false, nil
}

// A listing is which entries of a list are asked for: at most limit of those whose
// names begin with prefix, from the first one after a name on, and of topics that one, of
// groups those of a topic.
type listing struct {
	prefix, after, topic string
	limit                int
}

// listing reads ?prefix= &after= &limit=, and what else there is, and returns the gate.
func (a api) listing(r *http.Request, more ...string) (*gate.Gate, listing, error) {
	q, err := queryOf(r, append(more, "prefix", "after", "limit")...)
	if err != nil {
		return nil, listing{}, err
	}
	limit, err := q.limit()
	if err != nil {
		return nil, listing{}, err
	}
	g, err := a.gateway()
	return g, listing{prefix: q.text("prefix"), after: q.text("after"), topic: q.text("topic"), limit: limit}, err
}

// gateway returns the gate, through which topics are reached.
func (a api) gateway() (*gate.Gate, error) {
	if a.cfg.Gate == nil {
		return nil, &gate.Error{Kind: gate.Unsupported, Message: "there are no topics here"}
	}
	return a.cfg.Gate, nil
}

// topicNamed returns the gate and the topic of the path.
func (a api) topicNamed(r *http.Request) (g *gate.Gate, name string, err error) {
	if _, err := queryOf(r); err != nil {
		return nil, "", err
	}
	if g, err = a.gateway(); err != nil {
		return nil, "", err
	}
	if name = r.PathValue("topic"); !kafka.ValidTopic(name) {
		return nil, "", noTopic(name)
	}
	return g, name, nil
}

func noTopic(name string) error {
	return &gate.Error{Kind: gate.NotFound, Message: fmt.Sprintf("no such topic: %.300q", name)}
}

// ofTopic gives the error of an operation on a topic the words for a topic that is not
// there, or that the caller is not to know of.
func ofTopic(err error, name string) error {
	if err != nil && gate.Classify(err) == gate.NotFound {
		return noTopic(name)
	}
	return err
}

// getTopic serves GET /klamm/v1/topics/{topic}: a topicShown.
func (a api) getTopic(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	g, name, err := a.topicNamed(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTime)
	defer cancel()
	t, err := g.Topic(ctx, who, name)
	if err != nil {
		return ofTopic(err, name)
	}
	ranges, err := g.Ranges(ctx, who, name)
	if err != nil {
		return ofTopic(err, name)
	}
	shown := topicShown{Topic: name, Partitions: []topicPartition{}, Settings: []topicSettingShow{}}
	brief := describeTopic(t)
	shown.Replication, shown.Troubled = brief.Replication, brief.Troubled
	shown.Masked = g.Masked(who, name)
	for _, p := range t.Partitions {
		at := ranges[p.ID]
		shown.Records += at.End - at.Start
		shown.Partitions = append(shown.Partitions, topicPartition{p.ID, p.Leader, emptied(p.Replicas), emptied(p.InSync), at.Start, at.End})
	}
	settings, err := g.Settings(ctx, who, kafka.OfTopic, name)
	if err != nil && gate.Classify(err) != gate.Denied && gate.Classify(err) != gate.NotFound {
		return err
	}
	for _, s := range settings[name] {
		one := topicSettingShow{Name: s.Name, Value: s.Value, Default: s.Default(), Source: s.Source}
		if s.Sensitive {
			one.Value = nil
		}
		shown.Settings = append(shown.Settings, one)
	}
	slices.SortFunc(shown.Settings, func(x, y topicSettingShow) int { return cmp.Compare(x.Name, y.Name) })
	return writeJSON(w, http.StatusOK, "application/json", shown)
}

// emptied has an empty list where there is none.
func emptied(list []int32) []int32 {
	if list == nil {
		return []int32{}
	}
	return list
}

// A topicBody says what a new topic is to be.
type topicBody struct {
	Topic       string                      `json:"topic"`
	Partitions  int64                       `json:"partitions"`
	Replication int64                       `json:"replication"`
	Settings    map[string]*json.RawMessage `json:"settings"`
}

// newTopic checks a body as far as Kafka does not.
func (b topicBody) newTopic() (kafka.NewTopic, error) {
	t := kafka.NewTopic{Name: b.Topic}
	switch {
	case b.Topic == "":
		return t, invalid("topic: want the name of the new topic")
	case b.Partitions < 0 || b.Partitions > math.MaxInt32:
		return t, invalid("partitions: want a number from 1, or 0 for what the brokers take by default")
	case b.Replication < 0 || b.Replication > math.MaxInt16:
		return t, invalid("replication: want a number from 1, or 0 for what the brokers take by default")
	}
	t.Partitions, t.Replication = int32(b.Partitions), int16(b.Replication)
	for name, raw := range b.Settings {
		if raw == nil {
			return t, invalid(fmt.Sprintf("settings: %.100s cannot be null", name))
		}
		// Numbers and booleans are what people write; Kafka takes text.
		text := string(*raw)
		if text[0] == '"' {
			if err := json.Unmarshal(*raw, &text); err != nil {
				return t, invalid("settings: " + wrongJSON(err))
			}
		} else if text[0] == '{' || text[0] == '[' {
			return t, invalid(fmt.Sprintf("settings: %.100s: want text or a number", name))
		}
		t.Settings = append(t.Settings, kafka.Setting{Name: name, Value: &text})
	}
	slices.SortFunc(t.Settings, func(x, y kafka.Setting) int { return cmp.Compare(x.Name, y.Name) })
	return t, nil
}

// createTopic serves POST /klamm/v1/topics {"topic", "partitions"?, "replication"?,
// "settings"?}: 201 {"topic", "created"}. ?dry_run=true has a broker check it only:
// {"topic", "created": false, "partitions", "replication"}.
func (a api) createTopic(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := queryOf(r, "dry_run")
	if err != nil {
		return err
	}
	dry, err := q.flag("dry_run")
	if err != nil {
		return err
	}
	g, err := a.gateway()
	if err != nil {
		return err
	}
	var body topicBody
	if err := decode(r, &body); err != nil {
		return err
	}
	t, err := body.newTopic()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	if dry {
		partitions, replication, err := g.CheckTopic(ctx, who, t)
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, "application/json", map[string]any{"topic": t.Name, "created": false, "partitions": partitions, "replication": replication})
	}
	if err := g.CreateTopic(ctx, who, t); err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, "application/json", map[string]any{"topic": t.Name, "created": true})
}

// deleteTopic serves DELETE /klamm/v1/topics/{topic}: the topic goes with all its
// records.
func (a api) deleteTopic(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	g, name, err := a.topicNamed(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	if err := g.DeleteTopic(ctx, who, name); err != nil {
		return ofTopic(err, name)
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"topic": name, "deleted": true})
}
