package registry

import (
	"context"
	"net/http"
)

// A Config is what was set for a subject, for a context or for all.
type Config struct {
	// Level is empty where nothing is set.
	Level Level `json:"compatibilityLevel,omitempty"`
	// Normalize stores schemas in their normalised form; nil where nothing is set.
	Normalize *bool `json:"normalize,omitempty"`
	// Alias is the subject that a subject stands for; nil or empty where it stands for
	// itself. It does not lead to another alias.
	Alias *string `json:"alias,omitempty"`
}

// configValue is a Config as it lies in the topic.
type configValue struct {
	Subject string `json:"subject,omitempty"`
	Config
}

// everywhere stands for all contexts: its settings count where neither a subject nor its
// context has any.
const everywhere = ":.__GLOBAL:"

// chain are the subjects whose settings count for a subject, the nearest first: its
// own, those of its context, and those of all contexts.
func chain(subject string) []string {
	context, name := split(subject)
	around := ""
	if context != DefaultContext {
		around = qualify(context, "")
	}
	if name == "" {
		return []string{around, everywhere}
	}
	return []string{subject, around, everywhere}
}

// configFor returns what counts for a subject.
func (x *index) configFor(subject string) Config {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var out Config
	for _, s := range chain(subject) {
		c := x.configs[s]
		if s == subject {
			out.Alias = c.Alias
		}
		if out.Level == "" {
			out.Level = c.Level
		}
		if out.Normalize == nil {
			out.Normalize = c.Normalize
		}
	}
	if out.Level == "" {
		out.Level = Backward
	}
	return out
}

// normalizes says whether schemas of a subject are stored in their normalised form.
func (r *Registry) normalizes(subject string) bool {
	n := r.index.configFor(subject).Normalize
	return n != nil && *n
}

// modeFor returns the mode that counts for a subject.
func (x *index) modeFor(subject string) Mode {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if m := x.modes[""]; m == ReadOnlyOverride {
		return m
	}
	for _, s := range chain(subject) {
		if m := x.modes[s]; m != "" {
			return m
		}
	}
	return ReadWrite
}

// Config returns the settings of a subject; the empty one stands for all. Inherit
// returns what counts for it, and otherwise a subject that has none of its own is
// refused with 40408.
func (r *Registry) Config(ctx context.Context, subject string, inherit bool) (Config, error) {
	subject, err := canonical(subject)
	if err != nil {
		return Config{}, err
	}
	return read(ctx, r, func() (Config, error) {
		if inherit || subject == "" {
			return r.index.configFor(subject), nil
		}
		if c, ok := r.index.config(subject); ok {
			return c, nil
		}
		return Config{}, refuse(codeNoConfig, "Subject '%s' does not have subject-level compatibility configured", clip(subject))
	})
}

func (x *index) config(subject string) (Config, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	c, ok := x.configs[subject]
	return c, ok
}

func (x *index) mode(subject string) (Mode, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	m, ok := x.modes[subject]
	return m, ok
}

// Aliased returns the subject that a subject stands for: itself, if it is no alias.
func (r *Registry) Aliased(ctx context.Context, subject string) (string, error) {
	is, err := canonical(subject)
	if err != nil || is == "" {
		return subject, nil //nolint:nilerr // what asks for the subject says what is wrong with it
	}
	return read(ctx, r, func() (string, error) {
		if c, _ := r.index.config(is); c.Alias != nil && *c.Alias != "" {
			return *c.Alias, nil
		}
		return subject, nil
	})
}

// SetConfig changes settings of a subject, or of all; what is not set in c stays as it
// is, and an empty alias takes that back. Only subjects may have one.
func (r *Registry) SetConfig(ctx context.Context, subject string, c Config) error {
	subject, err := canonical(subject)
	if err != nil {
		return err
	}
	if c.Alias != nil && *c.Alias != "" {
		if _, err := named(subject); err != nil {
			return refuse(http.StatusUnprocessableEntity, "An alias is a setting of a subject.")
		}
		alias, err := named(*c.Alias)
		if err != nil {
			return err
		}
		c.Alias = &alias
	}
	return r.change(ctx, func() ([]write, error) {
		if r.index.modeFor(subject).readOnly() {
			return nil, readOnly(subject)
		}
		is, _ := r.index.config(subject)
		if c.Level != "" {
			is.Level = c.Level
		}
		if c.Normalize != nil {
			is.Normalize = c.Normalize
		}
		if c.Alias != nil {
			if is.Alias = c.Alias; *c.Alias == "" {
				is.Alias = nil
			}
		}
		return []write{{keyOf(kindConfig, subject), encode(configValue{subject, is})}}, nil
	})
}

func readOnly(subject string) error { return notInMode(subject, "in read-only mode") }

// notInMode refuses what the mode of a subject does not allow; is says what it is in.
func notInMode(subject, is string) error {
	context, _ := split(subject)
	return refuse(codeNotPermitted, "Subject %s in context %s is %s", clip(subject), clip(qualifiedContext(context)), is)
}

// DeleteConfig takes back the settings of a subject, or of all, and returns them.
func (r *Registry) DeleteConfig(ctx context.Context, subject string) (Config, error) {
	subject, err := canonical(subject)
	if err != nil {
		return Config{}, err
	}
	var was Config
	err = r.change(ctx, func() ([]write, error) {
		if r.index.modeFor(subject).readOnly() {
			return nil, readOnly(subject)
		}
		var ok bool
		if was, ok = r.index.config(subject); !ok {
			if subject == "" {
				was.Level = Backward
				return nil, nil
			}
			return nil, noSubject(subject)
		}
		return []write{{keyOf(kindConfig, subject), nil}}, nil
	})
	return was, err
}

// Mode returns the mode of a subject; the rules of Config hold, and the refusal is 40409.
// ReadOnlyOverride, set for all, is the mode of every subject.
func (r *Registry) Mode(ctx context.Context, subject string, inherit bool) (Mode, error) {
	subject, err := canonical(subject)
	if err != nil {
		return "", err
	}
	return read(ctx, r, func() (Mode, error) {
		if is := r.index.modeFor(subject); inherit || subject == "" || is == ReadOnlyOverride {
			return is, nil
		}
		if m, ok := r.index.mode(subject); ok {
			return m, nil
		}
		return "", refuse(codeNoMode, "Subject '%s' does not have subject-level mode configured", clip(subject))
	})
}

// SetMode changes the mode of a subject, or of all. Import is refused with 42205 where
// there are schemas already, unless it is forced.
func (r *Registry) SetMode(ctx context.Context, subject string, m Mode, force bool) error {
	subject, err := canonical(subject)
	if err != nil {
		return err
	}
	return r.change(ctx, func() ([]write, error) {
		if was, _ := r.index.mode(subject); m == Import && was != Import && !force && r.inhabited(subject) {
			return nil, refuse(codeNotPermitted, "Cannot import since found existing subjects")
		}
		return []write{{keyOf(kindMode, subject), encode(modeValue{subject, m})}}, nil
	})
}

// inhabited says whether a subject has versions; one that stands for a context, whether
// anything in it has.
func (r *Registry) inhabited(subject string) bool {
	context, name := split(subject)
	if name != "" {
		return len(r.index.versions(subject, active)) > 0
	}
	for _, other := range r.index.names(active) {
		if own, _ := split(other); own == context {
			return true
		}
	}
	return false
}

// DeleteMode takes back the mode of a subject, or of all, and returns it.
func (r *Registry) DeleteMode(ctx context.Context, subject string) (Mode, error) {
	subject, err := canonical(subject)
	if err != nil {
		return "", err
	}
	was := ReadWrite
	err = r.change(ctx, func() ([]write, error) {
		m, ok := r.index.mode(subject)
		switch {
		case ok:
			was = m
		case subject == "":
			return nil, nil
		default:
			return nil, noSubject(subject)
		}
		return []write{{keyOf(kindMode, subject), nil}}, nil
	})
	return was, err
}
