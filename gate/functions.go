package gate

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/kafka"
)

// The actions on functions, by their IAM names.
const (
	InvokeFunction              Action = "lambda:InvokeFunction"
	CreateFunction              Action = "lambda:CreateFunction"
	GetFunction                 Action = "lambda:GetFunction"
	ListFunctions               Action = "lambda:ListFunctions"
	UpdateFunctionCode          Action = "lambda:UpdateFunctionCode"
	UpdateFunctionConfiguration Action = "lambda:UpdateFunctionConfiguration"
	DeleteFunction              Action = "lambda:DeleteFunction"
	TagFunction                 Action = "lambda:TagResource"
	UntagFunction               Action = "lambda:UntagResource"
	ListFunctionTags            Action = "lambda:ListTags"
)

// AsyncTopic holds invocations that nobody waits for, until a function has taken
// them: the key is the function's name, headers have the rest.
const AsyncTopic = "__klamm_async"

// ErrRevision says that a function is no longer at the revision that the caller named.
var ErrRevision = errors.New("the function is not at that revision any more")

// A FunctionsConfig is what Functions works with. All fields are required.
type FunctionsConfig struct {
	Gate    *Gate
	Store   *catalog.Store
	Codes   *catalog.Codes
	Host    *function.Host
	Cluster *kafka.Cluster
	// File are the functions of the configuration file: nobody changes them at run
	// time, and they win over others of their name.
	File            []catalog.Function
	Region, Account string
	Log             *slog.Logger
}

// Functions is the guarded way to functions: definitions in the catalog, their code,
// and the host that runs them, which is kept up to date with every change that any
// process makes. It is safe for concurrent use.
type Functions struct {
	cfg   FunctionsConfig
	file  map[string]catalog.Function
	asked atomic.Bool // for AsyncTopic
}

// NewFunctions returns the functions of a catalog, which must not run yet.
func NewFunctions(cfg FunctionsConfig) *Functions {
	f := &Functions{cfg: cfg, file: map[string]catalog.Function{}}
	for _, def := range cfg.File {
		f.file[def.Name] = def
		cfg.Host.Set(f.definition(def))
	}
	cfg.Store.Watch(f.see)
	return f
}

// see takes over what has changed in the catalog.
func (f *Functions) see(keys []string) {
	for _, key := range keys {
		name, ok := strings.CutPrefix(key, catalog.KindFunction+"/")
		if _, inFile := f.file[name]; !ok || inFile {
			continue
		}
		doc, ok := f.cfg.Store.Look(catalog.KindFunction, name)
		if !ok {
			f.cfg.Host.Remove(name)
			continue
		}
		def, err := functionOf(doc)
		if err != nil {
			f.cfg.Log.Error("function cannot be read; it stays as it was", "function", name, "err", err)
			continue
		}
		f.cfg.Host.Set(f.definition(def))
	}
}

func functionOf(doc catalog.Document) (catalog.Function, error) {
	var def catalog.Function
	err := json.Unmarshal(doc.Body, &def)
	def.Name = doc.Name
	return def, err
}

// definition is a function as the host knows it.
func (f *Functions) definition(def catalog.Function) function.Definition {
	d := def.Definition()
	d.ARN = f.ARN(def.Name)
	if code := def.Code; code != nil {
		d.Package = &function.Package{Digest: code.Digest, Fetch: func(ctx context.Context) ([]byte, error) { return f.cfg.Codes.Get(ctx, *code) }}
	}
	return d
}

// ARN returns the ARN of a function.
func (f *Functions) ARN(name string) string {
	return "arn:aws:lambda:" + f.cfg.Region + ":" + f.cfg.Account + ":function:" + name
}

func (f *Functions) allow(ctx context.Context, who Principal, action Action, name string) error {
	arn := f.ARN(name)
	if name == "*" { // what has no function to name
		arn = "*"
	}
	return f.cfg.Gate.allow(ctx, who, action, "arn", arn)
}

// find returns a function and its version in the catalog; 0: it is in the file.
func (f *Functions) find(ctx context.Context, name string) (catalog.Function, int64, error) {
	if def, ok := f.file[name]; ok {
		return def, 0, nil
	}
	doc, err := f.cfg.Store.Get(ctx, catalog.KindFunction, name)
	if err != nil {
		return catalog.Function{}, 0, err
	}
	def, err := functionOf(doc)
	return def, doc.Version, err
}

// Get returns a function.
func (f *Functions) Get(ctx context.Context, who Principal, name string) (catalog.Function, error) {
	if err := f.allow(ctx, who, GetFunction, name); err != nil {
		return catalog.Function{}, err
	}
	def, _, err := f.find(ctx, name)
	return def, err
}

// List returns the functions by name.
func (f *Functions) List(ctx context.Context, who Principal) ([]catalog.Function, error) {
	if err := f.allow(ctx, who, ListFunctions, "*"); err != nil {
		return nil, err
	}
	docs, err := f.cfg.Store.List(ctx, catalog.KindFunction, "")
	if err != nil {
		return nil, err
	}
	var all []catalog.Function
	for _, def := range f.file {
		all = append(all, def)
	}
	for _, doc := range docs {
		if _, ok := f.file[doc.Name]; ok {
			continue
		}
		def, err := functionOf(doc)
		if err != nil {
			return nil, err
		}
		all = append(all, def)
	}
	slices.SortFunc(all, func(a, b catalog.Function) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// Create makes a function of a package of code, which has been checked.
func (f *Functions) Create(ctx context.Context, who Principal, def catalog.Function, archive []byte) (catalog.Function, error) {
	if err := f.allow(ctx, who, CreateFunction, def.Name); err != nil {
		return catalog.Function{}, err
	}
	if _, ok := f.file[def.Name]; ok {
		return catalog.Function{}, fmt.Errorf("%w: function %q", catalog.ErrExists, def.Name)
	}
	if _, err := f.cfg.Store.Get(ctx, catalog.KindFunction, def.Name); err == nil {
		return catalog.Function{}, fmt.Errorf("%w: function %q", catalog.ErrExists, def.Name)
	} else if !errors.Is(err, catalog.ErrNotFound) {
		return catalog.Function{}, err
	}
	code, err := f.cfg.Codes.Put(ctx, function.Digest(archive), archive)
	if err != nil {
		return catalog.Function{}, err
	}
	def.Code = &code
	def, err = f.put(ctx, who, def, catalog.Absent)
	if err != nil {
		f.cfg.Codes.Delete(context.WithoutCancel(ctx), code)
	}
	return def, err
}

// put stores a function with a new revision.
func (f *Functions) put(ctx context.Context, who Principal, def catalog.Function, expect int64) (catalog.Function, error) {
	def.Revision, def.Changed = uuid.NewString(), time.Now().UTC().Truncate(time.Millisecond)
	body, err := json.Marshal(def)
	if err != nil {
		return catalog.Function{}, err
	}
	_, err = f.cfg.Store.Put(ctx, catalog.Document{Kind: catalog.KindFunction, Name: def.Name, Dialect: "aws", By: who.Name, Body: body}, expect)
	return def, err
}

// Change changes the configuration or the tags of a function; a revision that is not
// empty is what the caller believes it to be at.
func (f *Functions) Change(ctx context.Context, who Principal, action Action, name, revision string, change func(*catalog.Function) error) (catalog.Function, error) {
	if err := f.allow(ctx, who, action, name); err != nil {
		return catalog.Function{}, err
	}
	for {
		def, version, err := f.find(ctx, name)
		if err != nil {
			return catalog.Function{}, err
		}
		if version == 0 {
			return catalog.Function{}, fmt.Errorf("%w: function %q", catalog.ErrReadOnly, name)
		}
		if revision != "" && revision != def.Revision {
			return catalog.Function{}, ErrRevision
		}
		if err := change(&def); err != nil {
			return catalog.Function{}, err
		}
		def, err = f.put(ctx, who, def, version)
		if !errors.Is(err, catalog.ErrConflict) {
			return def, err
		}
	}
}

// UpdateCode replaces the code of a function by a package that has been checked.
func (f *Functions) UpdateCode(ctx context.Context, who Principal, name, revision string, archive []byte) (catalog.Function, error) {
	if err := f.allow(ctx, who, UpdateFunctionCode, name); err != nil {
		return catalog.Function{}, err
	}
	if _, version, err := f.find(ctx, name); err != nil {
		return catalog.Function{}, err
	} else if version == 0 {
		return catalog.Function{}, fmt.Errorf("%w: function %q", catalog.ErrReadOnly, name)
	}
	code, err := f.cfg.Codes.Put(ctx, function.Digest(archive), archive)
	if err != nil {
		return catalog.Function{}, err
	}
	var old *catalog.Code
	def, err := f.Change(ctx, who, UpdateFunctionCode, name, revision, func(def *catalog.Function) error {
		old, def.Code = def.Code, &code
		return nil
	})
	if err != nil {
		old = &code
	}
	if old != nil {
		f.cfg.Codes.Delete(context.WithoutCancel(ctx), *old)
	}
	return def, err
}

// Delete removes a function and its code.
func (f *Functions) Delete(ctx context.Context, who Principal, name string) error {
	if err := f.allow(ctx, who, DeleteFunction, name); err != nil {
		return err
	}
	def, version, err := f.find(ctx, name)
	if err != nil {
		return err
	}
	if version == 0 {
		return fmt.Errorf("%w: function %q", catalog.ErrReadOnly, name)
	}
	if err := f.cfg.Store.Delete(ctx, catalog.KindFunction, name, catalog.Any); err != nil {
		return err
	}
	if def.Code != nil {
		f.cfg.Codes.Delete(context.WithoutCancel(ctx), *def.Code)
	}
	return nil
}

// MayInvoke says whether a caller may invoke a function that is there; nil: yes.
func (f *Functions) MayInvoke(ctx context.Context, who Principal, name string) error {
	if err := f.allow(ctx, who, InvokeFunction, name); err != nil {
		return err
	}
	_, _, err := f.find(ctx, name)
	return err
}

// Invoke runs a function once. The errors are those of function.Host.Invoke, beside
// a refusal.
func (f *Functions) Invoke(ctx context.Context, who Principal, name string, in function.Invocation) (function.Outcome, error) {
	if err := f.MayInvoke(ctx, who, name); err != nil {
		return function.Outcome{}, err
	}
	return f.cfg.Host.Invoke(ctx, name, in)
}

// Enqueue keeps an invocation in Kafka until the function has taken it.
func (f *Functions) Enqueue(ctx context.Context, who Principal, name string, in function.Invocation) error {
	if err := f.MayInvoke(ctx, who, name); err != nil {
		return err
	}
	return f.keep(ctx, name, in)
}

// Queue is Enqueue for what klamm itself delivers: nobody is asked. The error is
// function.ErrNotFound if there is no function of that name.
func (f *Functions) Queue(ctx context.Context, name string, in function.Invocation) error {
	if _, ok := f.file[name]; !ok {
		if _, ok = f.cfg.Store.Look(catalog.KindFunction, name); !ok {
			return fmt.Errorf("%w: %s", function.ErrNotFound, name)
		}
	}
	return f.keep(ctx, name, in)
}

// keep writes an invocation into the topic of the queue.
func (f *Functions) keep(ctx context.Context, name string, in function.Invocation) error {
	r := &kgo.Record{Topic: AsyncTopic, Partition: -1, Key: []byte(name), Value: bytes.Clone(in.Payload), Headers: []kgo.RecordHeader{{Key: function.QueuedID, Value: []byte(in.ID)}}}
	if r.Value == nil {
		r.Value = []byte{}
	}
	if in.Trace != "" {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: function.QueuedTrace, Value: []byte(in.Trace)})
	}
	if in.ClientContext != "" {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: function.QueuedClientContext, Value: []byte(in.ClientContext)})
	}
	if !f.asked.Load() {
		largest := fmt.Sprint(function.MaxAsync + 64<<10)
		if err := f.cfg.Cluster.EnsureTopic(ctx, AsyncTopic, 4, map[string]*string{"max.message.bytes": &largest}); err != nil {
			return err
		}
		f.asked.Store(true)
	}
	return f.cfg.Cluster.Produce(ctx, r).FirstErr()
}
