package confluent3

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/kafka"
)

type (
	configResource struct {
		head
		Name      string    `json:"name"`
		Value     *string   `json:"value"`
		Default   bool      `json:"is_default"`
		ReadOnly  bool      `json:"is_read_only"`
		Sensitive bool      `json:"is_sensitive"`
		Source    string    `json:"source"`
		Synonyms  []synonym `json:"synonyms"`
		// One of these says what the setting belongs to.
		Topic  *string `json:"topic_name,omitempty"`
		Broker *int32  `json:"broker_id,omitempty"`
		Type   *string `json:"config_type,omitempty"`
	}
	synonym struct {
		Name   string  `json:"name"`
		Value  *string `json:"value"`
		Source string  `json:"source"`
	}
)

// An owner is what settings belong to: a topic, a broker, or all brokers.
type owner struct {
	kind   kafka.SettingsKind
	name   string // as Kafka knows it: "" stands for all brokers
	broker int32
}

// clusterWide says whether settings are those of all brokers.
func (o owner) clusterWide() bool { return o.kind == kafka.OfBroker && o.name == "" }

// words are the kind of a setting's resource, the path to it and the beginning
// of its name.
func (o owner) words() (kind string, path []string, crn []string) {
	switch {
	case o.kind == kafka.OfTopic:
		return "KafkaTopicConfig", []string{"topics", o.name, "configs"}, []string{"topic=" + o.name}
	case o.clusterWide():
		return "KafkaClusterConfig", []string{"broker-configs"}, nil
	}
	return "KafkaBrokerConfig", []string{"brokers", o.name, "configs"}, []string{"broker=" + o.name}
}

// String names an owner as messages do.
func (o owner) String() string {
	switch {
	case o.kind == kafka.OfTopic:
		return "TOPIC " + o.name
	case o.clusterWide():
		return "BROKER"
	}
	return "BROKER " + o.name
}

func (c *call) config(o owner, s kafka.SettingDetail) configResource {
	kind, path, crn := o.words()
	label := "config="
	if o.clusterWide() {
		label = "broker-config="
	}
	r := configResource{
		head: c.head(kind, c.url(append(path, s.Name)...), c.crn(append(crn, label+s.Name)...)), Name: s.Name, Value: s.Value,
		Default: s.Default(), ReadOnly: s.ReadOnly, Sensitive: s.Sensitive, Source: s.Source, Synonyms: []synonym{},
	}
	for _, y := range s.Synonyms {
		r.Synonyms = append(r.Synonyms, synonym(y))
	}
	switch {
	case o.kind == kafka.OfTopic:
		r.Topic = &o.name
	case o.clusterWide():
		broker := "BROKER"
		r.Type = &broker
	default:
		r.Broker = &o.broker
	}
	return r
}

// pathOwner is what the path names. A broker must be live.
func (a *api) pathOwner(c *call) (owner, error) {
	if name := c.r.PathValue("topic"); name != "" {
		return owner{kind: kafka.OfTopic, name: name}, nil
	}
	if c.r.PathValue("broker") == "" {
		return owner{kind: kafka.OfBroker}, nil
	}
	n, err := a.pathBroker(c)
	return owner{kafka.OfBroker, text(n.ID), n.ID}, err
}

// settings returns the settings of an owner. Those of all brokers are only what
// somebody has set for all of them.
func (a *api) settings(c *call, o owner) ([]kafka.SettingDetail, error) {
	all, err := a.gate.Settings(c.r.Context(), c.who, o.kind, o.name)
	if err != nil {
		return nil, err
	}
	details := all[o.name]
	if o.clusterWide() {
		details = slices.DeleteFunc(details, func(s kafka.SettingDetail) bool { return s.Source != "DYNAMIC_DEFAULT_BROKER_CONFIG" })
	}
	return details, nil
}

// listConfigs serves GET .../configs of a topic, a broker or all brokers.
func (a *api) listConfigs(c *call) error {
	o, err := a.pathOwner(c)
	if err != nil {
		return err
	}
	details, err := a.settings(c, o)
	if err != nil {
		return err
	}
	kind, path, _ := o.words()
	var data []configResource
	for _, s := range details {
		data = append(data, c.config(o, s))
	}
	return c.answer(http.StatusOK, listOf(kind+"List", c.url(path...), data))
}

// listAllBrokerConfigs serves GET C/brokers/-/configs.
func (a *api) listAllBrokerConfigs(c *call) error {
	info, err := a.gate.Cluster(c.r.Context(), c.who)
	if err != nil {
		return err
	}
	var owners []owner
	for _, n := range info.Brokers {
		owners = append(owners, owner{kafka.OfBroker, text(n.ID), n.ID})
	}
	return a.listOwners(c, "KafkaBrokerConfigList", c.url("brokers", "-", "configs"), owners)
}

// listAllTopicConfigs serves GET C/topics/-/configs.
func (a *api) listAllTopicConfigs(c *call) error {
	topics, err := a.gate.AllTopics(c.r.Context(), c.who)
	if err != nil {
		return err
	}
	var owners []owner
	for _, t := range topics {
		owners = append(owners, owner{kind: kafka.OfTopic, name: t.Name})
	}
	return a.listOwners(c, "KafkaTopicConfigList", c.url("topics", "-", "configs"), owners)
}

// listOwners answers with the settings of several owners of one kind.
func (a *api) listOwners(c *call, kind, self string, owners []owner) error {
	data := []configResource{}
	if len(owners) > 0 {
		names := make([]string, len(owners))
		for i, o := range owners {
			names[i] = o.name
		}
		all, err := a.gate.Settings(c.r.Context(), c.who, owners[0].kind, names...)
		if err != nil {
			return err
		}
		for _, o := range owners {
			for _, s := range all[o.name] {
				data = append(data, c.config(o, s))
			}
		}
	}
	return c.answer(http.StatusOK, listOf(kind, self, data))
}

// getConfig serves GET .../configs/{name}.
func (a *api) getConfig(c *call) error {
	o, err := a.pathOwner(c)
	if err != nil {
		return err
	}
	details, err := a.settings(c, o)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(details, func(s kafka.SettingDetail) bool { return s.Name == c.r.PathValue("name") })
	if i < 0 {
		return errNotFound
	}
	return c.answer(http.StatusOK, c.config(o, details[i]))
}

// nullInput is the detail for a body that is missing.
const nullInput = "Null input provided. Data is required."

// putConfig serves PUT .../configs/{name}. Null gives a setting back its default: brokers
// take it for no value.
func (a *api) putConfig(c *call) error {
	var body struct {
		Value *string `json:"value"`
	}
	if err := c.decode(&body, nullInput); err != nil {
		return err
	}
	return a.alter(c, []kafka.SettingChange{{Name: c.r.PathValue("name"), Value: body.Value, Delete: body.Value == nil}}, false)
}

// deleteConfig serves DELETE .../configs/{name}.
func (a *api) deleteConfig(c *call) error {
	return a.alter(c, []kafka.SettingChange{{Name: c.r.PathValue("name"), Delete: true}}, false)
}

// A change is one entry of configs:alter.
type change struct {
	Name      *string `json:"name"`
	Value     *string `json:"value"`
	Operation *string `json:"operation"`
}

func settingChanges(changes []change) ([]kafka.SettingChange, error) {
	all := make([]kafka.SettingChange, 0, len(changes))
	for _, entry := range changes {
		if entry.Name == nil {
			return nil, badRequest("Missing required creator property 'name'")
		}
		s := kafka.SettingChange{Name: *entry.Name, Value: entry.Value}
		if entry.Operation != nil {
			switch strings.ToUpper(*entry.Operation) {
			case "SET":
			case "DELETE":
				s.Delete = true
			default:
				return nil, badRequest("operation must be SET or DELETE (was %s)", clipped(*entry.Operation))
			}
		}
		all = append(all, s)
	}
	return all, nil
}

// alterConfigs serves POST .../configs:alter. Unlike the original, klamm
// honours validate_only for brokers too, since the alternative is to change what
// the caller wanted to have checked.
func (a *api) alterConfigs(c *call) error {
	var body struct {
		Data         []change `json:"data"`
		ValidateOnly truth    `json:"validate_only"`
	}
	if err := c.decode(&body, nullInput); err != nil {
		return err
	}
	if body.Data == nil {
		return payload(nullInput)
	}
	changes, err := settingChanges(body.Data)
	if err != nil {
		return err
	}
	return a.alter(c, changes, bool(body.ValidateOnly))
}

// alter changes settings of what the path names, all or none.
func (a *api) alter(c *call, changes []kafka.SettingChange, dry bool) error {
	o, err := a.pathOwner(c)
	if err != nil {
		return err
	}
	if err := a.checkNames(c, o, changes); err != nil {
		return err
	}
	if len(changes) > 0 {
		if err := a.gate.Alter(c.r.Context(), c.who, o.kind, o.name, changes, dry); err != nil {
			return err
		}
	}
	return c.done()
}

// checkNames checks that an owner has the settings, and the types of their values; those of all brokers are not
// checked, since only what is set can be listed.
func (a *api) checkNames(c *call, o owner, changes []kafka.SettingChange) error {
	if o.clusterWide() {
		return nil
	}
	details, err := a.settings(c, o)
	if err != nil {
		return err
	}
	for _, s := range changes {
		i := slices.IndexFunc(details, func(d kafka.SettingDetail) bool { return d.Name == s.Name })
		if i < 0 {
			return refuse(http.StatusNotFound, 404, "Config %s cannot be found for %s in cluster %s.", clipped(s.Name), o, c.cluster)
		}
		if s.Value != nil && !s.Delete {
			if err := details[i].Check(*s.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// alterAllTopicConfigs serves POST C/topics/-/configs:alter: several topics,
// each all or none. A setting that does not exist fails the whole call.
func (a *api) alterAllTopicConfigs(c *call) error {
	var body struct {
		Data []struct {
			Topic   *string  `json:"topic_name"`
			Configs []change `json:"configs"`
		} `json:"data"`
		ValidateOnly truth `json:"validate_only"`
	}
	if err := c.decode(&body, nullInput); err != nil {
		return err
	}
	if body.Data == nil {
		return payload(nullInput)
	}
	type failure struct {
		Topic   string `json:"topic_name"`
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}
	changes := make([][]kafka.SettingChange, len(body.Data))
	failures := make([]*failure, len(body.Data))
	fail := func(i int, err error) {
		e := refusalOf(err)
		failures[i] = &failure{*body.Data[i].Topic, e.code, e.message}
	}
	for i, entry := range body.Data {
		if entry.Topic == nil {
			return badRequest("Missing required creator property 'topic_name'")
		}
		var err error
		if changes[i], err = settingChanges(entry.Configs); err != nil {
			return err
		}
		err = a.checkNames(c, owner{kind: kafka.OfTopic, name: *entry.Topic}, changes[i])
		var broker *kerr.Error
		switch {
		case errors.As(err, &broker):
			fail(i, err)
		case err != nil:
			return err
		}
	}
	for i, entry := range body.Data {
		if failures[i] == nil && len(changes[i]) > 0 {
			if err := a.gate.Alter(c.r.Context(), c.who, kafka.OfTopic, *entry.Topic, changes[i], bool(body.ValidateOnly)); err != nil {
				fail(i, err)
			}
		}
	}
	failures = slices.DeleteFunc(failures, func(f *failure) bool { return f == nil })
	if len(failures) == 0 {
		return c.done()
	}
	return c.answer(http.StatusMultiStatus, struct {
		Failures []*failure `json:"failures"`
	}{failures})
}
