package registry

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/klamm-gateway/klamm/schema"
)

// A Schema is a version of a subject as it is shown.
type Schema struct {
	Subject           string
	Version           int
	ID                int
	Type              schema.Format
	References        []schema.Reference
	Text              string
	Metadata, RuleSet json.RawMessage
	Deleted           bool
}

// shown makes a version fit to be shown.
func (x *index) shown(v *version) Schema {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return Schema{Subject: v.Subject, Version: v.Version, ID: v.ID, Type: v.Type, References: v.References, Text: v.Text,
		Metadata: v.Metadata, RuleSet: v.RuleSet, Deleted: x.isDeleted(v)}
}

// Which versions a list is of, by the names of the query parameters for it.
type Which struct {
	Deleted     bool // deleted ones too
	DeletedOnly bool // no others
}

func (w Which) which() which {
	switch {
	case w.DeletedOnly:
		return deletedOnly
	case w.Deleted:
		return all
	}
	return active
}

// Subjects returns the subjects with a prefix, sorted. The prefix :*: and what follows
// it is about all contexts.
func (r *Registry) Subjects(ctx context.Context, prefix string, w Which) ([]string, error) {
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	out := []string{}
	for _, subject := range r.index.names(w.which()) {
		if hasPrefix(subject, prefix) {
			out = append(out, subject)
		}
	}
	return out, nil
}

// hasPrefix says whether a subject begins with a prefix in whose context it lies.
func hasPrefix(subject, prefix string) bool {
	context, name := split(subject)
	if rest, ok := strings.CutPrefix(prefix, ":*:"); ok {
		return strings.HasPrefix(name, rest)
	}
	own, start := split(prefix)
	return context == own && strings.HasPrefix(name, start)
}

// Contexts returns the names of the contexts that have subjects, and the default one.
func (r *Registry) Contexts(ctx context.Context) ([]string, error) {
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	out := []string{DefaultContext}
	for _, subject := range r.index.names(all) {
		if context, _ := split(subject); !slices.Contains(out, context) {
			out = append(out, context)
		}
	}
	slices.Sort(out)
	return out, nil
}

// List returns schemas of the subjects with a prefix, by subject and version; latest
// says that of each subject only the last one is asked for.
func (r *Registry) List(ctx context.Context, prefix string, w Which, latest bool) ([]Schema, error) {
	subjects, err := r.Subjects(ctx, prefix, Which{Deleted: w.Deleted || w.DeletedOnly})
	if err != nil {
		return nil, err
	}
	out := []Schema{}
	for _, subject := range subjects {
		list := r.index.versions(subject, w.which())
		if latest && len(list) > 0 {
			list = list[len(list)-1:]
		}
		for _, v := range list {
			out = append(out, r.index.shown(v))
		}
	}
	return out, nil
}

// SubjectVersions returns the numbers of a subject's versions; none, if the subject is
// there and such versions of it are not.
func (r *Registry) SubjectVersions(ctx context.Context, subject string, w Which) ([]int, error) {
	subject, err := canonical(subject)
	if err != nil {
		return nil, err
	}
	return read(ctx, r, func() ([]int, error) {
		if len(r.index.versions(subject, whether(w.Deleted || w.DeletedOnly))) == 0 {
			return nil, noSubject(subject)
		}
		out := []int{}
		for _, v := range r.index.versions(subject, w.which()) {
			out = append(out, v.Version)
		}
		return out, nil
	})
}

// Version returns a version of a subject, or schema.Latest; deleted says that it may be
// a deleted one, which the latest never is.
func (r *Registry) Version(ctx context.Context, subject string, number int, deleted bool) (Schema, error) {
	subject, err := canonical(subject)
	if err != nil {
		return Schema{}, err
	}
	w := whether(deleted)
	return read(ctx, r, func() (Schema, error) {
		of := w
		if number == schema.Latest {
			of = active
		}
		v := r.index.version(subject, number, of)
		switch {
		case v != nil:
			return r.index.shown(v), nil
		case len(r.index.versions(subject, w)) == 0:
			return Schema{}, noSubject(subject)
		}
		return Schema{}, noVersion(number)
	})
}

// WithMetadata returns the latest version of a subject whose metadata has these
// properties; deleted says that it may be a deleted one. The refusals are 40401 and
// 40403.
func (r *Registry) WithMetadata(ctx context.Context, subject string, properties map[string]string, deleted bool) (Schema, error) {
	subject, err := canonical(subject)
	if err != nil {
		return Schema{}, err
	}
	w := whether(deleted)
	return read(ctx, r, func() (Schema, error) {
		list := r.index.versions(subject, w)
		if len(list) == 0 {
			return Schema{}, noSubject(subject)
		}
		for _, v := range slices.Backward(list) {
			if v.hasProperties(properties) {
				return r.index.shown(v), nil
			}
		}
		return Schema{}, refuse(codeSchemaNotFound, "Schema not found")
	})
}

// hasProperties says whether the metadata of a version has properties with these values.
func (v *version) hasProperties(want map[string]string) bool {
	var metadata struct {
		Properties map[string]string `json:"properties"`
	}
	if json.Unmarshal(v.Metadata, &metadata) != nil {
		return false
	}
	for name, value := range want {
		if got, ok := metadata.Properties[name]; !ok || got != value {
			return false
		}
	}
	return true
}

// WithID returns the versions that have an id, by subject and version. The subject, if
// there is one, says in which context to look, and which versions if it has a name; the
// default context comes first, and where it does not know the id, those that know the
// subject. Deleted versions come last, and keep their ids: records were written with
// them.
func (r *Registry) WithID(ctx context.Context, id int, subject string) ([]Schema, error) {
	subject, err := canonical(subject)
	if err != nil {
		return nil, err
	}
	return read(ctx, r, func() ([]Schema, error) {
		context, name := split(subject)
		list := append(r.index.withID(context, id, active), r.index.withID(context, id, deletedOnly)...)
		if len(list) == 0 && context == DefaultContext && name != "" {
			for _, other := range r.index.contexts() {
				if len(r.index.versions(qualify(other, name), all)) > 0 {
					list = append(list, r.index.withID(other, id, all)...)
				}
			}
		}
		if len(list) == 0 {
			return nil, refuse(codeSchemaNotFound, "Schema %d not found", id)
		}
		out := []Schema{}
		for _, v := range list {
			out = append(out, r.index.shown(v))
		}
		return out, nil
	})
}

func (x *index) contexts() []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var out []string
	for context := range x.ids {
		out = append(out, context)
	}
	slices.Sort(out)
	return out
}

// HighestID returns the highest id that was given in the context of a subject; zero if
// none was.
func (r *Registry) HighestID(ctx context.Context, subject string) (int, error) {
	if err := r.open(ctx); err != nil {
		return 0, err
	}
	context, _ := split(subject)
	return r.index.top(context), nil
}

// ReferencedBy returns the ids of the schemas that refer to a version of a subject.
func (r *Registry) ReferencedBy(ctx context.Context, subject string, number int, w Which) ([]int, error) {
	v, err := r.Version(ctx, subject, number, true)
	if err != nil {
		return nil, err
	}
	out := []int{}
	for _, user := range r.index.referring(v.Subject, v.Version, w.which()) {
		if !slices.Contains(out, user.ID) {
			out = append(out, user.ID)
		}
	}
	slices.Sort(out)
	return out, nil
}

// referring returns the versions that refer to a version of a subject.
func (x *index) referring(subject string, number int, w which) []*version {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var out []*version
	for _, list := range x.subjects {
		for _, v := range list {
			if x.wants(v, w) && slices.ContainsFunc(v.References, func(ref schema.Reference) bool {
				return ref.Version == number && inContext(v.context, ref.Subject) == subject
			}) {
				out = append(out, v)
			}
		}
	}
	return out
}

// Serialized returns the descriptor of a Protobuf schema in base64, for clients that ask
// for the format serialized.
func (r *Registry) Serialized(ctx context.Context, s Schema) (string, error) {
	return read(ctx, r, func() (string, error) {
		context, _ := split(s.Subject)
		src, err := r.source(context, schema.Definition{Format: s.Type, Text: s.Text, References: s.References}, true)
		if err != nil {
			return "", refuse(codeInvalidSchema, "Invalid schema: %s", clipLong(err.Error()))
		}
		p, err := r.parsed(src)
		if err != nil || p.proto == nil {
			return "", refuse(codeInvalidSchema, "The schema cannot be shown in this format.")
		}
		return p.proto.serialized()
	})
}

// Resolved returns the text of an Avro schema with what it refers to in it, for clients
// that ask for the format resolved; other schemas as they are.
func (r *Registry) Resolved(ctx context.Context, s Schema) (string, error) {
	if s.Type != schema.Avro {
		return s.Text, nil
	}
	return read(ctx, r, func() (string, error) {
		context, _ := split(s.Subject)
		src, err := r.source(context, schema.Definition{Format: s.Type, Text: s.Text, References: s.References}, true)
		if err != nil {
			return "", refuse(codeInvalidSchema, "Invalid schema: %s", clipLong(err.Error()))
		}
		p, err := r.parsed(src)
		if err != nil {
			return "", refuse(codeInvalidSchema, "Invalid schema: %s", clipLong(err.Error()))
		}
		return p.avro.whole().print(false), nil
	})
}

func listed(problems []string) string { return strings.Join(problems, ", ") }

func itoa(n int) string { return strconv.Itoa(n) }
