package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/table"
)

// start opens a registry as a process of its own would.
func start(t testing.TB, brokers []string) *Registry {
	t.Helper()
	c, err := kafka.Open(kafka.Config{Brokers: brokers}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	r := New(c, slog.New(slog.DiscardHandler))
	t.Cleanup(r.Close)
	return r
}

// own is a subject that no other test has, also on a cluster that lives on.
func own(t testing.TB, suffix string) string {
	return strings.ReplaceAll(fmt.Sprintf("%s-%d%s", t.Name(), time.Now().UnixNano(), suffix), "/", "-")
}

// unlike is an Avro schema that nobody else has registered.
func unlike(t testing.TB, fields ...string) string {
	return fmt.Sprintf(`{"type":"record","name":"R","doc":%q,"fields":[%s]}`, t.Name(), strings.Join(fields, ","))
}

func mustRegister(t testing.TB, r *Registry, subject, text string, references ...schema.Reference) Schema {
	t.Helper()
	s, err := r.RegisterSchema(t.Context(), subject, Request{Definition: schema.Definition{Text: text, References: references}})
	if err != nil {
		t.Fatalf("register %s: %v", text, err)
	}
	return s
}

// code is the code of a refusal, or zero.
func code(err error) int {
	var e *schema.RegistryError
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func wantCode(t testing.TB, err error, want int) {
	t.Helper()
	if code(err) != want {
		t.Errorf("got %v, want the code %d", err, want)
	}
}

const (
	fieldA = `{"name":"a","type":"int"}`
	fieldB = `{"name":"b","type":"int","default":0}`
)

func TestLifeOfASubject(t *testing.T) {
	brokers := brokertest.Brokers(t)
	r := start(t, brokers)
	ctx := t.Context()
	s, other := own(t, ""), own(t, "-other")
	one := unlike(t, fieldA, `{"name":"`+strings.ReplaceAll(s, "-", "_")+`","type":"int"}`)
	first := mustRegister(t, r, s, one)
	if first.Version != 1 || first.ID < 1 {
		t.Fatalf("got %+v", first)
	}
	if again := mustRegister(t, r, s, strings.ReplaceAll(one, ",", ", ")); again.ID != first.ID || again.Version != 1 {
		t.Errorf("the same schema once more: %+v", again)
	}
	if elsewhere := mustRegister(t, r, other, one); elsewhere.ID != first.ID || elsewhere.Version != 1 {
		t.Errorf("the same schema in another subject: %+v", elsewhere)
	}
	two := strings.Replace(one, `"fields":[`, `"fields":[`+fieldB+`,`, 1)
	second := mustRegister(t, r, s, two)
	if second.Version != 2 || second.ID <= first.ID {
		t.Errorf("got %+v", second)
	}
	if _, err := r.RegisterSchema(ctx, s, Request{Definition: schema.Definition{Text: `"string"`}}); code(err) != 409 || !strings.Contains(err.Error(), "TYPE_MISMATCH") {
		t.Errorf("got %v", err)
	}
	if got, err := r.ByID(ctx, first.ID); err != nil || got.Text == "" || got.Format != schema.Avro {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err := r.ByID(ctx, 1<<30)
	wantCode(t, err, 40403)
	_, err = r.SubjectVersions(ctx, own(t, "-gone"), Which{})
	wantCode(t, err, 40401)
	_, err = r.Version(ctx, s, 9, false)
	wantCode(t, err, 40402)
	found, err := r.LookUp(ctx, s, Request{Definition: schema.Definition{Text: one}}, false)
	if err != nil || found.Version != 1 {
		t.Errorf("got %+v, %v", found, err)
	}
	_, err = r.LookUp(ctx, s, Request{Definition: schema.Definition{Text: `"int"`}}, false)
	wantCode(t, err, 40403)

	_, err = r.DeleteVersion(ctx, s, 2, true)
	wantCode(t, err, 40407)
	if n, err := r.DeleteVersion(ctx, s, schema.Latest, false); n != 2 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	_, err = r.DeleteVersion(ctx, s, 2, false)
	wantCode(t, err, 40406)
	if numbers, err := r.SubjectVersions(ctx, s, Which{}); err != nil || !slices.Equal(numbers, []int{1}) {
		t.Errorf("got %v, %v", numbers, err)
	}
	if numbers, err := r.SubjectVersions(ctx, s, Which{Deleted: true}); err != nil || !slices.Equal(numbers, []int{1, 2}) {
		t.Errorf("got %v, %v", numbers, err)
	}
	if got, err := r.ByID(ctx, second.ID); err != nil || got.ID != second.ID {
		t.Errorf("what is deleted keeps its id: %+v, %v", got, err)
	}
	if third := mustRegister(t, r, s, two); third.Version != 3 || third.ID != second.ID {
		t.Errorf("registered again after its end: %+v", third)
	}
	_, err = r.DeleteSubject(ctx, s, true)
	wantCode(t, err, 40405)
	if numbers, err := r.DeleteSubject(ctx, s, false); err != nil || !slices.Equal(numbers, []int{1, 3}) {
		t.Errorf("got %v, %v", numbers, err)
	}
	_, err = r.DeleteSubject(ctx, s, false)
	wantCode(t, err, 40404)
	if numbers, err := r.DeleteSubject(ctx, s, true); err != nil || !slices.Equal(numbers, []int{1, 3}) {
		t.Errorf("the deleted version that was registered again is there: %v, %v", numbers, err)
	}
	_, err = r.DeleteSubject(ctx, s, true)
	wantCode(t, err, 40401)
	_, err = r.ByID(ctx, second.ID)
	wantCode(t, err, 40403)
	// A process that knows only what lies in the topic gives no id twice.
	r.Close()
	r = start(t, brokers)
	if next := mustRegister(t, r, own(t, "-next"), two); next.ID <= second.ID {
		t.Errorf("an id was given twice: %d", next.ID)
	}
}

func TestDeletedVersionsThatAreReferredToOutliveTheirSuccessors(t *testing.T) {
	r := start(t, brokertest.Brokers(t))
	ctx := t.Context()
	base, user := own(t, "-base"), own(t, "-user")
	order := `{"type":"record","name":"Order","namespace":"shop","fields":[` + fieldA + `]}`
	mustRegister(t, r, base, order)
	cart := schema.Definition{Text: `{"type":"record","name":"Cart","namespace":"shop","fields":[{"name":"order","type":"Order"}]}`, References: []schema.Reference{{Name: "shop.Order", Subject: base, Version: 1}}}
	id, err := r.Register(ctx, user, cart)
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{user, base} {
		if _, err := r.DeleteSubject(ctx, subject, false); err != nil {
			t.Fatal(err)
		}
	}
	mustRegister(t, r, base, order)
	if numbers, err := r.SubjectVersions(ctx, base, Which{Deleted: true}); err != nil || !slices.Equal(numbers, []int{1, 2}) {
		t.Errorf("got %v, %v", numbers, err)
	}
	old, err := r.WithID(ctx, id, "")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := r.Resolved(ctx, old[0]); err != nil || !strings.Contains(text, `"name":"Order"`) {
		t.Errorf("the deleted schema cannot be read any more: %s, %v", text, err)
	}
	if s, err := schema.NewClient(r, nil, true).Schema(ctx, id); err != nil || s.Name != "shop.Cart" {
		t.Errorf("what was written with the deleted schema cannot be read any more: %+v, %v", s, err)
	}
}

func TestReferences(t *testing.T) {
	r := start(t, brokertest.Brokers(t))
	ctx := t.Context()
	base, user := own(t, "-base"), own(t, "-user")
	mustRegister(t, r, base, `{"type":"record","name":"Order","namespace":"shop","fields":[`+fieldA+`]}`)
	cart := `{"type":"record","name":"Cart","namespace":"shop","fields":[{"name":"order","type":"Order"}]}`
	_, err := r.Register(ctx, user, schema.Definition{Text: cart})
	wantCode(t, err, 42201)
	_, err = r.Register(ctx, user, schema.Definition{Text: cart, References: []schema.Reference{{Name: "shop.Order", Subject: base, Version: 7}}})
	wantCode(t, err, 42201)
	ref := schema.Reference{Name: "shop.Order", Subject: base, Version: 1}
	s := mustRegister(t, r, user, cart, ref)
	if diff := cmp.Diff([]schema.Reference{ref}, s.References); diff != "" {
		t.Error(diff)
	}
	if ids, err := r.ReferencedBy(ctx, base, 1, Which{}); err != nil || !slices.Equal(ids, []int{s.ID}) {
		t.Errorf("got %v, %v", ids, err)
	}
	if text, err := r.Resolved(ctx, s); err != nil || !strings.Contains(text, `"name":"order","type":{"type":"record","name":"Order"`) {
		t.Errorf("got %s, %v", text, err)
	}
	_, err = r.DeleteVersion(ctx, base, 1, false)
	wantCode(t, err, 42206)
	_, err = r.DeleteSubject(ctx, base, false)
	wantCode(t, err, 42206)
	if _, err := r.DeleteSubject(ctx, user, false); err != nil {
		t.Error(err)
	}
	if _, err := r.DeleteSubject(ctx, base, false); err != nil {
		t.Error(err)
	}
	// A .proto file that imports one that imports another, and a JSON Schema.
	a, b, c := own(t, "-a.proto"), own(t, "-b.proto"), own(t, "-c")
	for subject, d := range map[string]schema.Definition{
		a: {Format: schema.Protobuf, Text: `syntax = "proto3"; package x; message A { int32 n = 1; }`},
	} {
		if _, err := r.Register(ctx, subject, d); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Register(ctx, b, schema.Definition{Format: schema.Protobuf, Text: `syntax = "proto3"; package x; import "a.proto"; message B { A a = 1; }`,
		References: []schema.Reference{{Name: "a.proto", Subject: a, Version: 1}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Register(ctx, c, schema.Definition{Format: schema.Protobuf, Text: `syntax = "proto3"; package x; import "b.proto"; message C { B b = 1; }`,
		References: []schema.Reference{{Name: "b.proto", Subject: b, Version: schema.Latest}}}); err != nil {
		t.Fatal(err)
	}
	if got, err := r.ByVersion(ctx, c, schema.Latest); err != nil || got.References[0].Version != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	j, k := own(t, "-j"), own(t, "-k")
	if _, err := r.Register(ctx, j, schema.Definition{Format: schema.JSON, Text: `{"type":"string","maxLength":3}`}); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`{"type":"object","properties":{"x":{"$ref":"name.json"}}}`, `{"$id":"http://example.com/k.json","type":"object","properties":{"x":{"$ref":"name.json"}}}`} {
		if _, err := r.Register(ctx, k+text[2:5], schema.Definition{Format: schema.JSON, Text: text, References: []schema.Reference{{Name: "name.json", Subject: j, Version: 1}}}); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestLevelsAndModes(t *testing.T) {
	r := start(t, brokertest.Brokers(t))
	ctx := t.Context()
	s := own(t, "")
	_, err := r.Config(ctx, s, false)
	wantCode(t, err, 40408)
	if c, err := r.Config(ctx, s, true); err != nil || c.Level != Backward {
		t.Errorf("got %v, %v", c, err)
	}
	v1, v2, v3 := unlike(t, fieldA), unlike(t, fieldA, fieldB), unlike(t, fieldA, `{"name":"b","type":"int"}`)
	mustRegister(t, r, s, v1)
	mustRegister(t, r, s, v2)
	if err := r.SetConfig(ctx, s, Config{Level: BackwardTransitive}); err != nil {
		t.Fatal(err)
	}
	_, err = r.Register(ctx, s, schema.Definition{Text: v3})
	wantCode(t, err, 409)
	if problems, err := r.Try(ctx, s, schema.Latest, Request{Definition: schema.Definition{Text: v3}}); err != nil || len(problems) > 0 {
		t.Errorf("against the latest alone: %v, %v", problems, err)
	}
	if problems, err := r.Try(ctx, s, 1, Request{Definition: schema.Definition{Text: v3}}); err != nil || len(problems) == 0 {
		t.Errorf("against the first: %v, %v", problems, err)
	}
	if problems, err := r.Try(ctx, s, 0, Request{Definition: schema.Definition{Text: v3}}); err != nil || len(problems) == 0 {
		t.Errorf("against all: %v, %v", problems, err)
	}
	if was, err := r.DeleteConfig(ctx, s); err != nil || was.Level != BackwardTransitive {
		t.Errorf("got %v, %v", was, err)
	}
	mustRegister(t, r, s, v3)

	if err := r.SetMode(ctx, s, ReadOnly, false); err != nil {
		t.Fatal(err)
	}
	_, err = r.Register(ctx, s, schema.Definition{Text: unlike(t, fieldB)})
	wantCode(t, err, 42205)
	if got := mustRegister(t, r, s, v1); got.Version != 1 {
		t.Errorf("what is there already is registered in any mode: %+v", got)
	}
	_, err = r.DeleteSubject(ctx, s, false)
	wantCode(t, err, 42205)
	wantCode(t, r.SetMode(ctx, s, Import, false), 42205)
	if m, err := r.DeleteMode(ctx, s); err != nil || m != ReadOnly {
		t.Errorf("got %v, %v", m, err)
	}
	_, err = r.Mode(ctx, s, false)
	wantCode(t, err, 40409)

	context := ":." + own(t, "") + ":"
	if err := r.SetMode(ctx, context, Import, false); err != nil {
		t.Fatal(err)
	}
	in := context + "s"
	_, err = r.Register(ctx, in, schema.Definition{Text: v1})
	wantCode(t, err, 42205)
	q := Request{Definition: schema.Definition{Text: v1}, ID: 100, Version: 7}
	if got, err := r.RegisterSchema(ctx, in, q); err != nil || got.ID != 100 || got.Version != 7 {
		t.Errorf("got %+v, %v", got, err)
	}
	q.Text = v2
	_, err = r.RegisterSchema(ctx, in, q)
	wantCode(t, err, 42205)
	_, err = r.RegisterSchema(ctx, s, Request{Definition: schema.Definition{Text: v2}, ID: 100})
	if code(err) != 0 && code(err) != 42205 {
		t.Error(err)
	}
	if _, err := r.DeleteMode(ctx, context); err != nil {
		t.Fatal(err)
	}
	if next := mustRegister(t, r, in, v2); next.ID != 101 || next.Version != 8 {
		t.Errorf("ids and versions go on: %+v", next)
	}
	if list, err := r.WithID(ctx, 101, context); err != nil || list[0].Subject != in {
		t.Errorf("got %+v, %v", list, err)
	}
	if list, err := r.Contexts(ctx); err != nil || !slices.Contains(list, strings.Trim(context, ":")) || !slices.Contains(list, ".") {
		t.Errorf("got %v, %v", list, err)
	}
	if list, err := r.Subjects(ctx, context, Which{}); err != nil || !slices.Equal(list, []string{in}) {
		t.Errorf("got %v, %v", list, err)
	}
	for _, subject := range []string{"", "a\nb", strings.Repeat("x", 600), "__GLOBAL"} {
		_, err := r.Register(ctx, subject, schema.Definition{Text: v1})
		wantCode(t, err, 42208)
	}
}

// Several processes register at once: one schema has one id, and no id has two schemas.
func TestProcessesAgree(t *testing.T) {
	brokers := brokertest.Brokers(t)
	replicas := []*Registry{start(t, brokers), start(t, brokers), start(t, brokers)}
	base := own(t, "")
	var mu sync.Mutex
	ids := map[int]map[string]bool{}
	var group sync.WaitGroup
	for i := range 24 {
		text := fmt.Sprintf(`{"type":"fixed","name":"F","size":%d,"by":%q}`, i/3, base)
		group.Go(func() {
			id, err := replicas[i%3].Register(t.Context(), fmt.Sprintf("%s-%d", base, i%5), schema.Definition{Text: text})
			if code(err) == 409 {
				id, err = replicas[i%3].Register(t.Context(), fmt.Sprintf("%s-alone-%d", base, i), schema.Definition{Text: text})
			}
			if err != nil {
				t.Errorf("%s: %v", text, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if ids[id] == nil {
				ids[id] = map[string]bool{}
			}
			ids[id][text] = true
		})
	}
	group.Wait()
	if len(ids) != 8 {
		t.Errorf("%d ids for 8 schemas: %v", len(ids), ids)
	}
	for id, texts := range ids {
		if len(texts) != 1 {
			t.Errorf("the id %d has %d schemas", id, len(texts))
		}
		for i, r := range replicas {
			if _, err := r.ByID(t.Context(), id); err != nil {
				t.Errorf("process %d does not know the id %d: %v", i, id, err)
			}
		}
	}
}

// What is asked of an alias is asked of what it stands for, also by klamm's own codecs.
func TestAliases(t *testing.T) {
	brokers := brokertest.Brokers(t)
	r, other := start(t, brokers), start(t, brokers)
	ctx := t.Context()
	alias, far, name := own(t, "-alias"), own(t, "-far"), own(t, "-real")
	for of, is := range map[string]string{alias: name, far: alias} {
		if err := r.SetConfig(ctx, of, Config{Alias: &is}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.SetConfig(ctx, alias, Config{Level: Full}); err != nil {
		t.Fatal(err)
	}
	d := schema.Definition{Text: unlike(t, fieldA)}
	id, err := r.Register(ctx, alias, d)
	if err != nil {
		t.Fatal(err)
	}
	for what, ask := range map[string]func() (schema.Registered, error){
		"the latest":  func() (schema.Registered, error) { return r.ByVersion(ctx, alias, schema.Latest) },
		"found again": func() (schema.Registered, error) { return r.Find(ctx, alias, d) },
	} {
		if got, err := ask(); err != nil || got.ID != id || got.Subject != name {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	if s, ref, err := schema.NewClient(r, nil, true).Under(ctx, alias, id); err != nil || ref != (schema.Ref{Subject: alias, ID: id, Version: 1}) || s.Name == "" {
		t.Errorf("the id under the alias: %+v, %+v, %v", s, ref, err)
	}
	if _, _, err := schema.NewClient(r, nil, true).Under(ctx, own(t, "-other"), id); err == nil {
		t.Error("a subject has an id that is not its own")
	}
	if numbers, err := r.SubjectVersions(ctx, name, Which{}); err != nil || len(numbers) != 1 {
		t.Errorf("got %v, %v", numbers, err)
	}
	if c, err := r.Config(ctx, name, true); err != nil || c.Level != Backward || c.Alias != nil {
		t.Errorf("the settings of an alias are those of the subject: %+v, %v", c, err)
	}
	if is, err := r.Aliased(ctx, far); err != nil || is != alias {
		t.Errorf("an alias of an alias is %s, %v", is, err)
	}
	// What another process has written is known within a moment.
	for end := time.Now().Add(time.Minute); ; {
		is, err := other.Aliased(ctx, alias)
		if err == nil && is == name {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("another process has %s, %v", is, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	none := ""
	if err := r.SetConfig(ctx, alias, Config{Alias: &none}); err != nil {
		t.Fatal(err)
	}
	_, err = r.ByVersion(ctx, alias, schema.Latest)
	wantCode(t, err, 40401)
	if c, err := r.Config(ctx, alias, false); err != nil || c.Alias != nil || c.Level != Full {
		t.Errorf("got %+v, %v", c, err)
	}
	_, name = split(name)
	wantCode(t, r.SetConfig(ctx, "", Config{Alias: &name}), 422)
	bad := "a\nb"
	wantCode(t, r.SetConfig(ctx, alias, Config{Alias: &bad}), 42208)
}

// What lies in the topic is what Confluent's registry writes there.
func TestRecords(t *testing.T) {
	r := start(t, brokertest.Brokers(t))
	ctx := t.Context()
	s := own(t, "")
	text := unlike(t, `{"name":"x","type":"string","default":"<&>"}`)
	one := mustRegister(t, r, s, text)
	if err := r.SetConfig(ctx, s, Config{Level: Full}); err != nil {
		t.Fatal(err)
	}
	if err := r.SetMode(ctx, s, ReadWrite, false); err != nil {
		t.Fatal(err)
	}
	escaped := strings.ReplaceAll(one.Text, `"`, `\"`)
	for key, want := range map[string]string{
		`{"keytype":"SCHEMA","subject":"` + s + `","version":1,"magic":1}`: fmt.Sprintf(`{"subject":%q,"version":1,"id":%d,"schema":"%s","deleted":false}`, s, one.ID, escaped),
		`{"keytype":"CONFIG","subject":"` + s + `","magic":0}`:             fmt.Sprintf(`{"subject":%q,"compatibilityLevel":"FULL"}`, s),
		`{"keytype":"MODE","subject":"` + s + `","magic":0}`:               fmt.Sprintf(`{"subject":%q,"mode":"READWRITE"}`, s),
	} {
		if e, ok := r.table.Get(key); !ok || string(e.Value) != want {
			t.Errorf("%s:\n got %s\nwant %s", key, e.Value, want)
		}
	}
	if _, err := r.DeleteSubject(ctx, s, false); err != nil {
		t.Fatal(err)
	}
	if e, ok := r.table.Get(`{"keytype":"DELETE_SUBJECT","subject":"` + s + `","magic":0}`); !ok || string(e.Value) != fmt.Sprintf(`{"subject":%q,"version":1}`, s) {
		t.Errorf("got %s", e.Value)
	}
}

// A topic of Confluent's registry is taken over, with what klamm does not know of.
func TestForeignRecords(t *testing.T) {
	r := start(t, brokertest.Brokers(t))
	ctx := t.Context()
	if err := r.open(ctx); err != nil {
		t.Fatal(err)
	}
	context := own(t, "")
	s := ":." + context + ":s"
	put := func(key, value string) {
		t.Helper()
		if _, err := r.table.Put(ctx, key, []byte(value), table.Any); err != nil {
			t.Fatal(err)
		}
	}
	put(schemaKey(s, 1), fmt.Sprintf(`{"subject":%q,"version":1,"id":41,"md5":"x","schema":"\"int\"","deleted":false}`, s))
	put(schemaKey(s, 2), fmt.Sprintf(`{"subject":%q,"version":2,"id":42,"schemaType":"AVRO","schema":"\"long\"","deleted":false}`, s))
	put(keyOf(kindDelete, s), fmt.Sprintf(`{"subject":%q,"version":1}`, s))
	put(`{"keytype":"CONTEXT","tenant":"default","context":".x","magic":0}`, `{}`)
	put(`{"keytype":"SCHEMA","subject":"broken","version":1,"magic":1}`, `{`)
	put(`no JSON`, `x`)
	r.index.catchUp(r.table)
	if numbers, err := r.SubjectVersions(ctx, s, Which{}); err != nil || !slices.Equal(numbers, []int{2}) {
		t.Errorf("got %v, %v", numbers, err)
	}
	if same, err := r.RegisterSchema(ctx, s, Request{Definition: schema.Definition{Text: `{"type":"long"}`}}); err != nil || same.ID != 42 {
		t.Errorf("got %+v, %v", same, err)
	}
	if next, err := r.RegisterSchema(ctx, s, Request{Definition: schema.Definition{Text: `"double"`}}); err != nil || next.ID != 43 || next.Version != 3 {
		t.Errorf("got %+v, %v", next, err)
	}
	for _, key := range []string{"no JSON", `{"keytype":"SCHEMA","subject":"broken","version":1,"magic":1}`} {
		if err := r.table.Delete(ctx, key, table.Any); err != nil {
			t.Error(err)
		}
	}
}

// Without brokers a call ends with an error that says so.
func TestNoBroker(t *testing.T) {
	r := start(t, []string{"127.0.0.1:1"})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := r.ByID(ctx, 1)
	if _, ok := schema.Unavailable(err); !ok {
		t.Errorf("got %v", err)
	}
	if code(err) != 50001 {
		t.Errorf("got %v", err)
	}
}

func TestNormalize(t *testing.T) {
	r := start(t, brokertest.Brokers(t))
	s := own(t, "")
	a := Request{Definition: schema.Definition{Format: schema.JSON, Text: `{"type":"object","title":"` + s + `","properties":{"b":{},"a":{}}}`}, Normalize: true}
	b := a
	b.Text = `{"properties":{"a":{},"b":{}},"title":"` + s + `","type":"object"}`
	one, err := r.RegisterSchema(t.Context(), s, a)
	if err != nil {
		t.Fatal(err)
	}
	two, err := r.RegisterSchema(t.Context(), s, b)
	if err != nil || one.ID != two.ID {
		t.Errorf("got %+v, %+v, %v", one, two, err)
	}
}

// References have no order of their own, and what they lead to may stand in the schema
// instead.
func TestSchemasThatDifferInReferences(t *testing.T) {
	r := start(t, brokertest.Brokers(t))
	ctx := t.Context()
	s := own(t, "")
	left, right := own(t, "-left"), own(t, "-right")
	define := func(name string) string { return fmt.Sprintf(`{"type":"record","name":%q,"fields":[]}`, name) }
	mustRegister(t, r, left, define("Left"))
	mustRegister(t, r, right, define("Right"))
	doc := fmt.Sprintf(`"doc":%q`, s)
	text := `{"type":"record","name":"Both",` + doc + `,"fields":[{"name":"l","type":"Left"},{"name":"r","type":"Right"}]}`
	both := []schema.Reference{{Name: "Left", Subject: left, Version: 1}, {Name: "Right", Subject: right, Version: 1}}
	q := Request{Definition: schema.Definition{Text: text, References: both}, Normalize: true}
	one, err := r.RegisterSchema(ctx, s, q)
	if err != nil {
		t.Fatal(err)
	}
	q.References = []schema.Reference{both[1], both[0], both[1]}
	if two, err := r.RegisterSchema(ctx, s, q); err != nil || two.ID != one.ID || two.Version != 1 {
		t.Errorf("in another order: got %+v, %v, want %+v", two, err, one)
	}
	whole := `{"type":"record","name":"Both",` + doc + `,"fields":[{"name":"l","type":` + define("Left") + `},{"name":"r","type":` + define("Right") + `}]}`
	if got, err := r.LookUp(ctx, s, Request{Definition: schema.Definition{Text: whole}}, false); err != nil || got.ID != one.ID {
		t.Errorf("with all within: got %+v, %v, want %+v", got, err, one)
	}
	if got := mustRegister(t, r, s, whole); got.ID != one.ID || got.Version != 1 {
		t.Errorf("registered with all within: got %+v, want %+v", got, one)
	}
	_, err = r.LookUp(ctx, s, Request{Definition: schema.Definition{Text: strings.Replace(whole, `"name":"r"`, `"name":"x"`, 1)}}, false)
	wantCode(t, err, 40403)
}

// What was deleted before a subject is opened for import does not keep its id.
func TestImportAfterDeletion(t *testing.T) {
	r := start(t, brokertest.Brokers(t))
	ctx := t.Context()
	in := ":." + own(t, "") + ":s"
	was := mustRegister(t, r, in, unlike(t, fieldA))
	if _, err := r.DeleteSubject(ctx, in, false); err != nil {
		t.Fatal(err)
	}
	if err := r.SetMode(ctx, in, Import, false); err != nil {
		t.Fatal(err)
	}
	q := Request{Definition: schema.Definition{Text: unlike(t, fieldA)}, ID: was.ID, Version: 1, Metadata: []byte(`{"properties":{"owner":"a"}}`)}
	if _, err := r.RegisterSchema(ctx, in, q); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Version(ctx, in, 1, false); err != nil || got.ID != was.ID || len(got.Metadata) == 0 || got.Deleted {
		t.Errorf("got %+v, %v", got, err)
	}
	q.Text, q.Version = unlike(t, fieldA, fieldB), 2
	_, err := r.RegisterSchema(ctx, in, q)
	wantCode(t, err, 42205)
	q.ID, q.Metadata = was.ID+5, nil
	if _, err := r.RegisterSchema(ctx, in, q); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Version(ctx, in, 2, false); err != nil || len(got.Metadata) > 0 {
		t.Errorf("what is imported is taken as it is: got %+v, %v", got, err)
	}
}

// The mode and level of all contexts count where none is nearer.
func TestSettingsOfAllContexts(t *testing.T) {
	x := newIndex()
	x.configs[everywhere], x.modes[everywhere] = Config{Level: Full}, ReadOnly
	x.configs[":.near:"], x.modes[":.near:own"] = Config{Level: None}, ReadWrite
	for _, c := range []struct {
		subject string
		level   Level
		mode    Mode
	}{{"", Full, ReadOnly}, {"s", Full, ReadOnly}, {":.far:s", Full, ReadOnly}, {":.near:s", None, ReadOnly}, {":.near:own", None, ReadWrite}} {
		if level, mode := x.configFor(c.subject).Level, x.modeFor(c.subject); level != c.level || mode != c.mode {
			t.Errorf("%q: got %s and %s, want %s and %s", c.subject, level, mode, c.level, c.mode)
		}
	}
	if _, err := named(everywhere + "s"); code(err) != 42208 {
		t.Errorf("it has no subjects: %v", err)
	}
}

// READONLY_OVERRIDE for all is the mode of every subject, whatever its own is.
func TestReadOnlyOverride(t *testing.T) {
	r := start(t, brokertest.Brokers(t))
	ctx := t.Context()
	s := own(t, "")
	if err := r.SetMode(ctx, s, ReadWrite, false); err != nil {
		t.Fatal(err)
	}
	// Not by SetMode: others may use the same brokers.
	r.index.mu.Lock()
	r.index.modes[""] = ReadOnlyOverride
	r.index.mu.Unlock()
	for _, subject := range []string{s, s + "-without"} {
		if m, err := r.Mode(ctx, subject, false); err != nil || m != ReadOnlyOverride {
			t.Errorf("%s: got %s, %v", subject, m, err)
		}
		_, err := r.Register(ctx, subject, schema.Definition{Text: `"int"`})
		wantCode(t, err, 42205)
	}
}

func BenchmarkByID(b *testing.B) {
	r := start(b, brokertest.Brokers(b))
	s := mustRegister(b, r, own(b, ""), `"int"`)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := r.ByID(b.Context(), s.ID); err != nil {
				b.Fatal(err)
			}
		}
	})
}
