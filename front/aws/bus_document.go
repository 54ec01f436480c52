package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
)

// A BusConfig is the bus section of the configuration file: where event buses differ
// from those of EventBridge.
type BusConfig struct {
	// Entries bounds the entries of one PutEvents together, 256KiB to 8MiB; the
	// default is 1MiB.
	Entries int64 `yaml:"entries" unit:"bytes"`
	// Unknown says what becomes of an event for a bus that does not exist: drop (the
	// default), as EventBridge does: the entry succeeds, and the event is only counted;
	// or refuse.
	Unknown string `yaml:"unknown"`
	// Buses is how many buses there may be, 1 to 10000; the default is 100.
	Buses int `yaml:"buses"`
	// Rules is how many rules a bus may have, 1 to 20000; the default is 10000.
	Rules int `yaml:"rules"`
	// ReplayRate is how many events a second a replay puts on its bus at most, 1 to
	// 1000000; the default is 10000.
	ReplayRate int `yaml:"replay_rate"`
	// HTTP says how rules call HTTP targets.
	HTTP RuleHTTPConfig `yaml:"http"`
}

// Validate reports each problem with the field it lies in.
func (c *BusConfig) Validate(report func(path, problem string)) {
	if c.Entries != 0 && (c.Entries < 256<<10 || c.Entries > 8<<20) {
		report("entries", "want a size from 256KiB to 8MiB")
	}
	if u := c.Unknown; u != "" && u != "drop" && u != "refuse" {
		report("unknown", "want drop or refuse")
	}
	if c.Buses < 0 || c.Buses > 10_000 {
		report("buses", "want a number from 1 to 10000")
	}
	if c.Rules < 0 || c.Rules > 20_000 {
		report("rules", "want a number from 1 to 20000")
	}
	if c.ReplayRate < 0 || c.ReplayRate > 1_000_000 {
		report("replay_rate", "want a number from 1 to 1000000")
	}
}

// WithDefaults returns the section with its defaults filled in.
func (c BusConfig) WithDefaults() BusConfig {
	if c.Entries == 0 {
		c.Entries = 1 << 20
	}
	if c.Buses == 0 {
		c.Buses = 100
	}
	if c.Rules == 0 {
		c.Rules = 10_000
	}
	return c
}

var (
	busShape = like(1, 256, `[/\.\-_A-Za-z0-9]+`)
	// busRefShape is a bus's name or ARN.
	busRefShape  = like(1, 1600, `(arn:aws[\w-]*:events:[a-z]+-[a-z]+-[\w-]+:[0-9]{12}:event-bus\/)?[/\.\-_A-Za-z0-9]+`)
	partnerShape = like(1, 256, `aws\.partner(/[\.\-_A-Za-z0-9]+){2,}`)
)

// busName checks the name of a bus where the model knows names alone; ARNs are accepted
// wherever a bus is named (event-bus.md 11).
func (v *violations) busName(path string, value *string, name shape) {
	if value != nil && strings.HasPrefix(*value, "arn:") {
		v.text(path, value, busRefShape)
		return
	}
	v.text(path, value, name)
}

// A busDetails is what buses are created and updated with.
type busDetails struct {
	Description      *string
	KmsKeyIdentifier *string
	DeadLetterConfig *busDeadLetter
	LogConfig        *busLog
}

type busDeadLetter struct {
	Arn *string `json:",omitempty"`
}

type busLog struct {
	IncludeDetail *string `json:",omitempty"`
	Level         *string `json:",omitempty"`
}

func (d *busDetails) check(v *violations) {
	v.text("description", d.Description, long(0, 512))
	v.text("kmsKeyIdentifier", d.KmsKeyIdentifier, kmsAnchored)
	if d.DeadLetterConfig != nil {
		v.text("deadLetterConfig.arn", d.DeadLetterConfig.Arn, long(1, 1600))
	}
	if l := d.LogConfig; l != nil {
		v.oneOf("logConfig.includeDetail", l.IncludeDetail, "NONE", "FULL")
		v.oneOf("logConfig.level", l.Level, "OFF", "ERROR", "INFO", "TRACE")
	}
}

// into puts what is given into a bus; the rest of it stays.
func (d *busDetails) into(b *catalog.Bus) error {
	if d.Description != nil {
		b.Description = d.Description
	}
	if d.KmsKeyIdentifier != nil {
		b.KmsKeyIdentifier = d.KmsKeyIdentifier
	}
	var err error
	if d.DeadLetterConfig != nil {
		b.DeadLetterConfig, err = json.Marshal(d.DeadLetterConfig)
	}
	if d.LogConfig != nil && err == nil {
		b.LogConfig, err = json.Marshal(d.LogConfig)
	}
	return err
}

// shown adds what a bus has been given to an answer.
func shownBus(out map[string]any, b *catalog.Bus) map[string]any {
	if b.Description != nil {
		out["Description"] = *b.Description
	}
	if b.KmsKeyIdentifier != nil {
		out["KmsKeyIdentifier"] = *b.KmsKeyIdentifier
	}
	if b.DeadLetterConfig != nil {
		out["DeadLetterConfig"] = b.DeadLetterConfig
	}
	if b.LogConfig != nil {
		out["LogConfig"] = b.LogConfig
	}
	return out
}

// eventsFault is an error with one of the names of EventBridge.
func eventsFault(name, message string) error {
	return &fault{name: name, status: http.StatusBadRequest, message: message}
}

func missingBus(name string) error {
	return eventsFault(events.missing.name, "Event bus "+clip(name)+" does not exist.")
}

// bus finds a bus by its name or ARN; "" is the default bus.
func (a *API) bus(ctx context.Context, given string) (catalog.Document, catalog.Bus, error) {
	name := a.cfg.Buses.Name(given)
	doc, b, err := a.cfg.Buses.Get(ctx, name)
	if errors.Is(err, gate.ErrNoBus) {
		err = missingBus(name)
	}
	return doc, b, err
}

// attempts bounds how often a change is tried again that others have overtaken.
const attempts = 10

// changeBus changes a bus that is there.
func (a *API) changeBus(ctx context.Context, who gate.Principal, given string, change func(*catalog.Bus) error) (catalog.Document, catalog.Bus, error) {
	for attempt := 1; ; attempt++ {
		doc, b, err := a.bus(ctx, given)
		if err != nil {
			return doc, b, err
		}
		if err := change(&b); err != nil {
			return doc, b, err
		}
		changed, err := a.put(ctx, who, catalog.KindBus, doc.Name, b, doc.Version)
		if err == nil || attempt == attempts || !errors.Is(err, catalog.ErrConflict) {
			return changed, b, err
		}
	}
}

// A tag is a key and a value.
type tag struct {
	Key, Value *string
}

// mostTags is how many tags something may have.
const mostTags = 50

// tagsOf checks tags and makes a map of them.
func tagsOf(v *violations, list []tag) (map[string]string, error) {
	v.count("tags", len(list), 0, mostTags)
	tags := make(map[string]string, len(list))
	for i, t := range list {
		at := fmt.Sprintf("tags.%d.member.", i+1)
		v.required(at+"key", t.Key, long(1, 128))
		v.required(at+"value", t.Value, long(0, 256))
		if t.Key == nil || t.Value == nil {
			continue
		}
		if _, ok := tags[*t.Key]; ok {
			return nil, invalid("Invalid parameter: Duplicated keys are not allowed.")
		}
		tags[*t.Key] = *t.Value
	}
	return tags, nil
}
