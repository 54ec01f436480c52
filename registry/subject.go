package registry

import (
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

// DefaultContext is the name of the context of subjects that name none.
const DefaultContext = "."

// longestSubject bounds a subject's name in bytes; a key of the topic has room for it.
const longestSubject = 450

// split takes a subject apart into its context and its name. A subject of another
// context is written :.CONTEXT:NAME; with no name it stands for the context.
func split(subject string) (context, name string) {
	if rest, ok := strings.CutPrefix(subject, ":."); ok {
		if context, name, ok := strings.Cut(rest, ":"); ok {
			return "." + context, name
		}
		return "." + rest, ""
	}
	return DefaultContext, subject
}

// qualify is the opposite of split.
func qualify(context, name string) string {
	if context == DefaultContext || context == "" {
		return name
	}
	return ":" + context + ":" + name
}

// qualifiedContext is how messages name a context.
func qualifiedContext(context string) string {
	if context == DefaultContext {
		return context
	}
	return qualify(context, "")
}

// canonical returns a subject in the one form in which it is stored, or refuses it.
func canonical(subject string) (string, error) {
	if !utf8.ValidString(subject) || len(subject) > longestSubject || strings.ContainsFunc(subject, unicode.IsControl) {
		return "", invalidSubject(subject)
	}
	context, name := split(subject)
	if strings.Contains(context, ":") || name == "__GLOBAL" || name == "__EMPTY" {
		return "", invalidSubject(subject)
	}
	return qualify(context, name), nil
}

// named is canonical for what must be a subject, and not a context or nothing.
func named(subject string) (string, error) {
	subject, err := canonical(subject)
	if err != nil {
		return "", err
	}
	if _, name := split(subject); name == "" || strings.HasPrefix(subject, everywhere) {
		return "", invalidSubject(subject)
	}
	return subject, nil
}

func invalidSubject(subject string) error {
	return refuse(http.StatusUnprocessableEntity*100+8, "The specified subject %s is not a valid subject.", quoted(subject))
}
