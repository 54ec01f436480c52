package registry

import (
	"cmp"
	"encoding/json"
	"slices"
	"sync"

	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/table"
)

// A version is one version of a subject.
type version struct {
	schemaValue
	context string
	written table.Version
	known   *identity // nil until somebody asked
}

// A stamp tells states of the table apart: whatever is written after one, the number
// of entries or the sum of their versions is another one, since a newer version is
// larger than all older ones.
type stamp struct {
	entries int
	sum     int64
}

// An index answers questions about the content of a table. It is safe for concurrent
// use.
type index struct {
	mu       sync.RWMutex // guards what follows
	stamp    stamp
	entries  map[string]table.Version
	keys     map[string]recordKey
	subjects map[string][]*version // by version, also deleted ones
	ids      map[string]map[int][]*version
	highest  map[string]int // id that was ever given, by context, as far as schemas tell
	kept     map[string]int // the same as it is written down
	configs  map[string]Config
	modes    map[string]Mode
	deleted  map[string]deletion
}

// A deletion says up to which version a subject is deleted, and when that was written:
// a version that was written later is there again.
type deletion struct {
	version int
	written table.Version
}

func newIndex() *index {
	return &index{entries: map[string]table.Version{}, keys: map[string]recordKey{}, subjects: map[string][]*version{}, ids: map[string]map[int][]*version{},
		highest: map[string]int{}, kept: map[string]int{}, configs: map[string]Config{}, modes: map[string]Mode{}, deleted: map[string]deletion{}}
}

// catchUp takes over the whole present content of a table.
func (x *index) catchUp(t *table.Table) {
	x.mu.Lock()
	defer x.mu.Unlock()
	there := map[string]bool{}
	for _, e := range t.List("") {
		there[e.Key] = true
		x.put(e)
	}
	for key := range x.entries {
		if !there[key] {
			x.drop(key)
		}
	}
}

// refresh takes over the present state of some entries. What it is told of may be older
// than that.
func (x *index) refresh(t *table.Table, keys []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, key := range keys {
		if e, ok := t.Get(key); ok {
			x.put(e)
		} else {
			x.drop(key)
		}
	}
}

// put takes over an entry. One that cannot be read counts for the stamp and for nothing
// else. It is called with mu held.
func (x *index) put(e table.Entry) {
	if x.entries[e.Key] == e.Version {
		return
	}
	x.drop(e.Key)
	x.entries[e.Key] = e.Version
	x.stamp.entries++
	x.stamp.sum += int64(e.Version)
	var key recordKey
	if json.Unmarshal([]byte(e.Key), &key) != nil {
		return
	}
	x.keys[e.Key] = key
	subject := key.subject()
	switch key.Kind {
	case kindSchema:
		v := &version{written: e.Version}
		if json.Unmarshal(e.Value, &v.schemaValue) != nil || v.Version < 1 || v.Subject != subject || v.Version != key.Version {
			delete(x.keys, e.Key)
			return
		}
		if v.Type == "" {
			v.Type = schema.Avro
		}
		x.add(v)
	case kindConfig:
		var c Config
		if json.Unmarshal(e.Value, &c) == nil {
			x.configs[subject] = c
		}
	case kindMode:
		var m modeValue
		if json.Unmarshal(e.Value, &m) == nil && m.Mode != "" {
			x.modes[subject] = m.Mode
		}
	case kindDelete:
		var d deleteValue
		if json.Unmarshal(e.Value, &d) == nil {
			x.deleted[subject] = deletion{d.Version, e.Version}
		}
	case kindNoop:
		var n noopValue
		if json.Unmarshal(e.Value, &n) == nil {
			x.kept = n.Highest
		}
	}
}

// drop forgets an entry. It is called with mu held.
func (x *index) drop(name string) {
	written, ok := x.entries[name]
	if !ok {
		return
	}
	key := x.keys[name]
	delete(x.entries, name)
	delete(x.keys, name)
	x.stamp.entries--
	x.stamp.sum -= int64(written)
	subject := key.subject()
	switch key.Kind {
	case kindSchema:
		x.remove(subject, key.Version)
	case kindConfig:
		delete(x.configs, subject)
	case kindMode:
		delete(x.modes, subject)
	case kindDelete:
		delete(x.deleted, subject)
	case kindNoop:
		x.kept = nil
	}
}

func (x *index) add(v *version) {
	v.context, _ = split(v.Subject)
	list := x.subjects[v.Subject]
	at, _ := slices.BinarySearchFunc(list, v, func(a, b *version) int { return cmp.Compare(a.Version, b.Version) })
	x.subjects[v.Subject] = slices.Insert(list, at, v)
	if x.ids[v.context] == nil {
		x.ids[v.context] = map[int][]*version{}
	}
	x.ids[v.context][v.ID] = append(x.ids[v.context][v.ID], v)
	x.highest[v.context] = max(x.highest[v.context], v.ID)
}

func (x *index) remove(subject string, number int) {
	list := x.subjects[subject]
	at := slices.IndexFunc(list, func(v *version) bool { return v.Version == number })
	if at < 0 {
		return
	}
	v := list[at]
	if x.subjects[subject] = slices.Delete(slices.Clone(list), at, at+1); len(x.subjects[subject]) == 0 {
		delete(x.subjects, subject)
	}
	ids := x.ids[v.context]
	if ids[v.ID] = slices.DeleteFunc(slices.Clone(ids[v.ID]), func(o *version) bool { return o == v }); len(ids[v.ID]) == 0 {
		delete(ids, v.ID)
	}
	if len(ids) == 0 {
		delete(x.ids, v.context)
	}
}

// isDeleted says whether a version is deleted. It is called with mu held.
func (x *index) isDeleted(v *version) bool {
	d, ok := x.deleted[v.Subject]
	return v.Deleted || ok && v.Version <= d.version && v.written < d.written
}

// A which says which versions are asked for.
type which int

const (
	active which = iota // those that are not deleted
	all
	deletedOnly
)

// whether is all where deleted versions are asked for too, and active where they are not.
func whether(deleted bool) which {
	if deleted {
		return all
	}
	return active
}

func (x *index) wants(v *version, w which) bool {
	return w == all || x.isDeleted(v) == (w == deletedOnly)
}

// state returns what the table was when the index last changed.
func (x *index) state() stamp {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.stamp
}

// versions returns the versions of a subject, oldest first.
func (x *index) versions(subject string, w which) []*version {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var out []*version
	for _, v := range x.subjects[subject] {
		if x.wants(v, w) {
			out = append(out, v)
		}
	}
	return out
}

// version returns one version of a subject, or its latest; nil if there is none.
func (x *index) version(subject string, number int, w which) *version {
	list := x.versions(subject, w)
	if number == schema.Latest {
		if len(list) == 0 {
			return nil
		}
		return list[len(list)-1]
	}
	for _, v := range list {
		if v.Version == number {
			return v
		}
	}
	return nil
}

// withID returns the versions that have an id in a context, by subject and version.
// Deleted ones are among them if asked for.
func (x *index) withID(context string, id int, w which) []*version {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var out []*version
	for _, v := range x.ids[context][id] {
		if x.wants(v, w) {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b *version) int {
		return cmp.Or(compareText(a.Subject, b.Subject), cmp.Compare(a.Version, b.Version))
	})
	return out
}

// top is the highest id that was given in a context.
func (x *index) top(context string) int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return max(x.highest[context], x.kept[context])
}

// names returns the subjects that have such versions, sorted.
func (x *index) names(w which) []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var out []string
	for subject, list := range x.subjects {
		living := slices.ContainsFunc(list, func(v *version) bool { return !x.isDeleted(v) })
		if w == all || living == (w == active) {
			out = append(out, subject)
		}
	}
	slices.Sort(out)
	return out
}

// of returns every version in a context, also deleted ones.
func (x *index) of(context string) []*version {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var out []*version
	for _, list := range x.ids[context] {
		out = append(out, list...)
	}
	return out
}

// identified returns the identity of a version if it is known.
func (x *index) identified(v *version) (identity, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if v.known == nil {
		return identity{}, false
	}
	return *v.known, true
}

func (x *index) identify(v *version, id identity) {
	x.mu.Lock()
	defer x.mu.Unlock()
	v.known = &id
}
