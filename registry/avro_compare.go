package registry

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// compareAvro says what keeps a reader with one schema from reading what was written
// with another: nothing if it can. It follows the rules of Avro's own library rather
// than the specification's text: named types are compared by the last part of their
// names, and the default of an enum saves symbols that it lacks.
func compareAvro(reader, writer *avroType) []difference {
	c := &avroComparison{done: map[[2]*avroType][]difference{}}
	return c.read(reader, writer, "")
}

type avroComparison struct {
	done  map[[2]*avroType][]difference // of records; one that is under way has none
	steps int
}

// mostSteps bounds the pairs that one comparison looks at. Beyond it the schemas count
// as incompatible: nobody can tell that they are not.
const mostSteps = 500_000

func (c *avroComparison) read(reader, writer *avroType, path string) []difference {
	if c.steps++; c.steps > mostSteps {
		return []difference{tooLarge(path)}
	}
	if writer.kind == "union" && (reader.kind != "union" || reader != writer) {
		return c.fromUnion(reader, writer, path)
	}
	if reader.kind == "union" {
		if reader == writer {
			return nil
		}
		for _, branch := range reader.branches {
			if len(c.read(branch, writer, path)) == 0 {
				return nil
			}
		}
		return []difference{missingBranch(path, writer)}
	}
	if reader.kind != writer.kind {
		if promotes(writer.kind, reader.kind) {
			return nil
		}
		return []difference{{"TYPE_MISMATCH", at(path), fmt.Sprintf("The type at path %s is %s in the new schema and %s in the old schema, which it cannot read", quoted(at(path)), reader.kind, writer.kind)}}
	}
	switch reader.kind {
	case "array":
		return c.read(reader.inner, writer.inner, path+"/items")
	case "map":
		return c.read(reader.inner, writer.inner, path+"/values")
	case "record":
		return c.records(reader, writer, path)
	case "enum":
		return enums(reader, writer, path)
	case "fixed":
		found := names(reader, writer, path)
		if reader.size != writer.size {
			found = append(found, difference{"FIXED_SIZE_MISMATCH", at(path) + "/size", fmt.Sprintf("The size of the fixed type at path %s is %d in the new schema and %d in the old schema", quoted(at(path)), reader.size, writer.size)})
		}
		return found
	}
	return nil
}

// fromUnion looks whether each branch of the writer can be read.
func (c *avroComparison) fromUnion(reader, writer *avroType, path string) []difference {
	var found []difference
	for i, branch := range writer.branches {
		wrong := c.read(reader, branch, path)
		if len(wrong) > 0 && reader.kind == "union" {
			wrong = []difference{missingBranch(path+"/"+strconv.Itoa(i), branch)}
		}
		found = add(found, wrong)
	}
	return found
}

func missingBranch(path string, writer *avroType) difference {
	kind := writer.kind
	if writer.name != "" {
		kind = writer.full()
	}
	return difference{"MISSING_UNION_BRANCH", at(path), fmt.Sprintf("The new schema has no branch in the union at path %s that reads the type %s of the old schema", quoted(at(path)), kind)}
}

// records are remembered, so that recursive ones come to an end: one that is being
// compared already counts as compatible within itself.
func (c *avroComparison) records(reader, writer *avroType, path string) []difference {
	pair := [2]*avroType{reader, writer}
	if found, ok := c.done[pair]; ok {
		return found
	}
	c.done[pair] = nil
	found := names(reader, writer, path)
	for i, f := range reader.fields {
		place := path + "/fields/" + strconv.Itoa(i)
		from := fieldOf(writer, f)
		switch {
		case from != nil:
			found = add(found, c.read(f.typ, from.typ, place+"/type"))
		case f.value == nil:
			found = add(found, []difference{{"READER_FIELD_MISSING_DEFAULT_VALUE", f.name, fmt.Sprintf("The field %s at path %s in the new schema has no default value and is missing in the old schema", quoted(f.name), quoted(place))}})
		}
	}
	c.done[pair] = found
	return found
}

// fieldOf finds the field that a reader's field is read from, by its name or one of
// its aliases.
func fieldOf(writer *avroType, f avroField) *avroField {
	for i := range writer.fields {
		if writer.fields[i].name == f.name {
			return &writer.fields[i]
		}
	}
	for i := range writer.fields {
		if slices.Contains(f.aliases, writer.fields[i].name) {
			return &writer.fields[i]
		}
	}
	return nil
}

func enums(reader, writer *avroType, path string) []difference {
	found := names(reader, writer, path)
	var missing []string
	for _, symbol := range writer.symbols {
		if !slices.Contains(reader.symbols, symbol) {
			missing = append(missing, symbol)
		}
	}
	if len(missing) > 0 && reader.fallback == nil {
		found = append(found, difference{"MISSING_ENUM_SYMBOLS", at(path) + "/symbols", fmt.Sprintf("The new schema lacks the symbols [%s] that the enum at path %s has in the old schema", clip(strings.Join(missing, ", ")), quoted(at(path)))})
	}
	return found
}

func names(reader, writer *avroType, path string) []difference {
	if reader.name == writer.name || slices.Contains(reader.aliases, writer.full()) {
		return nil
	}
	return []difference{{"NAME_MISMATCH", at(path) + "/name", fmt.Sprintf("The type at path %s is named %s in the new schema and %s in the old schema", quoted(at(path)), reader.full(), writer.full())}}
}

// promotes says whether a reader may take values of another primitive type.
func promotes(from, to string) bool {
	switch to {
	case "long":
		return from == "int"
	case "float":
		return from == "int" || from == "long"
	case "double":
		return from == "int" || from == "long" || from == "float"
	case "bytes":
		return from == "string"
	case "string":
		return from == "bytes"
	}
	return false
}

func at(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

func add(found, more []difference) []difference {
	for _, d := range more {
		if len(found) < mostDifferences {
			found = append(found, d)
		}
	}
	return found
}

func quoted(s string) string { return "'" + clip(s) + "'" }

func tooLarge(path string) difference {
	return difference{"TYPE_MISMATCH", at(path), "The schemas are too large to be compared with the old schema"}
}
