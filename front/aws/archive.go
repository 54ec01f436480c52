package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/rule"
)

var (
	archiveShape = like(1, 48, `[\.\-_A-Za-z0-9]+`)
	// archivedShape is an ARN of events, as archives and replays name their sources.
	archivedShape = like(1, 1600, `^arn:aws([a-z]|\-)*:events:([a-z]|\d|\-)*:([0-9]{12})?:.+\/.+$`)
)

// mostDays bounds how long an archive keeps events that does not keep them for ever:
// Kafka counts it in milliseconds.
const mostDays = math.MaxInt64 / int64(24*time.Hour/time.Millisecond)

// archiveStates are those that an archive of AWS can have; klamm's are always enabled.
var archiveStates = []string{archiveEnabled, "DISABLED", "CREATING", "UPDATING", "CREATE_FAILED", "UPDATE_FAILED"}

const archiveEnabled = "ENABLED"

// An archiveDetails is what archives are created and updated with.
type archiveDetails struct {
	Description, EventPattern, KmsKeyIdentifier *string
	RetentionDays                               *number
}

func (d *archiveDetails) check(v *violations) {
	v.text("description", d.Description, long(0, 512))
	v.text("eventPattern", d.EventPattern, long(0, 4096))
	v.number("retentionDays", d.RetentionDays.int(), 0, mostDays)
	v.text("kmsKeyIdentifier", d.KmsKeyIdentifier, kmsAnchored)
}

// into puts what is given into an archive; the rest of it stays.
func (d *archiveDetails) into(b *catalog.Archive) error {
	if d.Description != nil {
		b.Description = d.Description
	}
	if d.KmsKeyIdentifier != nil {
		b.KmsKeyIdentifier = d.KmsKeyIdentifier
	}
	if d.RetentionDays != nil {
		b.RetentionDays = int64(*d.RetentionDays)
	}
	if d.EventPattern != nil {
		b.EventPattern = given(d.EventPattern)
		if b.EventPattern != nil {
			if _, err := rule.Compile([]byte(*b.EventPattern)); err != nil {
				return patternFault(err)
			}
		}
	}
	return nil
}

func missingArchive(name string) error {
	return eventsFault(events.missing.name, "Archive "+clip(name)+" does not exist.")
}

func takenArchive(name string) error {
	return eventsFault(events.taken.name, "Archive "+name+" already exists.")
}

// createArchive serves CreateArchive. What is put on the bus from its answer on gets into
// the archive.
func (a *API) createArchive(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		ArchiveName, EventSourceArn *string
		archiveDetails
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	v.required("archiveName", q.ArchiveName, archiveShape)
	v.required("eventSourceArn", q.EventSourceArn, archivedShape)
	q.check(v)
	if err := v.fault(); err != nil {
		return nil, err
	}
	name, ctx := *q.ArchiveName, r.Context()
	if err := a.allow(r, who, "events:CreateArchive", a.archiveARN(name)); err != nil {
		return nil, err
	}
	bus, _, err := a.bus(ctx, *q.EventSourceArn)
	if err != nil {
		return nil, err
	}
	b := catalog.Archive{EventSourceArn: a.cfg.Buses.ARN(bus.Name), Bus: bus.Name}
	if err := q.into(&b); err != nil {
		return nil, err
	}
	switch _, err := a.cfg.Store.Get(ctx, catalog.KindArchive, name); {
	case err == nil:
		return nil, takenArchive(name)
	case !errors.Is(err, catalog.ErrNotFound):
		return nil, err
	}
	if err := a.cfg.Buses.MakeArchive(ctx, name, bus.Name, b.RetentionDays); err != nil {
		return nil, twinFault(err, "Archive", name)
	}
	if err := a.cfg.Pipes.Begin(ctx, a.archivePipe(name, &b), ""); err != nil {
		return nil, fmt.Errorf("begin archive %q: %w", name, err)
	}
	doc, err := a.put(ctx, who, catalog.KindArchive, name, b, catalog.Absent)
	if errors.Is(err, catalog.ErrExists) {
		err = takenArchive(name)
	}
	if err != nil {
		return nil, err
	}
	return a.changedArchive(doc), nil
}

func (a *API) archiveARN(name string) string { return a.eventsARN("archive/" + name) }

// changedArchive is what calls that change an archive answer.
func (a *API) changedArchive(doc catalog.Document) any {
	return map[string]any{"ArchiveArn": a.archiveARN(doc.Name), "State": archiveEnabled, "CreationTime": stamp(doc.Created)}
}

// archive finds an archive.
func (a *API) archive(ctx context.Context, name string) (catalog.Document, catalog.Archive, error) {
	var b catalog.Archive
	doc, err := a.cfg.Store.Get(ctx, catalog.KindArchive, name)
	if errors.Is(err, catalog.ErrNotFound) {
		return doc, b, missingArchive(name)
	}
	if err == nil {
		err = json.Unmarshal(doc.Body, &b)
	}
	return doc, b, err
}

// archivePipe is the pipe that fills an archive: it reads the bus with its rules.
func (a *API) archivePipe(name string, b *catalog.Archive) catalog.Pipe {
	config, _ := json.Marshal(map[string]any{"name": event.ArchiveTopic(name), "headers": []string{}})
	p := catalog.Pipe{
		Name: catalog.ArchivePipe(name), Group: "klamm-archive-" + name,
		Topics: []string{event.BusTopic(b.Bus), event.RetryTopic(b.Bus)},
		Target: catalog.Target{Kind: "topic", Config: config},
		Bus:    &catalog.Subscription{Bus: b.Bus, BusARN: b.EventSourceArn, Archive: name, Target: name, TargetARN: a.archiveARN(name)},
		// It is tried without end: what is archived must not be lost.
		Delivery: catalog.Delivery{
			Timeout: ruleTime, Backoff: catalog.Backoff{Min: leastBackoff, Max: time.Minute}, Order: catalog.OrderKey, InFlight: ruleInFlight,
			Batch: catalog.Batch{Records: 500, Bytes: 1 << 20},
		},
	}
	if b.EventPattern != nil {
		p.Bus.Pattern = json.RawMessage(*b.EventPattern)
	}
	return p
}

// CompileArchive makes of an archive the pipe that fills it.
func (a *API) CompileArchive(_ context.Context, d catalog.Document) (catalog.Pipe, error) {
	if d.Dialect != dialect {
		return catalog.Pipe{}, fmt.Errorf("%w: archive %q was not made through this API", catalog.ErrReadOnly, d.Name)
	}
	var b catalog.Archive
	if err := json.Unmarshal(d.Body, &b); err != nil {
		return catalog.Pipe{}, err
	}
	p := a.archivePipe(d.Name, &b)
	p.Version, p.Paused = d.Version, d.Stopped
	return p, nil
}

// oneArchive reads a request that names an archive and nothing else.
func (a *API) oneArchive(r *http.Request, who gate.Principal, action gate.Action, body []byte) (catalog.Document, catalog.Archive, error) {
	var q struct{ ArchiveName *string }
	if err := parse(body, &q); err != nil {
		return catalog.Document{}, catalog.Archive{}, err
	}
	v := &violations{}
	v.required("archiveName", q.ArchiveName, archiveShape)
	if err := v.fault(); err != nil {
		return catalog.Document{}, catalog.Archive{}, err
	}
	if err := a.allow(r, who, action, a.archiveARN(*q.ArchiveName)); err != nil {
		return catalog.Document{}, catalog.Archive{}, err
	}
	return a.archive(r.Context(), *q.ArchiveName)
}

// describeArchive serves DescribeArchive. EventCount and SizeBytes are those of the
// moment; a batch that was repeated counts twice.
func (a *API) describeArchive(r *http.Request, who gate.Principal, body []byte) (any, error) {
	doc, b, err := a.oneArchive(r, who, "events:DescribeArchive", body)
	if err != nil {
		return nil, err
	}
	out, err := a.shownArchive(r.Context(), doc, &b)
	if err != nil {
		return nil, err
	}
	out["ArchiveArn"] = a.archiveARN(doc.Name)
	for name, text := range map[string]*string{"Description": b.Description, "EventPattern": b.EventPattern, "KmsKeyIdentifier": b.KmsKeyIdentifier} {
		if text != nil {
			out[name] = *text
		}
	}
	return out, nil
}

// shownArchive is an archive as lists show it.
func (a *API) shownArchive(ctx context.Context, doc catalog.Document, b *catalog.Archive) (map[string]any, error) {
	count, size, err := a.cfg.Buses.ArchiveSize(ctx, doc.Name)
	return map[string]any{
		"ArchiveName": doc.Name, "EventSourceArn": b.EventSourceArn, "State": archiveEnabled, "RetentionDays": b.RetentionDays,
		"SizeBytes": size, "EventCount": count, "CreationTime": stamp(doc.Created),
	}, err
}

// updateArchive serves UpdateArchive: what is left out stays. Another pattern counts for
// what is put on the bus afterwards.
func (a *API) updateArchive(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		ArchiveName *string
		archiveDetails
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	v.required("archiveName", q.ArchiveName, archiveShape)
	q.check(v)
	if err := v.fault(); err != nil {
		return nil, err
	}
	if err := a.allow(r, who, "events:UpdateArchive", a.archiveARN(*q.ArchiveName)); err != nil {
		return nil, err
	}
	if q.EventPattern == nil && q.RetentionDays == nil && q.Description == nil {
		return nil, invalid("At least one of EventPattern, RetentionDays or Description must be provided.")
	}
	ctx := r.Context()
	for attempt := 1; ; attempt++ {
		doc, b, err := a.archive(ctx, *q.ArchiveName)
		if err != nil {
			return nil, err
		}
		kept := b.RetentionDays
		if err := q.into(&b); err != nil {
			return nil, err
		}
		if b.RetentionDays != kept {
			if err := a.cfg.Buses.KeepArchive(ctx, doc.Name, b.RetentionDays); err != nil {
				return nil, err
			}
		}
		doc, err = a.put(ctx, who, catalog.KindArchive, doc.Name, b, doc.Version)
		if err == nil {
			return a.changedArchive(doc), nil
		}
		if attempt == attempts || !errors.Is(err, catalog.ErrConflict) {
			return nil, named(err, "", "Archive "+*q.ArchiveName+" does not exist.")
		}
	}
}

// deleteArchive serves DeleteArchive. Its events are deleted with it; replays of it fail.
func (a *API) deleteArchive(r *http.Request, who gate.Principal, body []byte) (any, error) {
	doc, _, err := a.oneArchive(r, who, "events:DeleteArchive", body)
	if err != nil {
		return nil, err
	}
	ctx := r.Context()
	if err := a.cfg.Store.Delete(ctx, catalog.KindArchive, doc.Name, catalog.Any); err != nil {
		return nil, named(err, "", "Archive "+doc.Name+" does not exist.")
	}
	if err := a.cfg.Pipes.Forget(ctx, catalog.ArchivePipe(doc.Name)); err != nil {
		a.cfg.Log.Warn("the consumer group of a deleted archive is left", "archive", doc.Name, "err", err)
	}
	// The processes are told of it in a moment; the topic must not come back by what one
	// of them still writes.
	if err := a.cfg.Buses.UnmakeArchive(ctx, doc.Name); err != nil {
		a.cfg.Log.Warn("the topic of a deleted archive is left", "archive", doc.Name, "err", err)
	}
	return struct{}{}, nil
}

// listArchives serves ListArchives.
func (a *API) listArchives(r *http.Request, who gate.Principal, body []byte) (any, error) {
	var q struct {
		NamePrefix, EventSourceArn, State *string
		pageRequest
	}
	if err := parse(body, &q); err != nil {
		return nil, err
	}
	v := &violations{}
	v.text("namePrefix", q.NamePrefix, archiveShape)
	v.text("eventSourceArn", q.EventSourceArn, archivedShape)
	v.oneOf("state", q.State, archiveStates...)
	page, err := q.page(v)
	if err != nil {
		return nil, err
	}
	if err := a.allow(r, who, "events:ListArchives", a.archiveARN("*")); err != nil {
		return nil, err
	}
	docs, err := a.cfg.Store.List(r.Context(), catalog.KindArchive, textOf(q.NamePrefix))
	if err != nil {
		return nil, err
	}
	list := []any{}
	for _, doc := range docs {
		var b catalog.Archive
		if json.Unmarshal(doc.Body, &b) != nil || !page.wants(doc.Name) || q.EventSourceArn != nil && b.EventSourceArn != *q.EventSourceArn ||
			q.State != nil && *q.State != archiveEnabled {
			continue
		}
		if page.full(len(list)) {
			break
		}
		shown, err := a.shownArchive(r.Context(), doc, &b)
		if err != nil {
			return nil, err
		}
		list = append(list, shown)
		page.last = doc.Name
	}
	return page.answer("Archives", list), nil
}

// archiveOf returns the name in the ARN of an archive; empty: it is none.
func (a *API) archiveOf(arn string) string {
	name, ok := strings.CutPrefix(arn, a.archiveARN(""))
	if !ok || strings.Contains(name, "/") {
		return ""
	}
	return name
}
