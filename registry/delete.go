package registry

import (
	"context"
	"maps"

	"github.com/klamm-gateway/klamm/schema"
)

// mostRemoved bounds the versions that one call deletes for good: they go in one
// transaction.
const mostRemoved = 2000

// DeleteSubject deletes all versions of a subject and returns their numbers. What is
// deleted stays readable by id until it is deleted once more, permanently. The refusals
// are 40401, 40404 for what is deleted already, 40405 for what has to be deleted first,
// and 42206 for what others refer to.
func (r *Registry) DeleteSubject(ctx context.Context, subject string, permanent bool) ([]int, error) {
	subject, err := canonical(subject)
	if err != nil {
		return nil, err
	}
	var numbers []int
	err = r.change(ctx, func() ([]write, error) {
		if r.index.modeFor(subject).readOnly() {
			return nil, readOnly(subject)
		}
		every, living := r.index.versions(subject, all), r.index.versions(subject, active)
		switch {
		case len(every) == 0:
			return nil, noSubject(subject)
		case permanent && len(living) > 0:
			return nil, refuse(codeSubjectNotDeleted, "Subject '%s' was not deleted first before being permanently deleted", clip(subject))
		case !permanent && len(living) == 0:
			return nil, refuse(codeSubjectDeleted, "Subject '%s' was soft deleted.Set permanent=true to delete permanently", clip(subject))
		case len(every) > mostRemoved && permanent:
			return nil, refuse(codeTooLarge, "The subject has more than %d versions; delete them one by one first", mostRemoved)
		}
		going := living
		if permanent {
			going = every
		}
		numbers = []int{}
		for _, v := range going {
			if err := r.unreferenced(v); err != nil {
				return nil, err
			}
			numbers = append(numbers, v.Version)
		}
		if !permanent {
			last := going[len(going)-1].Version
			return append(r.forgotten(subject), write{keyOf(kindDelete, subject), encode(deleteValue{subject, last})}), nil
		}
		writes := r.remember(going)
		for _, v := range going {
			writes = append(writes, write{schemaKey(subject, v.Version), nil})
		}
		return append(append(writes, r.forgotten(subject)...), write{keyOf(kindDelete, subject), nil}), nil
	})
	return numbers, err
}

// forgotten takes back what was set for a subject that goes.
func (r *Registry) forgotten(subject string) []write {
	var writes []write
	if _, ok := r.index.mode(subject); ok {
		writes = append(writes, write{keyOf(kindMode, subject), nil})
	}
	if _, ok := r.index.config(subject); ok {
		writes = append(writes, write{keyOf(kindConfig, subject), nil})
	}
	return writes
}

// DeleteVersion deletes a version of a subject, or schema.Latest, and returns its
// number. With the last one the settings and the mode of the subject go. The rules of
// DeleteSubject hold; the refusals are 40402, 40406 and 40407.
func (r *Registry) DeleteVersion(ctx context.Context, subject string, number int, permanent bool) (int, error) {
	subject, err := canonical(subject)
	if err != nil {
		return 0, err
	}
	gone := 0
	err = r.change(ctx, func() ([]write, error) {
		if r.index.modeFor(subject).readOnly() {
			return nil, readOnly(subject)
		}
		living := r.index.version(subject, number, active)
		v := living
		if v == nil && number != schema.Latest {
			v = r.index.version(subject, number, all)
		}
		switch {
		case v == nil && len(r.index.versions(subject, all)) == 0:
			return nil, noSubject(subject)
		case v == nil:
			return nil, noVersion(number)
		case permanent && living != nil:
			return nil, refuse(codeVersionNotDeleted, "Subject '%s' Version %d was not deleted first before being permanently deleted", clip(subject), v.Version)
		case !permanent && living == nil:
			return nil, refuse(codeVersionDeleted, "Subject '%s' Version %d was soft deleted.Set permanent=true to delete permanently", clip(subject), v.Version)
		}
		if err := r.unreferenced(v); err != nil {
			return nil, err
		}
		gone = v.Version
		if permanent {
			return append(r.remember([]*version{v}), write{schemaKey(subject, v.Version), nil}), nil
		}
		stored := v.schemaValue
		stored.Deleted = true
		if stored.Type == schema.Avro {
			stored.Type = ""
		}
		writes := []write{{schemaKey(subject, v.Version), encode(stored)}}
		if len(r.index.versions(subject, active)) == 1 {
			writes = append(writes, r.forgotten(subject)...)
		}
		return writes, nil
	})
	return gone, err
}

// unreferenced refuses to let a version go that others refer to.
func (r *Registry) unreferenced(v *version) error {
	if len(r.index.referring(v.Subject, v.Version, active)) > 0 {
		return refuse(codeReferenceExists, "One or more references exist to the schema {magic=1,keytype=SCHEMA,subject=%s,version=%d}.", clip(v.Subject), v.Version)
	}
	return nil
}

// remember writes down the highest id of a context if it is among those that go, so that
// it is not given again: records may have been written with it.
func (r *Registry) remember(going []*version) []write {
	kept := maps.Clone(r.index.written())
	if kept == nil {
		kept = map[string]int{}
	}
	changed := false
	for _, v := range going {
		if top := r.index.top(v.context); v.ID == top && kept[v.context] < top {
			kept[v.context], changed = top, true
		}
	}
	if !changed {
		return nil
	}
	return []write{{noopKey, encode(noopValue{kept})}}
}

func (x *index) written() map[string]int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.kept
}
