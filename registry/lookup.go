package registry

import (
	"context"

	"github.com/klamm-gateway/klamm/schema"
)

// A Registry serves klamm's own codecs without HTTP.
var _ schema.Registry = (*Registry)(nil)

func (s Schema) registered() schema.Registered {
	return schema.Registered{Definition: schema.Definition{Format: s.Type, Text: s.Text, References: s.References}, Subject: s.Subject, Version: s.Version, ID: s.ID}
}

// ByID returns the schema of an id of the default context.
func (r *Registry) ByID(ctx context.Context, id int) (schema.Registered, error) {
	list, err := r.WithID(ctx, id, "")
	if err != nil {
		return schema.Registered{}, err
	}
	return list[0].registered(), nil
}

// ByVersion returns a version of a subject, or its schema.Latest.
func (r *Registry) ByVersion(ctx context.Context, subject string, version int) (schema.Registered, error) {
	subject, err := r.Aliased(ctx, subject)
	if err != nil {
		return schema.Registered{}, err
	}
	s, err := r.Version(ctx, subject, version, false)
	return s.registered(), err
}

// Referred returns a version of a subject, also a deleted one.
func (r *Registry) Referred(ctx context.Context, subject string, version int) (schema.Registered, error) {
	subject, err := r.Aliased(ctx, subject)
	if err != nil {
		return schema.Registered{}, err
	}
	s, err := r.Version(ctx, subject, version, true)
	return s.registered(), err
}

// Find returns the version of a subject that is this schema.
func (r *Registry) Find(ctx context.Context, subject string, d schema.Definition) (schema.Registered, error) {
	subject, err := r.Aliased(ctx, subject)
	if err != nil {
		return schema.Registered{}, err
	}
	s, err := r.LookUp(ctx, subject, Request{Definition: d}, false)
	return s.registered(), err
}

// Versions returns the subjects and versions that have the schema of an id of the
// default context and are not deleted.
func (r *Registry) Versions(ctx context.Context, id int) ([]schema.Registered, error) {
	list, err := r.WithID(ctx, id, "")
	if err != nil {
		return nil, err
	}
	var out []schema.Registered
	for _, s := range list {
		if !s.Deleted {
			out = append(out, schema.Registered{Subject: s.Subject, Version: s.Version})
		}
	}
	return out, nil
}

// Register makes a schema the newest version of a subject, unless the subject has it
// already, and returns its id.
func (r *Registry) Register(ctx context.Context, subject string, d schema.Definition) (int, error) {
	subject, err := r.Aliased(ctx, subject)
	if err != nil {
		return 0, err
	}
	s, err := r.RegisterSchema(ctx, subject, Request{Definition: d})
	return s.ID, err
}
