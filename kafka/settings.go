package kafka

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A SettingsKind says what settings belong to.
type SettingsKind int8

// The kinds of things that have settings. A broker's name is its id; the name ""
// stands for the defaults of all brokers.
const (
	OfTopic  = SettingsKind(kmsg.ConfigResourceTypeTopic)
	OfBroker = SettingsKind(kmsg.ConfigResourceTypeBroker)
)

// A SettingDetail is a setting with all that a broker knows about it.
type SettingDetail struct {
	Setting
	ReadOnly  bool
	Sensitive bool
	Source    string // such as DYNAMIC_TOPIC_CONFIG
	Type      string // such as LONG; empty where the broker does not say
	Synonyms  []SettingSynonym
}

// A SettingSynonym is a place where the value of a setting could come from, the
// first being the one that counts.
type SettingSynonym struct {
	Name   string
	Value  *string // nil: sensitive, or not set
	Source string
}

// defaultSource is where a setting comes from that nobody has set.
const defaultSource = "DEFAULT_CONFIG"

// Default says whether nobody has set the setting.
func (s SettingDetail) Default() bool { return s.Source == defaultSource }

// Check says whether a setting can have a value; the error wraps
// kerr.InvalidConfig. Not every broker looks.
func (s SettingDetail) Check(value string) error {
	var err error
	text := strings.TrimSpace(value)
	switch s.Type {
	case "BOOLEAN":
		if !strings.EqualFold(text, "true") && !strings.EqualFold(text, "false") {
			err = strconv.ErrSyntax
		}
	case "SHORT":
		_, err = strconv.ParseInt(text, 10, 16)
	case "INT":
		_, err = strconv.ParseInt(text, 10, 32)
	case "LONG":
		_, err = strconv.ParseInt(text, 10, 64)
	case "DOUBLE":
		_, err = strconv.ParseFloat(text, 64)
	}
	if words := settingWords[s.Name]; words != nil && text != "" {
		for word := range strings.SplitSeq(text, ",") {
			if !slices.Contains(words, strings.TrimSpace(word)) {
				return &explanation{fmt.Sprintf("Invalid value %.100s for configuration %s: want one of %s", value, s.Name, strings.Join(words, ", ")), kerr.InvalidConfig}
			}
		}
	}
	if err != nil {
		return &explanation{fmt.Sprintf("Invalid value %.100s for configuration %s: not of type %s", value, s.Name, s.Type), kerr.InvalidConfig}
	}
	return nil
}

// topicSettings are the types of the settings that the embedded broker knows for
// topics.
var topicSettings = map[string]string{
	"delete.retention.ms": "LONG", "max.message.bytes": "INT", "min.insync.replicas": "INT", "retention.bytes": "LONG", "retention.ms": "LONG",
	"segment.bytes": "INT", "segment.ms": "LONG",
}

// settingWords are the values of settings that have only a few.
var settingWords = map[string][]string{
	"cleanup.policy":         {"compact", "delete"},
	"compression.type":       {"uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"},
	"message.timestamp.type": {"CreateTime", "LogAppendTime"},
}

// settingTypes are the names of kmsg.ConfigType, by number.
var settingTypes = []string{"", "BOOLEAN", "STRING", "INT", "SHORT", "LONG", "DOUBLE", "LIST", "CLASS", "PASSWORD"}

// sources are the names of kmsg.ConfigSource, by number.
var sources = []string{"UNKNOWN", "DYNAMIC_TOPIC_CONFIG", "DYNAMIC_BROKER_CONFIG", "DYNAMIC_DEFAULT_BROKER_CONFIG", "STATIC_BROKER_CONFIG",
	defaultSource, "DYNAMIC_BROKER_LOGGER_CONFIG", "DYNAMIC_CLIENT_METRICS_CONFIG", "DYNAMIC_GROUP_CONFIG"}

func sourceName(s kmsg.ConfigSource) string {
	if int(s) < 0 || int(s) >= len(sources) {
		return sources[0]
	}
	return sources[s]
}

// Settings returns all settings of the named topics or brokers, defaults
// included, sorted by name. What does not exist is an error if it is the only
// one named, and otherwise left out.
func (c *Cluster) Settings(ctx context.Context, kind SettingsKind, names ...string) (map[string][]SettingDetail, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms = true
	for _, name := range names {
		rr := kmsg.NewDescribeConfigsRequestResource()
		rr.ResourceType, rr.ResourceName = kmsg.ConfigResourceType(kind), name
		req.Resources = append(req.Resources, rr)
	}
	all := map[string][]SettingDetail{}
	if len(names) == 0 {
		return all, nil
	}
	resp, err := req.RequestWith(ctx, c.reader)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", c.unreachable(err))
	}
	for _, rr := range resp.Resources {
		if err := explained(rr.ErrorCode, rr.ErrorMessage); err != nil {
			if len(names) == 1 {
				return nil, err
			}
			continue
		}
		all[rr.ResourceName] = settingDetails(rr.Configs)
	}
	return all, nil
}

func settingDetails(configs []kmsg.DescribeConfigsResponseResourceConfig) []SettingDetail {
	details := make([]SettingDetail, 0, len(configs))
	for _, rc := range configs {
		d := SettingDetail{Setting: Setting{rc.Name, rc.Value}, ReadOnly: rc.ReadOnly, Sensitive: rc.IsSensitive, Source: sourceName(rc.Source), Type: nameOf(settingTypes, rc.ConfigType)}
		for _, s := range rc.ConfigSynonyms {
			d.Synonyms = append(d.Synonyms, SettingSynonym{s.Name, s.Value, sourceName(s.Source)})
		}
		details = append(details, d)
	}
	slices.SortFunc(details, func(a, b SettingDetail) int { return cmp.Compare(a.Name, b.Name) })
	return details
}

// A SettingChange sets one setting, or gives it back its default.
type SettingChange struct {
	Name   string
	Value  *string // of no account with Delete, and otherwise there
	Delete bool
}

// checkChanges refuses, as Apache Kafka does and not every broker, to set nothing and
// to change a setting twice.
func checkChanges(changes []SettingChange) error {
	named := make(map[string]bool, len(changes))
	for _, change := range changes {
		switch {
		case named[change.Name]:
			return &explanation{"Error due to duplicate config keys", kerr.InvalidRequest}
		case change.Value == nil && !change.Delete:
			return &explanation{fmt.Sprintf("Null value not supported for : %.100s", change.Name), kerr.InvalidRequest}
		}
		named[change.Name] = true
	}
	return nil
}

// Alter changes settings of one topic or broker, all or none; with dry it only
// checks whether it could. Settings that are not named stay as they are.
func (c *Cluster) Alter(ctx context.Context, kind SettingsKind, name string, changes []SettingChange, dry bool) error {
	if err := checkChanges(changes); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	rr := kmsg.NewIncrementalAlterConfigsRequestResource()
	rr.ResourceType, rr.ResourceName = kmsg.ConfigResourceType(kind), name
	for _, change := range changes {
		rc := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		rc.Name, rc.Value = change.Name, change.Value
		if change.Delete {
			rc.Op, rc.Value = kmsg.IncrementalAlterConfigOpDelete, nil
		}
		rr.Configs = append(rr.Configs, rc)
	}
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources, req.ValidateOnly = append(req.Resources, rr), dry
	resp, err := req.RequestWith(ctx, c.reader)
	if err != nil {
		return fmt.Errorf("alter settings: %w", c.unreachable(err))
	}
	for _, rr := range resp.Resources {
		if err := explained(rr.ErrorCode, rr.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}
