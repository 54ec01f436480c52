package aws

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

// A pipeRequest is what calls about pipes have.
type pipeRequest struct {
	DesiredState *string
	pipeDocument
}

// nameOf returns the pipe that a path names, checked.
func nameOf(r *http.Request) (string, *violations) {
	v := &violations{}
	name := r.PathValue("pipe")
	v.required("name", &name, nameShape)
	return name, v
}

// The states of pipes (pipes.md 2).
const (
	running = "RUNNING"
	stopped = "STOPPED"
)

// The calls that change a pipe, and what it is while they are carried out.
const (
	create = "CREATE"
	update = "UPDATE"
	start  = "START"
	stop   = "STOP"
)

var under = map[string]string{create: "CREATING", update: "UPDATING", start: "STARTING", stop: "STOPPING"}

// createPipe serves CreatePipe.
func (a *API) createPipe(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	var q pipeRequest
	name, v := nameOf(r)
	if err := decode(r, &q); err != nil {
		return err
	}
	v.oneOf("desiredState", q.DesiredState, running, stopped)
	q.check(v)
	if a.cfg.StrictFilters {
		q.SourceParameters.checkStrict(v)
	}
	if len(v.texts) == 0 {
		a.checkLoop(v, &q.pipeDocument)
	}
	if err := v.fault(); err != nil {
		return err
	}
	if err := a.allowPipe(r, who, "pipes:CreatePipe", name, &q.pipeDocument); err != nil {
		return err
	}
	b := pipeBody{Pipe: q.pipeDocument, Group: "klamm-pipe-" + name + "-" + newID(), Change: create}
	if _, ok := a.cfg.Definitions.InFile(name); ok {
		return a.taken(name)
	}
	if err := a.try(r.Context(), name, &b); err != nil {
		return err
	}
	if err := a.groupIsFree(r.Context(), name, &b); err != nil {
		return err
	}
	doc, err := a.putPipe(r.Context(), who, name, &b, q.DesiredState != nil && *q.DesiredState == stopped, catalog.Absent)
	if errors.Is(err, catalog.ErrExists) {
		return a.taken(name)
	}
	if err != nil {
		return err
	}
	return a.answerPipe(w, doc, under[create])
}

func (a *API) taken(name string) error {
	return &fault{name: "ConflictException", status: http.StatusConflict, message: "Pipe " + name + " already exists.", members: map[string]any{"resourceId": name, "resourceType": "pipe"}}
}

func (a *API) putPipe(ctx context.Context, who gate.Principal, name string, b *pipeBody, isStopped bool, expect int64) (catalog.Document, error) {
	raw, err := json.Marshal(b)
	if err != nil {
		return catalog.Document{}, err
	}
	return a.cfg.Store.Put(ctx, catalog.Document{Kind: catalog.KindPipe, Name: name, Dialect: dialect, By: who.Name, Stopped: isStopped, Body: raw}, expect)
}

// checkLoop reports a pipe that would read what it writes. All that pipes write lies in
// klamm's own cluster: a topic of the same name in another is another topic.
func (a *API) checkLoop(v *violations, p *pipeDocument) {
	if s, err := a.clusterOf(p); err != nil || s.cluster != "" || s.login != nil {
		return
	}
	feeds := func(path, topic string) {
		if topic == *p.kafka().TopicName {
			v.say(path, "the topic "+topic+" is read by this very pipe: its records would come back to it without end")
		}
	}
	feeds("target", topicOfTarget(*p.Target))
	if l := a.logOf(p.LogConfiguration); l != nil {
		feeds("logConfiguration.cloudwatchLogsLogDestination.logGroupArn", l.Topic)
	}
}

// allowPipe asks the gate whether the caller may do something to a pipe, and what the
// pipe does to topics as well: it must not be a way around that.
func (a *API) allowPipe(r *http.Request, who gate.Principal, action gate.Action, name string, doc *pipeDocument) error {
	if err := a.allow(r, who, action, a.pipeARN(name)); err != nil || doc == nil {
		return err
	}
	if k := doc.kafka(); k != nil && k.TopicName != nil {
		if err := a.cfg.Gate.Admin(r.Context(), who, gate.ReadData, gate.Resource{Kind: "topic", Name: *k.TopicName}); err != nil {
			return err
		}
	}
	if busArn.MatchString(textOf(doc.Target)) {
		return a.allow(r, who, gate.PutEvents, *doc.Target)
	}
	if topic := topicOfQueue(textOf(doc.Target)); topic != "" {
		return a.cfg.Gate.Admin(r.Context(), who, gate.WriteData, gate.Resource{Kind: "topic", Name: topic})
	}
	return nil
}

// try compiles a pipe, so that what cannot work is refused at once. A cluster that is
// not known is no reason: the pipe fails then, and says why (pipes.md 3).
func (a *API) try(ctx context.Context, name string, b *pipeBody) error {
	if _, err := a.sourceOf(&b.Pipe); err != nil {
		return nil
	}
	var p catalog.Pipe
	var gone *absent
	var not *unsupported
	err := a.upToDate(ctx, func() (err error) { p, err = a.compile(ctx, name, b); return err })
	if err == nil {
		err = a.cfg.Pipes.Check(p)
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, &gone), errors.As(err, &not):
		return invalid("The pipe cannot work: " + err.Error() + ".")
	case errors.Is(err, catalog.ErrUnavailable):
		return err
	}
	return invalid("The pipe cannot work: " + err.Error() + ".")
}

// groupIsFree refuses a consumer group that is that of another pipe or of an event source
// mapping (pipes.md 3): they would take each other's partitions. A pipe of klamm's own
// may have it for other topics.
func (a *API) groupIsFree(ctx context.Context, name string, b *pipeBody) error {
	k := b.Pipe.kafka()
	if k.ConsumerGroupID == nil {
		return nil
	}
	kind, other := "pipe", a.cfg.Definitions.Reader(b.group(), *k.TopicName)
	if other == "" || other == name {
		var err error
		if other, err = a.pipeOfGroup(ctx, b.group()); err != nil {
			return err
		}
	}
	if other == "" || other == name {
		var err error
		if kind, other, err = a.mappingOfGroup(ctx, b.group()); err != nil || other == "" {
			return err
		}
	}
	return &fault{name: "ConflictException", status: http.StatusConflict, members: map[string]any{"resourceId": other, "resourceType": kind},
		message: fmt.Sprintf("The consumer group %s is that of %s %s already.", b.group(), kind, other)}
}

// pipeOfGroup returns the pipe of this API that has a consumer group; empty: none has.
func (a *API) pipeOfGroup(ctx context.Context, group string) (string, error) {
	docs, err := a.cfg.Store.List(ctx, catalog.KindPipe, "")
	for _, doc := range docs {
		if b, err := readPipe(doc); err == nil && b.group() == group {
			return doc.Name, nil
		}
	}
	return "", err
}

// mappingOfGroup returns the event source mapping that has a consumer group, and what
// such a thing is called; empty: none has.
func (a *API) mappingOfGroup(ctx context.Context, group string) (kind, uuid string, err error) {
	docs, err := a.cfg.Store.List(ctx, catalog.KindMapping, "")
	for _, doc := range docs {
		if b, err := readMapping(doc); err == nil && b.group() == group {
			return "event source mapping", doc.Name, nil
		}
	}
	return "", "", err
}

// answerPipe is what calls that change a pipe answer.
func (a *API) answerPipe(w http.ResponseWriter, doc catalog.Document, state string) error {
	desired := running
	if doc.Stopped {
		desired = stopped
	}
	if state == "DELETING" {
		desired = "DELETED"
	}
	return write(w, pipes.media, map[string]any{"Arn": a.pipeARN(doc.Name), "Name": doc.Name, "DesiredState": desired, "CurrentState": state,
		"CreationTime": stamp(doc.Created), "LastModifiedTime": stamp(doc.Changed)})
}

// getPipe finds a pipe that this API has made.
func (a *API) getPipe(ctx context.Context, name string) (catalog.Document, pipeBody, error) {
	missing := &fault{name: "NotFoundException", status: http.StatusNotFound, message: "Pipe " + name + " does not exist."}
	if _, ok := a.cfg.Definitions.InFile(name); ok {
		return catalog.Document{}, pipeBody{}, missing // it is klamm's own
	}
	doc, err := a.cfg.Store.Get(ctx, catalog.KindPipe, name)
	if errors.Is(err, catalog.ErrNotFound) || err == nil && doc.Dialect != dialect {
		return doc, pipeBody{}, missing
	}
	if err != nil {
		return doc, pipeBody{}, err
	}
	b, err := readPipe(doc)
	return doc, b, err
}

// onePipe finds the pipe that a path names.
func (a *API) onePipe(r *http.Request, who gate.Principal, action gate.Action) (catalog.Document, pipeBody, error) {
	name, v := nameOf(r)
	if err := v.fault(); err != nil {
		return catalog.Document{}, pipeBody{}, err
	}
	if err := a.allowPipe(r, who, action, name, nil); err != nil {
		return catalog.Document{}, pipeBody{}, err
	}
	return a.getPipe(r.Context(), name)
}

// describePipe serves DescribePipe.
func (a *API) describePipe(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	doc, b, err := a.onePipe(r, who, "pipes:DescribePipe")
	if err != nil {
		return err
	}
	out, err := a.state(r.Context(), doc, &b)
	if err != nil {
		return err
	}
	out.pipeDocument = &b.Pipe
	return write(w, pipes.media, out)
}

// A pipeAnswer is a pipe as descriptions and lists show it.
type pipeAnswer struct {
	Arn, Name                  string
	DesiredState, CurrentState string
	StateReason                string `json:",omitempty"`
	CreationTime               stamp
	LastModifiedTime           stamp
	*pipeDocument
}

// longestReason bounds a StateReason, in characters.
const longestReason = 512

// state says how far a pipe is. It is running where this process runs it, since all
// do the same, and stopped when nobody in the cluster reads for it any more.
func (a *API) state(ctx context.Context, doc catalog.Document, b *pipeBody) (out pipeAnswer, err error) {
	out = pipeAnswer{Arn: a.pipeARN(doc.Name), Name: doc.Name, DesiredState: running, CreationTime: stamp(doc.Created), LastModifiedTime: stamp(doc.Changed)}
	if doc.Stopped {
		out.DesiredState = stopped
	}
	out.CurrentState, out.StateReason, err = a.current(ctx, doc, b)
	if runes := []rune(out.StateReason); len(runes) > longestReason {
		out.StateReason = string(runes[:longestReason])
	}
	return out, err
}

func (a *API) current(ctx context.Context, doc catalog.Document, b *pipeBody) (state, reason string, err error) {
	if err := a.cfg.Definitions.Problem(doc.Name); err != nil {
		if doc.Stopped && b.Change == stop {
			return stopped, err.Error(), nil // what cannot run has stopped
		}
		return b.failed(), err.Error(), nil
	}
	local, err := a.cfg.Pipes.Local(doc.Name)
	if errors.Is(err, pipe.ErrNoPipe) || err == nil && local.Version < doc.Version {
		return under[b.Change], "", nil // it has not been taken up yet
	}
	if doc.Stopped {
		return a.stopping(ctx, doc, b, local, "")
	}
	if held, why := a.cfg.Pipes.State(doc.Name); held != pipe.Running {
		return a.stopping(ctx, doc, b, local, strings.TrimSuffix("The pipe is "+held+": "+why, ": "))
	}
	switch {
	case local.Err != nil:
		return b.failed(), local.Err.Error(), nil
	case local.Running:
		return running, "", nil
	}
	return under[b.Change], "", nil
}

func (b *pipeBody) failed() string { return b.Change + "_FAILED" }

// stopping says whether a pipe that is to stop has stopped.
func (a *API) stopping(ctx context.Context, doc catalog.Document, b *pipeBody, local pipe.Local, reason string) (string, string, error) {
	if !local.Running {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		members, err := a.cfg.Pipes.Members(ctx, doc.Name)
		if errors.Is(err, pipe.ErrElsewhere) { // nobody reads from what nobody reaches
			return stopped, cmp.Or(reason, "The pipe is stopped; "+err.Error()), nil
		}
		if err != nil || members == 0 {
			return stopped, reason, err
		}
	}
	if b.Change == start {
		return under[stop], reason, nil
	}
	return under[b.Change], reason, nil
}

// settled refuses a change of a pipe that is still busy with the one before.
func (a *API) settled(ctx context.Context, doc catalog.Document, b *pipeBody) (string, error) {
	state, _, err := a.current(ctx, doc, b)
	if err != nil {
		return "", err
	}
	for _, busy := range under {
		if state == busy {
			return "", &fault{name: "ConflictException", status: http.StatusConflict, members: map[string]any{"resourceId": doc.Name, "resourceType": "pipe"},
				message: "Pipe " + doc.Name + " is " + state + "; try again when that is done."}
		}
	}
	return state, nil
}

// updatePipe serves UpdatePipe. What it leaves out stays.
func (a *API) updatePipe(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	var q pipeRequest
	name, v := nameOf(r)
	if err := decode(r, &q); err != nil {
		return err
	}
	v.required("roleArn", q.RoleArn, roleShape)
	v.oneOf("desiredState", q.DesiredState, running, stopped)
	if err := v.fault(); err != nil {
		return err
	}
	doc, b, err := a.onePipe(r, who, "pipes:UpdatePipe")
	if err != nil {
		return err
	}
	if q.Source != nil && *q.Source != textOf(b.Pipe.Source) {
		return invalid("Source of a pipe cannot be changed.")
	}
	if err := b.Pipe.update(&q.pipeDocument); err != nil {
		return err
	}
	b.Pipe.check(v)
	if a.cfg.StrictFilters {
		q.SourceParameters.checkStrict(v)
	}
	if len(v.texts) == 0 {
		a.checkLoop(v, &b.Pipe)
	}
	if err := v.fault(); err != nil {
		return err
	}
	if err := a.allowPipe(r, who, "pipes:UpdatePipe", name, &b.Pipe); err != nil {
		return err
	}
	if err := a.try(r.Context(), name, &b); err != nil {
		return err
	}
	if q.DesiredState != nil {
		doc.Stopped = *q.DesiredState == stopped
	}
	b.Change = update
	if doc, err = a.putPipe(r.Context(), who, name, &b, doc.Stopped, doc.Version); err != nil {
		return err
	}
	return a.answerPipe(w, doc, under[update])
}

// startPipe serves StartPipe. A pipe that runs stays as it is.
func (a *API) startPipe(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	return a.turn(w, r, who, "pipes:StartPipe", start)
}

// stopPipe serves StopPipe. A pipe that has stopped stays as it is.
func (a *API) stopPipe(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	return a.turn(w, r, who, "pipes:StopPipe", stop)
}

func (a *API) turn(w http.ResponseWriter, r *http.Request, who gate.Principal, action gate.Action, change string) error {
	doc, b, err := a.onePipe(r, who, action)
	if err != nil {
		return err
	}
	state, err := a.settled(r.Context(), doc, &b)
	if err != nil {
		return err
	}
	if change == start && state == running || change == stop && state == stopped && doc.Stopped {
		return a.answerPipe(w, doc, state)
	}
	if held, _ := a.cfg.Pipes.State(doc.Name); change == start && held != pipe.Running {
		if err := a.cfg.Pipes.Resume(r.Context(), doc.Name); err != nil {
			return err
		}
	}
	b.Change = change
	if doc, err = a.putPipe(r.Context(), who, doc.Name, &b, change == stop, doc.Version); err != nil {
		return err
	}
	return a.answerPipe(w, doc, under[change])
}

// deletePipe serves DeletePipe. Deliveries that are under way end, and a consumer group
// that klamm has made for the pipe goes with it (pipes.md 3).
func (a *API) deletePipe(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	doc, b, err := a.onePipe(r, who, "pipes:DeletePipe")
	if err != nil {
		return err
	}
	if err := a.cfg.Store.Delete(r.Context(), catalog.KindPipe, doc.Name, catalog.Any); err != nil {
		return err
	}
	if err := a.cfg.Pipes.Forget(r.Context(), doc.Name); err != nil {
		a.cfg.Log.Warn("what is remembered of a deleted pipe cannot be forgotten", "pipe", doc.Name, "err", err)
	}
	if s, err := a.sourceOf(&b.Pipe); err == nil && b.group() == b.Group {
		a.cfg.Pipes.DropGroup(catalog.Pipe{Name: doc.Name, Group: b.Group, SourceCluster: s.cluster, SourceLogin: s.login})
	}
	doc.Changed = now()
	return a.answerPipe(w, doc, "DELETING")
}

// listPipes serves ListPipes.
func (a *API) listPipes(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	query := r.URL.Query()
	v := &violations{}
	text := func(name string) *string {
		if values, ok := query[name]; ok {
			return &values[0]
		}
		return nil
	}
	prefix, desired, current, from, to := text("NamePrefix"), text("DesiredState"), text("CurrentState"), text("SourcePrefix"), text("TargetPrefix")
	v.text("namePrefix", prefix, nameShape)
	v.oneOf("desiredState", desired, running, stopped)
	v.oneOf("currentState", current, currentStates...)
	v.text("sourcePrefix", from, long(1, 1600))
	v.text("targetPrefix", to, long(1, 1600))
	page, err := pageOf(query, v)
	if err != nil {
		return err
	}
	if err := a.allow(r, who, "pipes:ListPipes", a.pipeARN("*")); err != nil {
		return err
	}
	docs, err := a.cfg.Store.List(r.Context(), catalog.KindPipe, textOf(prefix))
	if err != nil {
		return err
	}
	list := []listedPipe{}
	for _, doc := range docs {
		if doc.Dialect != dialect || !page.wants(doc.Name) {
			continue
		}
		if _, shadowed := a.cfg.Definitions.InFile(doc.Name); shadowed {
			continue
		}
		b, err := readPipe(doc)
		if err != nil || !strings.HasPrefix(textOf(b.Pipe.Source), textOf(from)) || !strings.HasPrefix(textOf(b.Pipe.Target), textOf(to)) || desired != nil && (*desired == stopped) != doc.Stopped {
			continue
		}
		if current != nil && *current == running && doc.Stopped {
			continue // whether it has stopped yet need not be asked
		}
		if page.full(len(list)) {
			break
		}
		out, err := a.state(r.Context(), doc, &b)
		if err != nil {
			return err
		}
		if current != nil && out.CurrentState != *current {
			continue
		}
		list = append(list, listedPipe{out, b.Pipe.Source, b.Pipe.Target, b.Pipe.Enrichment})
		page.last = doc.Name
	}
	return write(w, pipes.media, page.answer("Pipes", list))
}

// A listedPipe is a pipe as lists show it.
type listedPipe struct {
	pipeAnswer
	Source, Target *string
	Enrichment     *string `json:",omitempty"`
}

var currentStates = []string{running, stopped, "CREATING", "UPDATING", "DELETING", "STARTING", "STOPPING", "CREATE_FAILED", "UPDATE_FAILED", "START_FAILED", "STOP_FAILED", "DELETE_FAILED",
	"CREATE_ROLLBACK_FAILED", "DELETE_ROLLBACK_FAILED", "UPDATE_ROLLBACK_FAILED"}

// pageOf reads what part of a list is wanted from a query.
func pageOf(query url.Values, v *violations) (*page, error) {
	var q pageRequest
	if values, ok := query["NextToken"]; ok {
		q.NextToken = &values[0]
	}
	if values, ok := query["Limit"]; ok {
		var n number
		if err := json.Unmarshal([]byte(values[0]), &n); err != nil {
			v.say("limit", "want a number")
		} else {
			q.Limit = &n
		}
	}
	return q.page(v)
}
