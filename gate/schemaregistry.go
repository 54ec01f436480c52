package gate

import (
	"context"

	"github.com/klamm-gateway/klamm/registry"
)

// The actions on the embedded schema registry, by their IAM names. They are done to a
// subject, and those on settings and lists to a subject or, with an empty name, to the
// whole registry.
const (
	DescribeSchema   Action = "schemas:DescribeSchema"
	ListSchemas      Action = "schemas:ListSchemas"
	CreateSchema     Action = "schemas:CreateSchema"
	DeleteSchema     Action = "schemas:DeleteSchema"
	DescribeRegistry Action = "schemas:DescribeRegistry"
	UpdateRegistry   Action = "schemas:UpdateRegistry"
)

// A SchemaRegistry is the guarded way to the embedded schema registry. Its methods are those of
// registry.Registry, with the caller. It is safe for concurrent use.
type SchemaRegistry struct {
	gate     *Gate
	registry *registry.Registry
}

// NewSchemaRegistry puts a gate in front of a registry.
func NewSchemaRegistry(g *Gate, r *registry.Registry) *SchemaRegistry { return &SchemaRegistry{g, r} }

// allow asks whether something may be done to a subject.
func (s *SchemaRegistry) allow(ctx context.Context, who Principal, action Action, subject string) error {
	return s.gate.allow(ctx, who, action, "subject", subject)
}

// shown leaves out of a list what the caller may not see.
func shown[T any](list []T, see func(T) bool) []T {
	out := list[:0:0]
	for _, one := range list {
		if see(one) {
			out = append(out, one)
		}
	}
	return out
}

// Subjects returns the subjects that the caller may see.
func (s *SchemaRegistry) Subjects(ctx context.Context, who Principal, prefix string, w registry.Which) ([]string, error) {
	list, err := s.registry.Subjects(ctx, prefix, w)
	if err != nil {
		return nil, err
	}
	sees := s.gate.sees(ctx, who, DescribeSchema, "subject")
	return append([]string{}, shown(list, sees.of)...), sees.err
}

// List returns the schemas that the caller may see.
func (s *SchemaRegistry) List(ctx context.Context, who Principal, prefix string, w registry.Which, latest bool) ([]registry.Schema, error) {
	list, err := s.registry.List(ctx, prefix, w, latest)
	if err != nil {
		return nil, err
	}
	sees := s.gate.sees(ctx, who, DescribeSchema, "subject")
	return append([]registry.Schema{}, shown(list, func(one registry.Schema) bool { return sees.of(one.Subject) })...), sees.err
}

// Contexts returns the names of the contexts.
func (s *SchemaRegistry) Contexts(ctx context.Context, who Principal) ([]string, error) {
	if err := s.allow(ctx, who, ListSchemas, ""); err != nil {
		return nil, err
	}
	return s.registry.Contexts(ctx)
}

// SubjectVersions returns the numbers of a subject's versions.
func (s *SchemaRegistry) SubjectVersions(ctx context.Context, who Principal, subject string, w registry.Which) ([]int, error) {
	if err := s.allow(ctx, who, DescribeSchema, subject); err != nil {
		return nil, err
	}
	return s.registry.SubjectVersions(ctx, subject, w)
}

// Version returns a version of a subject.
func (s *SchemaRegistry) Version(ctx context.Context, who Principal, subject string, number int, deleted bool) (registry.Schema, error) {
	if err := s.allow(ctx, who, DescribeSchema, subject); err != nil {
		return registry.Schema{}, err
	}
	return s.registry.Version(ctx, subject, number, deleted)
}

// WithMetadata returns the latest version of a subject whose metadata has properties.
func (s *SchemaRegistry) WithMetadata(ctx context.Context, who Principal, subject string, properties map[string]string, deleted bool) (registry.Schema, error) {
	if err := s.allow(ctx, who, DescribeSchema, subject); err != nil {
		return registry.Schema{}, err
	}
	return s.registry.WithMetadata(ctx, subject, properties, deleted)
}

// WithID returns the versions that have an id, of subjects that the caller may see. Who
// may see none of them gets a Denial.
func (s *SchemaRegistry) WithID(ctx context.Context, who Principal, id int, subject string) ([]registry.Schema, error) {
	list, err := s.registry.WithID(ctx, id, subject)
	if err != nil {
		return nil, err
	}
	sees := s.gate.sees(ctx, who, DescribeSchema, "subject")
	seen := shown(list, func(one registry.Schema) bool { return sees.of(one.Subject) })
	if len(seen) == 0 {
		return nil, s.allow(ctx, who, DescribeSchema, list[0].Subject)
	}
	return seen, nil
}

// HighestID returns the highest id that was given in the context of a subject.
func (s *SchemaRegistry) HighestID(ctx context.Context, who Principal, subject string) (int, error) {
	if err := s.allow(ctx, who, ListSchemas, ""); err != nil {
		return 0, err
	}
	return s.registry.HighestID(ctx, subject)
}

// ReferencedBy returns the ids of the schemas that refer to a version of a subject.
func (s *SchemaRegistry) ReferencedBy(ctx context.Context, who Principal, subject string, number int, w registry.Which) ([]int, error) {
	if err := s.allow(ctx, who, DescribeSchema, subject); err != nil {
		return nil, err
	}
	return s.registry.ReferencedBy(ctx, subject, number, w)
}

// Formatted returns a schema that was shown to the caller in another format: resolved or
// serialized; any other name leaves it as it is.
func (s *SchemaRegistry) Formatted(ctx context.Context, one registry.Schema, format string) (string, error) {
	switch format {
	case "resolved":
		return s.registry.Resolved(ctx, one)
	case "serialized":
		return s.registry.Serialized(ctx, one)
	}
	return one.Text, nil
}

// Register makes a schema the latest version of a subject.
func (s *SchemaRegistry) Register(ctx context.Context, who Principal, subject string, q registry.Request) (registry.Schema, error) {
	if err := s.allow(ctx, who, CreateSchema, subject); err != nil {
		return registry.Schema{}, err
	}
	return s.registry.RegisterSchema(ctx, subject, q)
}

// LookUp returns the version of a subject that is a schema.
func (s *SchemaRegistry) LookUp(ctx context.Context, who Principal, subject string, q registry.Request, deleted bool) (registry.Schema, error) {
	if err := s.allow(ctx, who, DescribeSchema, subject); err != nil {
		return registry.Schema{}, err
	}
	return s.registry.LookUp(ctx, subject, q, deleted)
}

// Try says what keeps a schema from following versions of a subject.
func (s *SchemaRegistry) Try(ctx context.Context, who Principal, subject string, number int, q registry.Request) ([]string, error) {
	if err := s.allow(ctx, who, DescribeSchema, subject); err != nil {
		return nil, err
	}
	return s.registry.Try(ctx, subject, number, q)
}

// DeleteSubject deletes all versions of a subject.
func (s *SchemaRegistry) DeleteSubject(ctx context.Context, who Principal, subject string, permanent bool) ([]int, error) {
	if err := s.allow(ctx, who, DeleteSchema, subject); err != nil {
		return nil, err
	}
	return s.registry.DeleteSubject(ctx, subject, permanent)
}

// DeleteVersion deletes a version of a subject.
func (s *SchemaRegistry) DeleteVersion(ctx context.Context, who Principal, subject string, number int, permanent bool) (int, error) {
	if err := s.allow(ctx, who, DeleteSchema, subject); err != nil {
		return 0, err
	}
	return s.registry.DeleteVersion(ctx, subject, number, permanent)
}

// Config returns the settings of a subject, or of all.
func (s *SchemaRegistry) Config(ctx context.Context, who Principal, subject string, inherit bool) (registry.Config, error) {
	if err := s.allow(ctx, who, DescribeRegistry, subject); err != nil {
		return registry.Config{}, err
	}
	return s.registry.Config(ctx, subject, inherit)
}

// Aliased returns the subject that a subject stands for. It is to be asked for before
// what is done to the subject, so that policies see that one.
func (s *SchemaRegistry) Aliased(ctx context.Context, subject string) (string, error) {
	return s.registry.Aliased(ctx, subject)
}

// SetConfig changes settings of a subject, or of all. Who makes an alias has to be allowed
// to change what it stands for, too.
func (s *SchemaRegistry) SetConfig(ctx context.Context, who Principal, subject string, c registry.Config) error {
	if err := s.allow(ctx, who, UpdateRegistry, subject); err != nil {
		return err
	}
	if c.Alias != nil && *c.Alias != "" {
		if err := s.allow(ctx, who, UpdateRegistry, *c.Alias); err != nil {
			return err
		}
	}
	return s.registry.SetConfig(ctx, subject, c)
}

// DeleteConfig takes back the settings of a subject, or of all.
func (s *SchemaRegistry) DeleteConfig(ctx context.Context, who Principal, subject string) (registry.Config, error) {
	if err := s.allow(ctx, who, UpdateRegistry, subject); err != nil {
		return registry.Config{}, err
	}
	return s.registry.DeleteConfig(ctx, subject)
}

// Mode returns the mode of a subject, or of all.
func (s *SchemaRegistry) Mode(ctx context.Context, who Principal, subject string, inherit bool) (registry.Mode, error) {
	if err := s.allow(ctx, who, DescribeRegistry, subject); err != nil {
		return "", err
	}
	return s.registry.Mode(ctx, subject, inherit)
}

// SetMode changes the mode of a subject, or of all.
func (s *SchemaRegistry) SetMode(ctx context.Context, who Principal, subject string, m registry.Mode, force bool) error {
	if err := s.allow(ctx, who, UpdateRegistry, subject); err != nil {
		return err
	}
	return s.registry.SetMode(ctx, subject, m, force)
}

// DeleteMode takes back the mode of a subject, or of all.
func (s *SchemaRegistry) DeleteMode(ctx context.Context, who Principal, subject string) (registry.Mode, error) {
	if err := s.allow(ctx, who, UpdateRegistry, subject); err != nil {
		return "", err
	}
	return s.registry.DeleteMode(ctx, subject)
}
