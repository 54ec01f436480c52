package schema

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// mostNames bounds the names that one detail lists, and longestName their length:
// names of members are the caller's, too.
const (
	mostNames   = 10
	longestName = 100
)

// detail says what a value must be.
func detail(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return "must be " + article(k.Want) + ", is " + article([]string{k.Got})
	case *kind.Required:
		return names(k.Missing) + plural(len(k.Missing), " is missing", " are missing")
	case *kind.AdditionalProperties:
		return names(k.Properties) + plural(len(k.Properties), " is not allowed", " are not allowed")
	case *kind.PropertyNames:
		return "the name " + shorten(k.Property) + " is not allowed"
	case *kind.Dependency:
		return "with " + k.Prop + ", " + names(k.Missing) + plural(len(k.Missing), " is missing", " are missing")
	case *kind.DependentRequired:
		return "with " + k.Prop + ", " + names(k.Missing) + plural(len(k.Missing), " is missing", " are missing")
	case *kind.Enum:
		return "must be one of " + values(k.Want)
	case *kind.Const:
		return "must be " + values([]any{k.Want})
	case *kind.Pattern:
		return "must match the pattern " + k.Want
	case *kind.Format:
		return "must be a valid " + k.Want
	case *kind.Minimum:
		return "must be at least " + decimal(k.Want)
	case *kind.Maximum:
		return "must be at most " + decimal(k.Want)
	case *kind.ExclusiveMinimum:
		return "must be greater than " + decimal(k.Want)
	case *kind.ExclusiveMaximum:
		return "must be less than " + decimal(k.Want)
	case *kind.MultipleOf:
		return "must be a multiple of " + decimal(k.Want)
	case *kind.MinLength:
		return fmt.Sprintf("must have at least %d characters, has %d", k.Want, k.Got)
	case *kind.MaxLength:
		return fmt.Sprintf("must have at most %d characters, has %d", k.Want, k.Got)
	case *kind.MinItems:
		return fmt.Sprintf("must have at least %d elements, has %d", k.Want, k.Got)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %d elements, has %d", k.Want, k.Got)
	case *kind.MinProperties:
		return fmt.Sprintf("must have at least %d members, has %d", k.Want, k.Got)
	case *kind.MaxProperties:
		return fmt.Sprintf("must have at most %d members, has %d", k.Want, k.Got)
	case *kind.AdditionalItems:
		return fmt.Sprintf("has %d elements too many", k.Count)
	case *kind.UniqueItems:
		return fmt.Sprintf("the elements %d and %d are the same", k.Duplicates[0], k.Duplicates[1])
	case *kind.Contains:
		return "has no element of the kind that it must contain"
	case *kind.MinContains:
		return fmt.Sprintf("must contain at least %d elements of a kind, has %d", k.Want, len(k.Got))
	case *kind.MaxContains:
		return fmt.Sprintf("must contain at most %d elements of a kind, has %d", k.Want, len(k.Got))
	case *kind.AnyOf:
		return "fits none of the alternatives"
	case *kind.OneOf:
		if len(k.Subschemas) > 1 {
			return "fits more than one of the alternatives"
		}
		return "fits none of the alternatives"
	case *kind.Not:
		return "is what it must not be"
	case *kind.FalseSchema:
		return "is not allowed"
	case *kind.RefCycle:
		return "the schema refers to itself without end"
	case *kind.ContentEncoding:
		return "must be encoded as " + k.Want
	case *kind.ContentMediaType:
		return "must be of the media type " + k.Want
	}
	// What is left repeats no value: the texts of groups and references.
	return k.LocalizedString(printer)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// article writes type names as in "an integer or null".
func article(types []string) string {
	var all []string
	for _, t := range types {
		switch t {
		case "null":
			all = append(all, t)
		case "array", "integer", "object":
			all = append(all, "an "+t)
		default:
			all = append(all, "a "+t)
		}
	}
	return strings.Join(all, " or ")
}

func shorten(name string) string {
	if len(name) > longestName {
		return strings.ToValidUTF8(name[:longestName], "") + "…"
	}
	return name
}

func names(all []string) string {
	var out []string
	for i, name := range all {
		if i == mostNames {
			out = append(out, fmt.Sprintf("%d more", len(all)-mostNames))
			break
		}
		out = append(out, shorten(name))
	}
	return strings.Join(out, ", ")
}

// values writes what the schema asks for.
func values(all []any) string {
	var out []string
	for i, v := range all {
		if i == mostNames {
			out = append(out, fmt.Sprintf("%d more", len(all)-mostNames))
			break
		}
		text, err := json.Marshal(v)
		if err != nil {
			continue
		}
		out = append(out, shorten(string(text)))
	}
	return strings.Join(out, ", ")
}

// decimal writes a number of the schema as it stands there.
func decimal(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	digits, exact := r.FloatPrec()
	if !exact {
		return r.RatString()
	}
	return r.FloatString(digits)
}
