package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/transform"
)

// A plan is what the configuration says of requests, prepared. What is always
// the same is in fixed, base and name; the rest are texts, whose placeholders
// are looked up in the document of the record, all together in one pass.
type plan struct {
	paths   transform.Paths
	fields  event.Fields // of the document; set by open
	ofBody  bool         // the document has a body as well
	base    *url.URL     // scheme and host, and all of a URL that is always the same
	name    string       // the URL for errors: without its query, which may hold secrets
	short   bool         // there are more * than values for them
	path    text         // of the URL, percent-encoded
	query   []param
	named   []namedParam
	taken   map[string]bool // names that none of named can have
	made    bool            // the URL is made of path and query; otherwise it is base
	moving  bool            // path or query have placeholders
	fixed   http.Header
	headers []templated
	body    *text
	escape  string
	// contentType goes with body.
	contentType string
}

// A templated is a header with placeholders.
type templated struct {
	name string
	text text
}

// A text is literals and placeholders, one after the other.
type text []piece

// A piece is a literal, or a placeholder where it is none.
type piece struct {
	literal string
	path    int  // number of the placeholder's path; -1: a literal
	star    bool // part of what takes the place of a *
	quoted  bool // in a JSON text: within a string
	source  string
}

func (t text) plain() bool {
	return !slices.ContainsFunc(t, func(p piece) bool { return p.path >= 0 })
}

// String returns the text as it was written.
func (t text) String() string {
	var b strings.Builder
	for _, p := range t {
		b.WriteString(p.literal)
		if p.path >= 0 {
			b.WriteString("<" + p.source + ">")
		}
	}
	return b.String()
}

// compile finds the placeholders of a text.
func (p *plan) compile(from string) (text, error) {
	var t text
	for rest := from; ; {
		i := strings.Index(rest, "<$")
		if i < 0 {
			if rest != "" {
				t = append(t, piece{literal: rest, path: -1})
			}
			return t, nil
		}
		at := utf8.RuneCountInString(from[:len(from)-len(rest)+i]) + 1
		path, behind, err := transform.CutPath(rest[i+1:])
		var wrong *transform.SpecError
		switch {
		case errors.As(err, &wrong):
			return nil, fmt.Errorf("character %d: %s", at+wrong.Position, wrong.Reason)
		case err != nil:
			return nil, err
		case !strings.HasPrefix(behind, ">"):
			return nil, fmt.Errorf("character %d: the placeholder <%s is not closed by >; a path has .name, ['name'], [n] and [*]", at, path)
		}
		n, err := p.paths.Add(path)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			t = append(t, piece{literal: rest[:i], path: -1})
		}
		t = append(t, piece{path: n, source: path})
		rest = behind[1:]
	}
}

// seal notes which members of the document the placeholders look at.
func (p *plan) seal() {
	names, all := p.paths.Fields()
	if all {
		p.fields, p.ofBody = event.AllFields, true
	}
	for _, name := range names {
		p.fields.Pick(name)
		p.ofBody = p.ofBody || name == "body"
	}
}

// steady says whether all placeholders mean the same for every record of a
// batch, which comes from one partition.
func (p *plan) steady() bool {
	f := p.fields
	f.Topic, f.Partition = false, false
	return f == event.Fields{} && !p.ofBody
}

// document appends what the placeholders see of an event.
func (p *plan) document(dst []byte, e *event.Event) []byte {
	if e.Document != nil {
		return append(dst, e.Document...)
	}
	dst, _, _ = event.AppendDocument(dst, e.Seen(), p.fields)
	if !p.ofBody {
		return dst
	}
	dst = dst[:len(dst)-1]
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return append(e.AppendJSON(append(dst, `"body":`...)), '}')
}

// A refusal is permanent: the same record would give the same request again.
// The texts hold no part of the record.
func refusal(format string, args ...any) error {
	return &target.Failure{Final: true, Code: target.CodeParameter, Err: fmt.Errorf("INVALID_PARAMETER: "+format, args...)}
}

// header appends the value of a header, and fails if that would be none.
func (t templated) header(values [][]byte) (string, error) {
	var b []byte
	for _, p := range t.text {
		if p.path < 0 {
			b = append(b, p.literal...)
			continue
		}
		b = transform.AppendText(b, values[p.path])
		if len(b) > maxValue {
			return "", refusal("the header %s would have more than %d bytes", t.name, maxValue)
		}
	}
	if !utf8.Valid(b) || slices.ContainsFunc(b, func(c byte) bool { return c < ' ' || c == 0x7f }) {
		return "", refusal("the header %s would have control characters or bytes that are not UTF-8", t.name)
	}
	return strings.TrimSpace(string(b)), nil
}
