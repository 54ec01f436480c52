package function

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A store unpacks packages, each once however many functions and instances use it,
// and forgets those that nobody uses any more.
type store struct {
	directory string

	mu       sync.Mutex
	users    map[string]int // by digest
	packages map[string]*sync.Mutex
}

// use and leave say who needs a package; nil: nobody.
func (s *store) use(p *Package) {
	if p == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == nil {
		s.users, s.packages = map[string]int{}, map[string]*sync.Mutex{}
	}
	s.users[p.Digest]++
	if s.packages[p.Digest] == nil {
		s.packages[p.Digest] = &sync.Mutex{}
	}
}

func (s *store) leave(p *Package) {
	if p == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users[p.Digest]--; s.users[p.Digest] > 0 {
		return
	}
	delete(s.users, p.Digest)
	delete(s.packages, p.Digest)
	_ = os.RemoveAll(s.path(p.Digest))
}

// path returns the directory of a package.
func (s *store) path(digest string) string {
	sum, _ := base64.StdEncoding.DecodeString(digest)
	return filepath.Join(s.directory, hex.EncodeToString(sum))
}

// unpacked returns the directory of a package that is in use, and fetches it first
// if it is not there.
func (s *store) unpacked(p *Package, within time.Duration) (string, error) {
	s.mu.Lock()
	one := s.packages[p.Digest]
	s.mu.Unlock()
	if one == nil {
		return "", errors.New("nobody uses it any more")
	}
	one.Lock()
	defer one.Unlock()
	directory := s.path(p.Digest)
	if exists(directory) {
		return directory, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	archive, err := p.Fetch(ctx)
	if err != nil {
		return "", fmt.Errorf("it cannot be fetched: %w", err)
	}
	if got := Digest(archive); got != p.Digest {
		return "", fmt.Errorf("what was fetched has the SHA-256 %s", got)
	}
	return directory, Unpack(archive, directory)
}
