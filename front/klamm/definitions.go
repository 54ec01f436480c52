package klamm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

// A Catalog is what definitions are changed with. The zero value has none.
type Catalog struct {
	Store       *catalog.Store
	Definitions *catalog.Definitions
	// Decode reads a pipe in the words of the configuration file, YAML or JSON; its
	// error says all that is wrong.
	Decode func(text []byte) (catalog.Pipe, error)
	// Raw returns YAML or JSON as JSON.
	Raw func(text []byte) ([]byte, error)
}

// Where definitions come from.
const (
	fromFile    = "file"
	fromCatalog = "catalog"
	fromAWS     = "aws"
)

// A definitionDoc is a definition and what is known of it.
type definitionDoc struct {
	Pipe string `json:"pipe"`
	// Origin is file, catalog or aws: only those of the catalog can be changed here.
	Origin string `json:"origin"`
	// Version is what If-Match names; 0 is that of the configuration file.
	Version int64     `json:"version"`
	Created time.Time `json:"created,omitzero"`
	Changed time.Time `json:"changed,omitzero"`
	By      string    `json:"by,omitempty"`
	Stopped bool      `json:"stopped,omitempty"`
	// Shadowed says that the configuration file has a pipe of that name, which wins.
	Shadowed bool `json:"shadowed,omitempty"`
	// Problem says why it is not carried out.
	Problem    string          `json:"problem,omitempty"`
	Definition json.RawMessage `json:"definition,omitempty"`
	Before     *catalog.Former `json:"before,omitempty"`
}

// definitionRoutes are those that change definitions.
func (a api) definitionRoutes() []front.Route {
	routes := []front.Route{
		{Name: "definitions.list", Pattern: "GET /klamm/v1/definitions", Serve: a.listDefinitions},
		{Name: "pipes.create", Pattern: "POST /klamm/v1/pipes", Serve: a.createPipe},
		{Name: "pipes.put", Pattern: "PUT /klamm/v1/pipes/{pipe}", Serve: a.putPipe},
		{Name: "pipes.delete", Pattern: "DELETE /klamm/v1/pipes/{pipe}", Serve: a.deletePipe},
		{Name: "pipes.definition", Pattern: "GET /klamm/v1/pipes/{pipe}/definition", Serve: a.getDefinition},
	}
	if a.cfg.Catalog.Store == nil {
		for i := range routes {
			routes[i].Serve = func(http.ResponseWriter, *http.Request, gate.Principal) error {
				return &gate.Error{Kind: gate.Unsupported, Message: "there is no catalog here: pipes are as the configuration file says"}
			}
		}
	}
	return routes
}

// describe shows a document.
func (a api) describe(d catalog.Document) definitionDoc {
	doc := definitionDoc{Pipe: d.Name, Origin: fromCatalog, Version: d.Version, Created: d.Created, Changed: d.Changed, By: d.By, Stopped: d.Stopped, Definition: d.Body, Before: d.Before}
	if d.Dialect != "" {
		doc.Origin = fromAWS
	}
	_, doc.Shadowed = a.cfg.Catalog.Definitions.InFile(d.Name)
	if err := a.cfg.Catalog.Definitions.Problem(d.Name); err != nil {
		doc.Problem = err.Error()
	}
	return doc
}

// listDefinitions serves GET /klamm/v1/definitions ?recent=N: {"definitions":
// [definitionDoc]} of all pipes that the caller may see, and what is wrong with the
// catalog. With recent, they are those that were changed last, at most N, the newest
// first, without what they say and what they said before; "more" tells whether there are
// others.
func (a api) listDefinitions(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	q, err := queryOf(r, "recent")
	if err != nil {
		return err
	}
	recent := 0
	if text := q.text("recent"); text != "" {
		if recent, err = strconv.Atoi(text); err != nil || recent < 1 || recent > mostRows {
			return invalid(fmt.Sprintf("recent %.100q: want a number from 1 to %d", text, mostRows))
		}
	}
	seen := []definitionDoc{}
	more := false
	if recent > 0 {
		seen, more, err = a.changedLast(r, who, recent)
	} else {
		var all []definitionDoc
		all, err = a.definitions(r.Context())
		for _, d := range all {
			if a.allow(r, who, gate.AdminRead, d.Pipe) == nil {
				seen = append(seen, d)
			}
		}
	}
	if err != nil {
		return err
	}
	out := map[string]any{"definitions": seen}
	if recent > 0 {
		out["more"] = more
	}
	if err := a.cfg.Catalog.Store.Health(); err != nil {
		out["problem"] = oneLine(err)
	}
	return writeJSON(w, http.StatusOK, "application/json", out)
}

// changedLast returns the definitions that were changed last, at most n of those that the
// caller may see, and whether there are others.
func (a api) changedLast(r *http.Request, who gate.Principal, n int) (seen []definitionDoc, more bool, err error) {
	store := a.cfg.Catalog.Store
	changes, err := store.Changes(r.Context(), catalog.KindPipe)
	if err != nil {
		return nil, false, err
	}
	last, more := newest(changes, n, func(name string) bool { return a.allow(r, who, gate.AdminRead, name) == nil })
	seen = []definitionDoc{}
	for _, c := range last {
		d, err := store.Get(r.Context(), catalog.KindPipe, c.Name)
		if errors.Is(err, catalog.ErrNotFound) {
			continue // gone meanwhile
		}
		if err != nil {
			return nil, false, err
		}
		doc := a.describe(d)
		doc.Definition, doc.Before = nil, nil
		seen = append(seen, doc)
	}
	return seen, more, nil
}

// newest returns at most n of the changes whose definitions may be seen, the newest first and
// those of the same time by name, and whether there are others. There may be thousands, of
// which nobody wants all sorted.
func newest(changes []catalog.Change, n int, seen func(name string) bool) (last []catalog.Change, more bool) {
	order := func(x, y catalog.Change) int {
		return cmp.Or(y.Changed.Compare(x.Changed), cmp.Compare(x.Name, y.Name))
	}
	for _, c := range changes {
		if c.Changed.IsZero() || len(last) > n && order(c, last[n]) >= 0 || !seen(c.Name) {
			continue
		}
		at, _ := slices.BinarySearchFunc(last, c, order)
		last = slices.Insert(last, at, c)
		last = last[:min(len(last), n+1)]
	}
	return last[:min(len(last), n)], len(last) > n
}

// definitions returns all that there are, of the configuration file and of the catalog.
func (a api) definitions(ctx context.Context) ([]definitionDoc, error) {
	c := a.cfg.Catalog
	docs, err := c.Store.List(ctx, catalog.KindPipe, "")
	if err != nil {
		return nil, err
	}
	var list []definitionDoc
	for _, name := range a.cfg.Pipes.Names() {
		if _, ok := c.Definitions.InFile(name); ok {
			list = append(list, definitionDoc{Pipe: name, Origin: fromFile})
		}
	}
	for _, d := range docs {
		list = append(list, a.describe(d))
	}
	for _, odd := range c.Store.Unreadable() {
		if odd.Kind == catalog.KindPipe {
			list = append(list, definitionDoc{Pipe: odd.Name, Origin: fromCatalog, Version: odd.Version, Problem: odd.Err.Error()})
		}
	}
	return list, nil
}

// getDefinition serves GET /klamm/v1/pipes/{pipe}/definition. Definitions of the
// configuration file are not shown: they may hold what is not for everybody.
func (a api) getDefinition(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := a.named(r, who, gate.AdminRead)
	if err != nil {
		return err
	}
	if _, err := queryOf(r); err != nil {
		return err
	}
	if _, ok := a.cfg.Catalog.Definitions.InFile(name); ok {
		return writeJSON(w, http.StatusOK, "application/json", definitionDoc{Pipe: name, Origin: fromFile})
	}
	d, err := a.cfg.Catalog.Store.Get(r.Context(), catalog.KindPipe, name)
	if err != nil {
		return err
	}
	return a.writeDefinition(w, http.StatusOK, a.describe(d))
}

func (a api) writeDefinition(w http.ResponseWriter, status int, doc definitionDoc) error {
	w.Header().Set("ETag", `"`+strconv.FormatInt(doc.Version, 10)+`"`)
	return writeJSON(w, status, "application/json", doc)
}

// createPipe serves POST /klamm/v1/pipes: a pipe in the words of the configuration
// file. ?dry_run=true only checks it.
func (a api) createPipe(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	return a.store(w, r, who, "", catalog.Absent)
}

// putPipe serves PUT /klamm/v1/pipes/{pipe}: the pipe is made, or replaced. If-Match
// names the version that is replaced, and If-None-Match: * makes a new one only.
func (a api) putPipe(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	expect, err := expectation(r)
	if err != nil {
		return err
	}
	return a.store(w, r, who, r.PathValue("pipe"), expect)
}

// expectation reads If-Match and If-None-Match.
func expectation(r *http.Request) (int64, error) {
	if r.Header.Get("If-None-Match") == "*" {
		return catalog.Absent, nil
	}
	text := r.Header.Get("If-Match")
	if text == "" || text == "*" {
		return catalog.Any, nil
	}
	n, err := strconv.ParseInt(strings.Trim(text, `"`), 10, 64)
	if err != nil || n < 1 {
		return 0, invalid("If-Match: want the version of a definition, as in its ETag")
	}
	return n, nil
}

// store checks a definition and stores it. The name is that of the path, if there is
// one.
func (a api) store(w http.ResponseWriter, r *http.Request, who gate.Principal, name string, expect int64) error {
	q, err := queryOf(r, "dry_run")
	if err != nil {
		return err
	}
	dry, err := q.flag("dry_run")
	if err != nil {
		return err
	}
	text, release, err := front.ReadBodyWithin(r, catalog.MaxDocument)
	if err != nil {
		return err
	}
	defer release()
	p, raw, err := a.readPipe(text)
	if err != nil {
		return err
	}
	if name != "" && p.Name != name {
		return invalid(fmt.Sprintf("name: the path says %q, and the definition %q", name, p.Name))
	}
	if err := a.allowPipe(r, who, p); err != nil {
		return err
	}
	was, err := a.replaceable(r.Context(), p.Name)
	if err != nil {
		return err
	}
	if err := a.works(p); err != nil {
		return err
	}
	if dry {
		return a.dryRun(w, p.Name, was, raw, expect)
	}
	doc := catalog.Document{Kind: catalog.KindPipe, Name: p.Name, By: who.Name, Body: raw}
	status := http.StatusCreated
	if was != nil {
		status, doc.Stopped = http.StatusOK, was.Stopped
	}
	kept, err := a.cfg.Catalog.Store.Put(r.Context(), doc, expect)
	if err != nil {
		return err
	}
	return a.writeDefinition(w, status, a.describe(kept))
}

// readPipe reads a definition that came with a call.
func (a api) readPipe(text []byte) (catalog.Pipe, json.RawMessage, error) {
	p, err := a.cfg.Catalog.Decode(text)
	if err != nil {
		return p, nil, err
	}
	raw, err := a.cfg.Catalog.Raw(text)
	if err != nil {
		return p, nil, invalid("the body: " + err.Error())
	}
	for _, t := range []*catalog.Target{&p.Target, enrichmentOf(p)} {
		if t == nil {
			continue
		}
		if problem := localProblem(t.Config); problem != "" {
			return p, nil, invalid(problem)
		}
	}
	return p, raw, nil
}

func enrichmentOf(p catalog.Pipe) *catalog.Target {
	if p.Enrich == nil {
		return nil
	}
	return &p.Enrich.Target
}

// envPrefix begins the environment variables that definitions may name.
const envPrefix = "KLAMM_SECRET_"

// localProblem says what a definition must not name that is made by a call: files and
// variables of the machines that klamm runs on are for who configures those.
func localProblem(config json.RawMessage) string {
	var v any
	if json.Unmarshal(config, &v) != nil {
		return ""
	}
	return localIn(v)
}

func localIn(v any) string {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			text, isText := value.(string)
			switch {
			case isText && text != "" && (name == "file" || name == "directory"), name == "stdout" && value == true:
				return fmt.Sprintf("%s: what is on the machines that klamm runs on is for definitions in the configuration file", name)
			case isText && name == "env" && len(v) == 1 && !strings.HasPrefix(text, envPrefix):
				return "env: a definition that is made at run time may name environment variables that begin with " + envPrefix
			}
			if problem := localIn(value); problem != "" {
				return problem
			}
		}
	case []any:
		for _, value := range v {
			if problem := localIn(value); problem != "" {
				return problem
			}
		}
	}
	return ""
}

// allowPipe asks the gate whether the caller may make a pipe, and may itself read and
// write what the pipe does: it must not be a way around that.
func (a api) allowPipe(r *http.Request, who gate.Principal, p catalog.Pipe) error {
	if err := a.allow(r, who, gate.AdminWrite, p.Name); err != nil {
		return err
	}
	for _, t := range p.Topics {
		if err := a.cfg.Gate.Admin(r.Context(), who, gate.ReadData, gate.Resource{Kind: "topic", Name: t}); err != nil {
			return err
		}
	}
	for _, t := range []string{p.TargetTopic(), p.Delivery.DeadLetter} {
		if t == "" {
			continue
		}
		if err := a.cfg.Gate.Admin(r.Context(), who, gate.WriteData, gate.Resource{Kind: "topic", Name: t}); err != nil {
			return err
		}
	}
	return nil
}

// replaceable returns what a definition replaces; nil: nothing.
func (a api) replaceable(ctx context.Context, name string) (*catalog.Document, error) {
	if _, ok := a.cfg.Catalog.Definitions.InFile(name); ok {
		return nil, fmt.Errorf("%w: pipe %q", catalog.ErrReadOnly, name)
	}
	d, err := a.cfg.Catalog.Store.Get(ctx, catalog.KindPipe, name)
	switch {
	case errors.Is(err, catalog.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case d.Dialect != "":
		return nil, &gate.Error{Kind: gate.Conflict, Message: fmt.Sprintf("pipe %q was made through the EventBridge Pipes API, and is changed there", name)}
	}
	return &d, nil
}

// works checks what a definition cannot be checked for on its own.
func (a api) works(p catalog.Pipe) error {
	if err := a.cfg.Catalog.Definitions.CheckReaders(p); err != nil {
		return err
	}
	if err := a.cfg.Pipes.Check(p); err != nil {
		return invalid(oneLine(err))
	}
	return nil
}

// dryRun says what storing a definition would do.
func (a api) dryRun(w http.ResponseWriter, name string, was *catalog.Document, raw json.RawMessage, expect int64) error {
	change := "create"
	switch {
	case was != nil && expect == catalog.Absent:
		return fmt.Errorf("%w: pipe %q", catalog.ErrExists, name)
	case was == nil && expect > 0:
		return fmt.Errorf("%w: pipe %q", catalog.ErrNotFound, name)
	case was != nil && expect > 0 && was.Version != expect:
		return fmt.Errorf("%w: pipe %q is at version %d", catalog.ErrConflict, name, was.Version)
	case was != nil && sameJSON(was.Body, raw):
		change = "none"
	case was != nil:
		change = "replace"
	}
	out := map[string]any{"pipe": name, "change": change, "definition": raw}
	if was != nil {
		out["version"], out["before"] = was.Version, was.Body
	}
	return writeJSON(w, http.StatusOK, "application/json", out)
}

// sameJSON says whether two documents say the same.
func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return string(p) == string(q)
}

// deletePipe serves DELETE /klamm/v1/pipes/{pipe}; If-Match names the version.
// Committed offsets and dead letters stay.
func (a api) deletePipe(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name := r.PathValue("pipe")
	if err := a.allow(r, who, gate.AdminWrite, name); err != nil {
		return err
	}
	if _, err := queryOf(r); err != nil {
		return err
	}
	expect, err := expectation(r)
	if err != nil {
		return err
	}
	was, err := a.replaceable(r.Context(), name)
	if err != nil {
		return err
	}
	if was == nil {
		return fmt.Errorf("%w: %q", pipe.ErrNoPipe, name)
	}
	if err := a.cfg.Catalog.Store.Delete(r.Context(), catalog.KindPipe, name, expect); err != nil {
		return err
	}
	if err := a.cfg.Pipes.Forget(r.Context(), name); err != nil {
		a.cfg.Log.Warn("what is remembered of a deleted pipe cannot be forgotten", "pipe", name, "err", err)
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"pipe": name, "deleted": true})
}
