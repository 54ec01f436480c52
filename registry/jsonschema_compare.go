package registry

import (
	"math"
	"slices"
	"strconv"
)

// compareJSON says what keeps readers with an updated schema from taking every value
// that fits the original: nothing if they can. It follows the rules of Confluent's
// registry, which are those of open and closed content models: what an open model
// already lets in unchecked cannot be narrowed by naming it.
func compareJSON(original, update *jsonSchema) []difference {
	c := &jsComparison{done: map[[2]*jsType][]difference{}, going: map[[2]*jsType]bool{}}
	return c.compare(original.root, update.root, "#")
}

// A jsComparison remembers the pairs that it has compared, so that schemas which refer
// to one another do not cost more than their number of pairs. Paths of differences are
// those of the first place a pair was met at.
type jsComparison struct {
	done  map[[2]*jsType][]difference
	going map[[2]*jsType]bool // on the way; within itself a pair counts as compatible
	steps int
	depth int
}

func (c *jsComparison) compare(original, update *jsType, path string) []difference {
	switch {
	case original == nil && update == nil, update == nil:
		return nil
	case original == nil:
		return one("SCHEMA_ADDED", path)
	}
	original, update = original.follow(), update.follow()
	pair := [2]*jsType{original, update}
	if found, ok := c.done[pair]; ok {
		return found
	}
	if c.going[pair] {
		return nil
	}
	if c.steps++; c.steps > mostSteps || c.depth > 2*mostDepth {
		return []difference{{"TYPE_CHANGED", path, "The schemas are too large to be compared"}}
	}
	c.going[pair] = true
	c.depth++
	found := c.pair(original, update, path)
	c.depth--
	delete(c.going, pair)
	c.done[pair] = found
	return found
}

func (c *jsComparison) pair(original, update *jsType, path string) []difference {
	switch {
	case original.class != jsCombined && update.class == jsCombined:
		if len(update.parts) == 1 || update.criterion != "allOf" {
			for _, part := range update.parts {
				if len(c.compare(original, part, path)) == 0 {
					return nil
				}
			}
		}
	case original.class == jsCombined && update.class != jsCombined:
		if len(original.parts) == 1 || original.criterion == "allOf" {
			for _, part := range original.parts {
				if len(c.compare(part, update, path)) == 0 {
					return nil
				}
			}
		}
	}
	if original.class != update.class {
		if original.class == jsFalse || update.class == jsEmpty {
			return nil
		}
		return one("TYPE_CHANGED", path)
	}
	switch original.class {
	case jsString:
		return compareStrings(original.from, update.from, path)
	case jsNumber:
		return compareNumbers(original, update, path)
	case jsEnum:
		return compareEnums(original.from.get("enum"), update.from.get("enum"), path)
	case jsConst:
		if !original.from.get("const").same(update.from.get("const")) {
			return one("ENUM_ARRAY_CHANGED", path+"/const")
		}
	case jsCombined:
		return c.combined(original, update, path)
	case jsNot:
		// What must not match is compared the other way round.
		if len(c.compare(update.doc.typ(update.from.get("not")), original.doc.typ(original.from.get("not")), path+"/not")) > 0 {
			return one("NOT_TYPE_EXTENDED", path+"/not")
		}
	case jsObject:
		return c.objects(original, update, path)
	case jsArray:
		return c.arrays(original, update, path)
	case jsRef:
		if original.ref != update.ref {
			return one("TYPE_CHANGED", path)
		}
	}
	return nil
}

func one(kind, path string) []difference { return []difference{{kind, path, jsText(kind, path)}} }

// combined compares allOf, anyOf and oneOf: as many parts as possible are paired off.
func (c *jsComparison) combined(original, update *jsType, path string) []difference {
	if !mayBecome(original, update) {
		return one("COMBINED_TYPE_CHANGED", path)
	}
	old, latest := distinct(original.parts), distinct(update.parts)
	var found []difference
	switch {
	case len(old) < len(latest) && update.criterion == "allOf":
		found = one("PRODUCT_TYPE_EXTENDED", path)
	case len(old) > len(latest) && update.criterion != "allOf":
		found = one("SUM_TYPE_NARROWED", path)
	}
	fits := make([][]int, len(old))
	for i, a := range old {
		for j, b := range latest {
			if len(c.compare(a, b, path+"/"+original.criterion+"/"+strconv.Itoa(i))) == 0 {
				fits[i] = append(fits[i], j)
			}
		}
	}
	if matching(fits, len(latest)) < min(len(old), len(latest)) {
		found = append(found, one("COMBINED_TYPE_SUBSCHEMAS_CHANGED", path)...)
	}
	return found
}

// mayBecome says whether one way of combining may become the other.
func mayBecome(original, update *jsType) bool {
	switch {
	case original.criterion == update.criterion, update.criterion == "anyOf":
		return true
	case update.criterion == "oneOf":
		return len(original.parts) == 1
	}
	return len(original.parts) == 1 && len(update.parts) == 1
}

func distinct(parts []*jsType) []*jsType {
	seen := map[string]bool{}
	var out []*jsType
	for _, p := range parts {
		if key := p.key(); !seen[key] {
			seen[key] = true
			out = append(out, p)
		}
	}
	return out
}

// matching returns the size of the largest set of pairs without a part in common: fits
// says for each on the left whom it fits on the right, of which there are n.
func matching(fits [][]int, n int) int {
	taken := make([]int, n)
	for i := range taken {
		taken[i] = -1
	}
	var place func(i int, tried []bool) bool
	place = func(i int, tried []bool) bool {
		for _, j := range fits[i] {
			if tried[j] {
				continue
			}
			tried[j] = true
			if taken[j] < 0 || place(taken[j], tried) {
				taken[j] = i
				return true
			}
		}
		return false
	}
	size := 0
	for i := range fits {
		if place(i, make([]bool, n)) {
			size++
		}
	}
	return size
}

func (c *jsComparison) objects(original, update *jsType, path string) []difference {
	was, is := original.schemas("properties"), update.schemas("properties")
	wasNeeded, isNeeded := required(original), required(update)
	var found []difference
	for _, name := range union(was, is) {
		if was[name] != nil && is[name] != nil && !wasNeeded[name] && isNeeded[name] && !is[name].defaulted() {
			found = add(found, one("REQUIRED_ATTRIBUTE_ADDED", path+"/required/"+name))
		}
	}
	before, after := original.content("additionalProperties", "unevaluatedProperties"), update.content("additionalProperties", "unevaluatedProperties")
	for _, name := range union(was, is) {
		place := path + "/properties/" + name
		switch {
		case is[name] == nil:
			found = add(found, c.removed(was[name], update, name, after, place))
		case was[name] == nil:
			found = add(found, c.added(is[name], original, name, before, isNeeded[name], place))
		default:
			found = add(found, c.compare(was[name], is[name], place))
		}
	}
	found = add(found, c.dependencies(original, update, path+"/dependencies"))
	found = add(found, c.contents(before, after, path+"/additionalProperties", "ADDITIONAL_PROPERTIES_"))
	found = add(found, c.rests(before.rest, after.rest, path+"/unevaluatedProperties", "UNEVALUATED_PROPERTIES_"))
	found = add(found, atMost(original.from, update.from, "maxProperties", "MAX_PROPERTIES_", path))
	return add(found, atLeast(original.from, update.from, "minProperties", "MIN_PROPERTIES_", path))
}

// removed judges a property that the update does not name any more.
func (c *jsComparison) removed(was, update *jsType, name string, after content, path string) []difference {
	if update.from.get("patternProperties") == nil && after.open() {
		return nil
	}
	if covering := update.covering(name, after); covering != nil {
		found := c.compare(was, covering, path)
		if len(found) > 0 {
			found = append(slices.Clone(found), one("PROPERTY_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL", path)...)
		}
		return found
	}
	if was.class == jsFalse {
		return nil
	}
	return one("PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL", path)
}

// added judges a property that the original did not name.
func (c *jsComparison) added(is, original *jsType, name string, before content, needed bool, path string) []difference {
	if original.from.get("patternProperties") == nil && before.open() {
		switch {
		case is.class == jsEmpty:
			return nil
		case !needed:
			return one("OPTIONAL_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL", path)
		case is.defaulted():
			return one("REQUIRED_PROPERTY_WITH_DEFAULT_ADDED_TO_OPEN_CONTENT_MODEL", path)
		}
		return one("REQUIRED_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL", path)
	}
	var found []difference
	if covering := original.covering(name, before); covering != nil {
		if found = slices.Clone(c.compare(covering, is, path)); len(found) > 0 {
			found = append(found, one("PROPERTY_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL", path)...)
		}
	}
	if needed && !is.defaulted() {
		found = append(found, one("REQUIRED_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL", path)...)
	}
	return found
}

// contents compares what may stand beside what is named.
func (c *jsComparison) contents(before, after content, path, kind string) []difference {
	switch {
	case before.permits != after.permits:
		if before.permits {
			return one(kind+"REMOVED", path)
		}
		return nil
	case before.schema == nil && after.schema != nil:
		return one(kind+"NARROWED", path)
	case after.schema == nil:
		return nil
	}
	return c.compare(before.schema, after.schema, path)
}

// rests compares unevaluatedProperties or unevaluatedItems.
func (c *jsComparison) rests(before, after *jsType, path, kind string) []difference {
	free := func(t *jsType) bool { return t == nil || t.class == jsEmpty }
	shut := func(t *jsType) bool { return t != nil && t.class == jsFalse }
	switch {
	case free(after), shut(before):
		return nil
	case shut(after):
		return one(kind+"REMOVED", path)
	case free(before):
		return one(kind+"NARROWED", path)
	}
	return c.compare(before, after, path)
}

// dependencies compares the properties that ask for others, or for a schema.
func (c *jsComparison) dependencies(original, update *jsType, path string) []difference {
	wasLists, wasSchemas := dependenciesOf(original)
	isLists, isSchemas := dependenciesOf(update)
	var found []difference
	for _, name := range union(wasLists, isLists) {
		was, had := wasLists[name]
		is, has := isLists[name]
		switch {
		case !has, contains(was, is):
		case !had:
			found = add(found, one("DEPENDENCY_ARRAY_ADDED", path+"/"+name))
		case contains(is, was):
			found = add(found, one("DEPENDENCY_ARRAY_EXTENDED", path+"/"+name))
		default:
			found = add(found, one("DEPENDENCY_ARRAY_CHANGED", path+"/"+name))
		}
	}
	for _, name := range union(wasSchemas, isSchemas) {
		switch was, is := wasSchemas[name], isSchemas[name]; {
		case is == nil:
		case was == nil:
			found = add(found, one("DEPENDENCY_SCHEMA_ADDED", path+"/"+name))
		default:
			found = add(found, c.compare(was, is, path+"/"+name))
		}
	}
	return found
}

func dependenciesOf(t *jsType) (lists map[string][]string, schemas map[string]*jsType) {
	lists, schemas = map[string][]string{}, t.schemas("dependentSchemas")
	for _, word := range []string{"dependencies", "dependentRequired"} {
		if n := t.from.get(word); n != nil {
			for _, m := range n.members {
				if m.value.array {
					lists[m.name], _ = texts(m.value, word)
				} else {
					schemas[m.name] = t.doc.typ(m.value)
				}
			}
		}
	}
	return lists, schemas
}

// contains says whether all has everything that some has.
func contains(all, some []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

func required(t *jsType) map[string]bool {
	out := map[string]bool{}
	names, _ := texts(t.from.get("required"), "required")
	for _, name := range names {
		out[name] = true
	}
	return out
}

// union returns the names of two maps in their order.
func union[V any](a, b map[string]V) []string {
	var names []string
	for name := range a {
		names = append(names, name)
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (c *jsComparison) arrays(original, update *jsType, path string) []difference {
	was, wasAll, before := original.tuple()
	is, isAll, after := update.tuple()
	found := c.compare(wasAll, isAll, path+"/items")
	for i := range max(len(was), len(is)) {
		place := path + "/items/" + strconv.Itoa(i)
		switch {
		case i >= len(is):
			found = add(found, c.itemRemoved(was[i], after, place))
		case i >= len(was):
			found = add(found, c.itemAdded(is[i], before, place))
		default:
			found = add(found, c.compare(was[i], is[i], place))
		}
	}
	found = add(found, c.contents(before, after, path+"/additionalItems", "ADDITIONAL_ITEMS_"))
	found = add(found, c.rests(before.rest, after.rest, path+"/unevaluatedItems", "UNEVALUATED_ITEMS_"))
	for _, most := range [][2]string{{"maxItems", "MAX_ITEMS_"}, {"maxContains", "MAX_CONTAINS_"}} {
		found = add(found, atMost(original.from, update.from, most[0], most[1], path))
	}
	for _, least := range [][2]string{{"minItems", "MIN_ITEMS_"}, {"minContains", "MIN_CONTAINS_"}} {
		found = add(found, atLeast(original.from, update.from, least[0], least[1], path))
	}
	if !original.from.get("uniqueItems").is("true") && update.from.get("uniqueItems").is("true") {
		found = add(found, one("UNIQUE_ITEMS_ADDED", path+"/uniqueItems"))
	}
	return found
}

func (c *jsComparison) itemRemoved(was *jsType, after content, path string) []difference {
	if after.open() {
		return nil
	}
	if partly := after.partly(); partly != nil {
		found := c.compare(was, partly, path)
		if len(found) > 0 {
			found = append(slices.Clone(found), one("ITEM_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL", path)...)
		}
		return found
	}
	if was.class == jsFalse {
		return nil
	}
	return one("ITEM_REMOVED_FROM_CLOSED_CONTENT_MODEL", path)
}

func (c *jsComparison) itemAdded(is *jsType, before content, path string) []difference {
	if before.open() {
		if is.class == jsEmpty {
			return nil
		}
		return one("ITEM_ADDED_TO_OPEN_CONTENT_MODEL", path)
	}
	if partly := before.partly(); partly != nil {
		found := c.compare(partly, is, path)
		if len(found) > 0 {
			found = append(slices.Clone(found), one("ITEM_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL", path)...)
		}
		return found
	}
	return nil
}

func compareStrings(original, update *node, path string) []difference {
	found := atMost(original, update, "maxLength", "MAX_LENGTH_", path)
	found = add(found, atLeast(original, update, "minLength", "MIN_LENGTH_", path))
	was, had := original.get("pattern").string()
	is, has := update.get("pattern").string()
	switch {
	case !has, had && was == is:
	case !had:
		found = add(found, one("PATTERN_ADDED", path+"/pattern"))
	default:
		found = add(found, one("PATTERN_CHANGED", path+"/pattern"))
	}
	return found
}

func compareNumbers(original, update *jsType, path string) []difference {
	was, is := original.from, update.from
	found := atMost(was, is, "maximum", "MAXIMUM_", path)
	found = add(found, atLeast(was, is, "minimum", "MINIMUM_", path))
	found = add(found, atMost(was, is, "exclusiveMaximum", "EXCLUSIVE_MAXIMUM_", path))
	found = add(found, atLeast(was, is, "exclusiveMinimum", "EXCLUSIVE_MINIMUM_", path))
	before, had := numberOf(was, "multipleOf")
	after, has := numberOf(is, "multipleOf")
	switch {
	case !has, had && before == after:
	case !had:
		found = add(found, one("MULTIPLE_OF_ADDED", path+"/multipleOf"))
	case multiple(after, before):
		found = add(found, one("MULTIPLE_OF_EXPANDED", path+"/multipleOf"))
	case !multiple(before, after):
		found = add(found, one("MULTIPLE_OF_CHANGED", path+"/multipleOf"))
	}
	if !original.integer && update.integer {
		found = add(found, one("TYPE_NARROWED", path))
	}
	return found
}

// multiple says whether a is a whole number of b.
func multiple(a, b float64) bool {
	quotient := a / b
	return b != 0 && !math.IsInf(quotient, 0) && math.Abs(quotient-math.Round(quotient)) < 1e-9
}

func numberOf(n *node, word string) (float64, bool) {
	value := n.get(word)
	if !value.number() {
		return 0, false
	}
	f, err := strconv.ParseFloat(value.text, 64)
	return f, err == nil || !math.IsNaN(f)
}

// atMost compares an upper bound: it may grow or go.
func atMost(original, update *node, word, kind, path string) []difference {
	was, had := numberOf(original, word)
	is, has := numberOf(update, word)
	switch {
	case has && !had:
		return one(kind+"ADDED", path+"/"+word)
	case has && is < was:
		return one(kind+"DECREASED", path+"/"+word)
	}
	return nil
}

// atLeast compares a lower bound: it may shrink or go.
func atLeast(original, update *node, word, kind, path string) []difference {
	was, had := numberOf(original, word)
	is, has := numberOf(update, word)
	switch {
	case has && !had:
		return one(kind+"ADDED", path+"/"+word)
	case has && is > was:
		return one(kind+"INCREASED", path+"/"+word)
	}
	return nil
}

func compareEnums(original, update *node, path string) []difference {
	was, is := values(original), values(update)
	switch {
	case contains(is, was):
		return nil
	case contains(was, is):
		return one("ENUM_ARRAY_NARROWED", path+"/enum")
	}
	return one("ENUM_ARRAY_CHANGED", path+"/enum")
}

// values are the values of an enum in a form in which equal ones are the same text.
func values(n *node) []string {
	var out []string
	for _, item := range n.items {
		out = append(out, string(item.sorted().append(nil)))
	}
	return out
}
