package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/secret"
)

// A Change is one difference between two configurations.
type Change struct {
	// Path is the key, such as limits[per-device].requests.rate: entries of lists that
	// have a name are told by it, others by their place from 0.
	Path string
	// Was and Is are the values; nil: there is none, or it is not shown. Of secrets it
	// is where they are.
	Was, Is *string
}

// mostShown is how much of a value is shown, in bytes.
const mostShown = 100

// Diff returns the differences between two configurations, by their paths. No secret
// is in it, and of documents, such as schemas and policies, only that they differ.
func Diff(was, is *Config) []Change {
	d := differ{}
	d.compare("", reflect.ValueOf(was).Elem(), reflect.ValueOf(is).Elem())
	slices.SortStableFunc(d.changes, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return d.changes
}

// Hash returns what tells configurations apart: 16 hexadecimal digits.
func (c *Config) Hash() string {
	d := differ{}
	d.compare("", reflect.Zero(reflect.TypeFor[Config]()), reflect.ValueOf(c).Elem())
	h := sha256.New()
	for _, one := range d.leaves {
		_, _ = fmt.Fprintf(h, "%d:%s%d:%s", len(one[0]), one[0], len(one[1]), one[1])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

type differ struct {
	changes []Change
	leaves  [][2]string // of paths and whole values; for Hash
}

var (
	refType  = reflect.TypeFor[secret.Ref]()
	timeType = reflect.TypeFor[time.Time]()
)

// compare notes where two values of one type differ. A value that is not valid is not
// there.
func (d *differ) compare(path string, a, b reflect.Value) {
	for a.IsValid() && a.Kind() == reflect.Pointer {
		a = a.Elem()
	}
	for b.IsValid() && b.Kind() == reflect.Pointer {
		b = b.Elem()
	}
	one := a
	if !one.IsValid() {
		one = b
	}
	if !one.IsValid() {
		return
	}
	switch t := one.Type(); {
	case t == refType, t == rawType, t == timeType:
		d.leaf(path, a, b)
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && f.Tag.Get("yaml") != "-" {
				d.compare(under(path, f), field(a, i), field(b, i))
			}
		}
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		d.entries(path, listed(a), listed(b))
	case t.Kind() == reflect.Map:
		d.entries(path, mapped(a), mapped(b))
	default:
		d.leaf(path, a, b)
	}
}

func field(v reflect.Value, i int) reflect.Value {
	if !v.IsValid() {
		return v
	}
	return v.Field(i)
}

// under is the path of a field.
func under(path string, f reflect.StructField) string {
	key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	switch {
	case strings.Contains(options, "inline"), key == "" && f.Anonymous:
		return path
	case key == "":
		key = strings.ToLower(f.Name)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// A part is one of a list or mapping.
type part struct {
	name  string
	value reflect.Value
}

// listed names the entries of a list.
func listed(v reflect.Value) (all []part) {
	if !v.IsValid() {
		return nil
	}
	for i := range v.Len() {
		name, one := strconv.Itoa(i), v.Index(i)
		for one.Kind() == reflect.Pointer && !one.IsNil() {
			one = one.Elem()
		}
		if one.Kind() == reflect.Struct {
			if f := one.FieldByName("Name"); f.IsValid() && f.Kind() == reflect.String && f.String() != "" {
				name = f.String()
			}
		}
		all = append(all, part{name, v.Index(i)})
	}
	return all
}

func mapped(v reflect.Value) (all []part) {
	if !v.IsValid() {
		return nil
	}
	for _, k := range v.MapKeys() {
		all = append(all, part{fmt.Sprint(k.Interface()), v.MapIndex(k)})
	}
	slices.SortFunc(all, func(a, b part) int { return strings.Compare(a.name, b.name) })
	return all
}

// entries compares those of the same name, and notes where the order is another.
func (d *differ) entries(path string, a, b []part) {
	of := func(all []part, name string) reflect.Value {
		for _, e := range all {
			if e.name == name {
				return e.value
			}
		}
		return reflect.Value{}
	}
	var before, after []string // of those that stay
	for _, e := range a {
		if other := of(b, e.name); other.IsValid() {
			before = append(before, e.name)
			d.compare(path+"["+e.name+"]", e.value, other)
		} else {
			d.leaf(path+"["+e.name+"]", e.value, reflect.Value{})
		}
	}
	for _, e := range b {
		if of(a, e.name).IsValid() {
			after = append(after, e.name)
		} else {
			d.leaf(path+"["+e.name+"]", reflect.Value{}, e.value)
		}
	}
	if !slices.Equal(before, after) {
		was, is := clip(strings.Join(before, ", ")), clip(strings.Join(after, ", "))
		d.changes = append(d.changes, Change{path + " (order)", &was, &is})
	}
}

// leaf notes values that differ.
func (d *differ) leaf(path string, a, b reflect.Value) {
	if b.IsValid() {
		whole, err := json.Marshal(b.Interface())
		if err != nil {
			whole = fmt.Appendf(nil, "%#v", b.Interface())
		}
		d.leaves = append(d.leaves, [2]string{path, string(whole)})
	}
	if a.IsValid() && b.IsValid() && reflect.DeepEqual(a.Interface(), b.Interface()) {
		return
	}
	d.changes = append(d.changes, Change{path, shown(a), shown(b)})
}

// shown is a value as it may be shown; nil: there is nothing to show.
func shown(v reflect.Value) *string {
	if !v.IsValid() || v.IsZero() && v.Kind() != reflect.Bool {
		return nil
	}
	text := ""
	switch t := v.Type(); {
	case t == refType:
		text = fmt.Sprint(v.Interface())
	case t.Kind() == reflect.Struct, t.Kind() == reflect.Slice, t.Kind() == reflect.Map, t.Kind() == reflect.Pointer, t.Kind() == reflect.Interface:
		text = "..."
	default:
		text = clip(fmt.Sprint(v.Interface()))
	}
	return &text
}

func clip(text string) string {
	if len(text) <= mostShown {
		return text
	}
	return strings.ToValidUTF8(text[:mostShown], "") + "..."
}
