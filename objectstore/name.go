package objectstore

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"
)

// How keys become paths. A key is divided at its slashes, and a segment that can be
// the name of a file is one, so that people find a/b.csv where they look for it. For
// the others, and where a key is the beginning of another one, there are names that
// begin with ".klamm-", which no plain segment does:
//
//	.klamm-e-HEX    the segment whose bytes HEX are: "..", an empty one, a long one
//	.klamm-p-HEX    a directory with the rest of a segment that begins like this
//	.klamm-o-NAME   the object NAME, where a directory has that name already
//	.klamm-d-NAME   the directory NAME, where an object has that name already
//
// At each place at most one object and one directory stand for a segment: what has
// the longer name is looked for first, and made only where the other one is in the
// way.
const (
	temporary     = ".klamm-"
	encodedPrefix = temporary + "e-"
	partialPrefix = temporary + "p-"
	objectPrefix  = temporary + "o-"
	folderPrefix  = temporary + "d-"
	// maxSegment is how long a plain segment may be, in bytes: file systems allow
	// 255, less the room for a prefix.
	maxSegment = 220
	// maxPiece is how many bytes of a segment one name has in hexadecimal.
	maxPiece = 100
)

// checkKey refuses what is no key.
func checkKey(key string) error {
	if key == "" || len(key) > maxKey || !utf8.ValidString(key) {
		return errKey
	}
	return nil
}

// plain says whether a segment can be the name of a file.
func plain(segment string) bool {
	return segment != "" && segment != "." && segment != ".." && len(segment) <= maxSegment && !strings.HasPrefix(segment, temporary) &&
		!strings.ContainsFunc(segment, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// namesOf returns the names that stand for a segment: directories, and what has the
// segment's own name at the end.
func namesOf(segment string) []string {
	if plain(segment) {
		return []string{segment}
	}
	var names []string
	for len(segment) > maxPiece {
		names = append(names, partialPrefix+hex.EncodeToString([]byte(segment[:maxPiece])))
		segment = segment[maxPiece:]
	}
	return append(names, encodedPrefix+hex.EncodeToString([]byte(segment)))
}

// segmentOf returns the segment, or the end of it, that a name stands for.
func segmentOf(name string) (string, bool) {
	text, ok := strings.CutPrefix(name, encodedPrefix)
	if !ok {
		return name, plain(name)
	}
	b, err := hex.DecodeString(text)
	return string(b), err == nil && encodedPrefix+hex.EncodeToString(b) == name
}

// find returns the path of an object, or errNoObject.
func (b *bucket) find(key string) (string, error) {
	place, _, err := b.resolve(key, false)
	return place, err
}

// prepare returns the path for an object that will be there, makes its directories,
// and returns those that have changed. The directory's mutex is held.
func (b *bucket) prepare(key string) (string, []string, error) { return b.resolve(key, true) }

func (b *bucket) resolve(key string, create bool) (place string, changed []string, err error) {
	if err := checkKey(key); err != nil {
		return "", nil, err
	}
	at := "."
	segments := strings.Split(key, "/")
	for i, segment := range segments {
		names := namesOf(segment)
		last := names[len(names)-1]
		for _, name := range names[:len(names)-1] {
			if at, changed, err = b.enter(path.Join(at, name), create, changed); err != nil {
				return "", nil, err
			}
		}
		if i == len(segments)-1 {
			place, err = b.objectAt(at, last, create)
			return place, changed, err
		}
		folder := path.Join(at, folderPrefix+last)
		if kind, err := b.kind(folder); err != nil {
			return "", nil, err
		} else if kind != isDirectory {
			usual := path.Join(at, last)
			kind, err := b.kind(usual)
			if err != nil {
				return "", nil, err
			}
			if kind != isOther { // else an object is in the way
				folder = usual
			}
		}
		if at, changed, err = b.enter(folder, create, changed); err != nil {
			return "", nil, err
		}
	}
	return "", nil, errKey // not reached: there is at least one segment
}

// objectAt returns the path of an object in a directory.
func (b *bucket) objectAt(at, name string, create bool) (string, error) {
	special, usual := path.Join(at, objectPrefix+name), path.Join(at, name)
	kind, err := b.kind(special)
	if err != nil || kind == isOther {
		return special, err
	}
	kind, err = b.kind(usual)
	switch {
	case err != nil:
		return "", err
	case kind == isDirectory && create:
		return special, nil
	case kind == isOther, create:
		return usual, nil
	}
	return "", errNoObject
}

// enter returns a directory on the way to an object, and makes it if it is not there.
func (b *bucket) enter(name string, create bool, changed []string) (string, []string, error) {
	kind, err := b.kind(name)
	switch {
	case err != nil:
		return "", nil, err
	case kind == isDirectory:
		return name, changed, nil
	case !create:
		return "", nil, errNoObject
	}
	if err := b.Mkdir(name, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", nil, err
	}
	return name, append(changed, path.Dir(name)), nil
}

// A kind is what has a name.
type kind int

const (
	isNothing kind = iota
	isDirectory
	isOther // an object, or something that is in the way
)

func (b *bucket) kind(name string) (kind, error) {
	info, err := b.Lstat(name)
	switch {
	case err == nil && info.IsDir():
		return isDirectory, nil
	case err == nil:
		return isOther, nil
	case errors.Is(err, fs.ErrNotExist), isNotDirectory(err):
		return isNothing, nil
	}
	return isNothing, err
}

// isNotDirectory says whether a path leads through a file.
func isNotDirectory(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

// An entry is an object, or a directory with keys that begin alike.
type entry struct {
	name  string // of a directory with a slash at the end
	place string
}

// entries returns what is in a directory, in the order of keys: a directory stands
// where the keys in it do.
func (b *bucket) entries(at string) ([]entry, error) {
	all, err := b.read(at, "", nil)
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return all, err
}

// read adds the entries of a directory whose names begin with what was read of them
// so far.
func (b *bucket) read(at, begun string, all []entry) ([]entry, error) {
	f, err := b.Root.Open(at)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) { // it has just been removed
			return all, nil
		}
		return nil, err
	}
	defer f.Close()
	found, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	for _, e := range found {
		name, place := e.Name(), path.Join(at, e.Name())
		if text, ok := strings.CutPrefix(name, partialPrefix); ok && e.IsDir() {
			piece, err := hex.DecodeString(text)
			if err != nil || len(begun)+len(piece) > maxKey {
				continue
			}
			if all, err = b.read(place, begun+string(piece), all); err != nil {
				return nil, err
			}
			continue
		}
		object, directory := e.Type().IsRegular(), e.IsDir()
		if rest, ok := strings.CutPrefix(name, objectPrefix); ok {
			name, directory = rest, false
		} else if rest, ok := strings.CutPrefix(name, folderPrefix); ok {
			name, object = rest, false
		}
		segment, ok := segmentOf(name)
		segment = begun + segment
		switch {
		case !ok || !utf8.ValidString(segment):
		case object:
			all = append(all, entry{name: segment, place: place})
		case directory:
			all = append(all, entry{name: segment + "/", place: place})
		}
	}
	return all, nil
}
