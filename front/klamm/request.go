package klamm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/front"
)

// largestBody bounds what is read as one JSON document: a call with the ids of
// tens of thousands of letters.
const largestBody = 1 << 20

// decode reads the request's body, one JSON object with the members of v and no
// others. A request without a body is an empty object.
func decode(r *http.Request, v any) error {
	data, release, err := front.ReadBodyWithin(r, largestBody)
	if err != nil {
		return err
	}
	defer release()
	return parse(data, v)
}

// parse is decode for a body that is there.
func parse(data []byte, v any) error {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return nil
	}
	if data[0] != '{' {
		return invalid("the body is not a JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return invalid("the body: " + wrongJSON(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return invalid("the body has something behind its JSON object")
	}
	return nil
}

// wrongJSON says in the caller's words what is wrong with a document.
func wrongJSON(err error) string {
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &mismatch):
		return fmt.Sprintf("%s cannot be a %s", mismatch.Field, mismatch.Value)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the JSON breaks off"
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// A query is the part of a URL behind its question mark.
type query map[string][]string

// queryOf returns the request's query, which may have the named parameters, each
// once, and no others.
func queryOf(r *http.Request, names ...string) (query, error) {
	if len(r.URL.RawQuery) > 16<<10 {
		return nil, invalid("the query is too long")
	}
	q := query(r.URL.Query())
	for name, values := range q {
		if !slices.Contains(names, name) {
			if len(names) == 0 {
				return nil, invalid(fmt.Sprintf("there is no query parameter %q", name))
			}
			return nil, invalid(fmt.Sprintf("there is no query parameter %q; want %s", name, strings.Join(names, ", ")))
		}
		if len(values) != 1 {
			return nil, invalid(fmt.Sprintf("query parameter %s is given %d times", name, len(values)))
		}
	}
	return q, nil
}

func (q query) text(name string) string {
	if values := q[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// flag is a parameter that is true or false; one that is not given is false.
func (q query) flag(name string) (bool, error) {
	switch text := q.text(name); text {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, invalid(name + ": want true or false")
}

const (
	defaultRows = 100
	mostRows    = 10_000
)

// limit is how many rows are asked for.
func (q query) limit() (int, error) {
	text := q.text("limit")
	if text == "" {
		return defaultRows, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > mostRows {
		return 0, invalid(fmt.Sprintf("limit %q: want a number from 1 to %d", text, mostRows))
	}
	return n, nil
}

// A chosen is a part of a list, and what is to be said of the whole.
type chosen[T any] struct {
	list  []T
	next  string // what after is to be for the rest; empty: there is none
	total int    // of those that were searched for
}

// choose returns those of a list that have ?search= in one of their texts, from the one
// behind ?after= on, at most ?limit=; id tells them apart. Without any parameter it is the
// whole list.
func choose[T any](q query, list []T, id func(T) string, texts func(T) []string) (c chosen[T], err error) {
	search, after := q.text("search"), q.text("after")
	for _, one := range list {
		if slices.ContainsFunc(texts(one), func(text string) bool { return strings.Contains(text, search) }) {
			c.list = append(c.list, one)
		}
	}
	if c.total = len(c.list); len(q) == 0 {
		return c, nil
	}
	limit, err := q.limit()
	if err != nil {
		return c, err
	}
	if after != "" {
		i := slices.IndexFunc(c.list, func(one T) bool { return id(one) == after })
		if i < 0 {
			return c, invalid(fmt.Sprintf("after %.200q: that one is not in the list any more; begin again without it", after))
		}
		c.list = c.list[i+1:]
	}
	if len(c.list) > limit {
		c.list = c.list[:limit]
		c.next = id(c.list[limit-1])
	}
	return c, nil
}

// since is the time from which on rows are asked for, given as such or as how
// long ago it was; the zero time: from the beginning.
func (q query) since() (time.Time, error) {
	text := q.text("since")
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if ago, ok := strings.CutPrefix(text, "-"); ok {
		if d, err := time.ParseDuration(ago); err == nil && d >= 0 {
			return time.Now().Add(-d), nil
		}
	}
	return time.Time{}, invalid(fmt.Sprintf("since %q: want a time such as 2026-01-31T12:00:00Z, or how long ago such as -15m", text))
}
