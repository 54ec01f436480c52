package objectstore

import (
	"errors"
	"strings"
)

// A query asks for the keys of a bucket.
type query struct {
	prefix    string
	delimiter string
	after     string // only keys and prefixes behind it
	most      int
}

// A listing is the answer to a query, in the order of keys.
type listing struct {
	objects  []listed
	prefixes []string
	next     string // what to go on after; empty: that was all
}

type listed struct {
	key string
	*object
}

// list looks keys up. The files of the objects are closed already.
func (b *bucket) list(q query) (listing, error) {
	l := &lister{bucket: b, query: q}
	if q.most > 0 {
		if err := l.walk(".", ""); err != nil && !errors.Is(err, errFull) {
			return listing{}, err
		}
	}
	return l.found, nil
}

// errFull says that there are as many keys as were asked for, and more.
var errFull = errors.New("full")

// A lister walks through a bucket.
type lister struct {
	*bucket
	query
	found listing
	last  string // what was found last
	skip  string // keys that begin with it are found already, as a prefix
}

// walk visits the directory whose keys begin with prefix.
func (l *lister) walk(at, prefix string) error {
	entries, err := l.entries(at)
	if err != nil {
		return err
	}
	for _, e := range entries {
		key := prefix + e.name
		folder := strings.HasSuffix(e.name, "/")
		if l.apart(key, folder) {
			continue
		}
		if folder {
			err = l.walk(e.place, key)
		} else {
			err = l.take(key, e.place)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// apart says that neither a key nor, if it is a folder's, what begins with it is
// asked for.
func (l *lister) apart(key string, folder bool) bool {
	within := strings.HasPrefix(key, l.prefix)
	if folder {
		within = within || strings.HasPrefix(l.prefix, key)
	}
	behind := key > l.after || folder && strings.HasPrefix(l.after, key)
	return !within || !behind || l.skip != "" && strings.HasPrefix(key, l.skip)
}

// take adds an object, or the prefix that it has in common with others.
func (l *lister) take(key, place string) error {
	common := ""
	if l.delimiter != "" {
		if head, _, ok := strings.Cut(key[len(l.prefix):], l.delimiter); ok {
			common = l.prefix + head + l.delimiter
		}
	}
	if common != "" && common <= l.after { // it was on the page before
		l.skip = common
		return nil
	}
	if len(l.found.objects)+len(l.found.prefixes) == l.most {
		l.found.next = l.last
		return errFull
	}
	if common != "" {
		l.found.prefixes = append(l.found.prefixes, common)
		l.last, l.skip = common, common
		return nil
	}
	o, err := l.openPlace(place)
	if errors.Is(err, errNoObject) { // it has just been removed
		return nil
	}
	if err != nil {
		return err
	}
	_ = o.Close()
	l.found.objects = append(l.found.objects, listed{key, o})
	l.last = key
	return nil
}
