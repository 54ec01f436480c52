package auth

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/table"
)

// keysTopic is the compacted topic that the keys of all processes lie in.
const keysTopic = "__klamm_keys"

const (
	alphabet62      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	keyIDLength     = 8
	keySecretLength = 32
	// secretsOfName is how many keys a name may hold: the one in use and its
	// successor.
	secretsOfName = 2
	// mostKeys bounds the keys that are kept, and importedAtOnce those of one
	// import.
	mostKeys       = 100_000
	importedAtOnce = 1000
	// reopenKeys is how long a table that could not be opened is left alone.
	reopenKeys = time.Second
	// openKeysWithin is how long a change waits for the table.
	openKeysWithin = 10 * time.Second
)

// Keys are the API keys that are made while klamm runs (gateway-policies.md 1.6).
// They are kept in a table that all processes share, as hashes: nobody can read a
// key back. Keys are safe for concurrent use.
type Keys struct {
	env    Env
	file   *apiKeys
	opened chan struct{}                       // closed when table is set
	table  *table.Table                        // nil until opened is closed
	proved *cache[[sha256.Size]byte, string]   // ids of short keys that were checked a moment ago
	slow   chan struct{}                       // bounds the slow hashes at a time
	tried  *cache[[sha256.Size]byte, struct{}] // short keys that are nobody's

	mu      sync.RWMutex // guards what follows
	byID    map[string]*keptKey
	byHash  map[string]*keptKey
	buckets map[string][]*keptKey // of short keys, by the beginning of their hash
	used    map[string]time.Time  // by id, to the minute
}

// A Key is what may be known of a key.
type Key struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Principal   string            `json:"principal"`
	Groups      []string          `json:"groups"`
	Tags        map[string]string `json:"tags,omitempty"`
	Sources     []string          `json:"sources,omitempty"`
	Plans       []string          `json:"plans,omitempty"`
	Enabled     bool              `json:"enabled"`
	NotBefore   time.Time         `json:"not_before,omitzero"`
	NotAfter    time.Time         `json:"not_after,omitzero"`
	Created     time.Time         `json:"created"`
	CreatedBy   string            `json:"created_by"`
	// LastUsed is when this process took the key last, to the minute; the zero
	// time is not since it started. It is not kept.
	LastUsed time.Time `json:"last_used,omitzero"`
	// InFile says that the key stands in the configuration file and cannot be
	// changed here.
	InFile bool `json:"in_file,omitempty"`
}

// keyDoc is a key as it is kept.
type keyDoc struct {
	Key
	// Hash is the HMAC of a key that cannot be guessed. Of a short key there is
	// Argon, which is slow to guess from, and Bucket, the first bits of its HMAC.
	Hash   string `json:"hash,omitempty"`
	Argon  string `json:"argon,omitempty"`
	Bucket string `json:"bucket,omitempty"`
}

// A keptKey is a key that callers may come with.
type keptKey struct {
	doc     keyDoc
	sources []netip.Prefix
	who     gate.Principal
}

// newKeys begins to follow the table of a chain's cluster.
func newKeys(c *Chain, file *apiKeys) *Keys {
	k := &Keys{env: c.env, file: file, opened: make(chan struct{}), byID: map[string]*keptKey{}, byHash: map[string]*keptKey{},
		buckets: map[string][]*keptKey{}, used: map[string]time.Time{}, proved: newCache[[sha256.Size]byte, string](10_000),
		slow: make(chan struct{}, 2), tried: newCache[[sha256.Size]byte, struct{}](10_000)}
	if c.env.Cluster == nil {
		close(k.opened)
		return k
	}
	c.parts.Go(func() { k.run(c.ctx) })
	return k
}

// run opens the table and holds it open until ctx ends.
func (k *Keys) run(ctx context.Context) {
	for ctx.Err() == nil {
		t, err := table.Open(ctx, k.env.Cluster, keysTopic, table.Options{Log: k.env.Log})
		if err != nil {
			k.env.Log.Debug("the API keys cannot be read yet", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(reopenKeys):
			}
			continue
		}
		ready := make(chan struct{})
		var once sync.Once
		stop := t.Watch(func(changes []table.Change) {
			k.apply(changes)
			once.Do(func() { close(ready) })
		})
		if len(t.List("")) > 0 {
			select {
			case <-ready:
			case <-ctx.Done():
			}
		}
		k.table = t
		close(k.opened)
		<-ctx.Done()
		stop()
		t.Close()
		return
	}
}

// apply takes over what was written.
func (k *Keys) apply(changes []table.Change) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range changes {
		if old := k.byID[c.Key]; old != nil {
			delete(k.byID, c.Key)
			delete(k.byHash, old.doc.Hash)
			if b := old.doc.Bucket; b != "" {
				k.buckets[b] = slices.DeleteFunc(k.buckets[b], func(o *keptKey) bool { return o == old })
			}
		}
		if c.Deleted {
			delete(k.used, c.Key)
			continue
		}
		one := &keptKey{}
		if err := json.Unmarshal(c.Value, &one.doc); err != nil || one.doc.ID != c.Key {
			k.env.Log.Error("an entry of the API keys cannot be read", "key", c.Key)
			continue
		}
		var err error
		if one.sources, err = prefixes(one.doc.Sources); err != nil {
			k.env.Log.Error("an entry of the API keys cannot be read", "key", c.Key)
			continue
		}
		d := one.doc
		one.who = gate.Principal{Name: d.Principal, Groups: d.Groups, Tags: d.Tags, Scheme: gate.SchemeAPIKey, KeyID: d.ID, KeyName: d.Name, Plans: d.Plans, Expires: d.NotAfter}
		k.byID[d.ID] = one
		if d.Hash != "" {
			k.byHash[d.Hash] = one
		}
		if d.Bucket != "" {
			k.buckets[d.Bucket] = append(k.buckets[d.Bucket], one)
		}
	}
	k.proved.clear()
	k.tried.clear()
}

// loaded says whether the table has been read.
func (k *Keys) loaded() bool {
	select {
	case <-k.opened:
		return true
	default:
		return false
	}
}

// Await returns when the keys have been read, or with ctx's error.
func (k *Keys) Await(ctx context.Context) error {
	select {
	case <-k.opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Holder returns the caller of a name as they are with the newest of their keys that
// is taken now; false: there is none.
func (k *Keys) Holder(name string) (who gate.Principal, ok bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var newest *keptKey
	for _, one := range k.byID {
		if one.doc.Principal == name && one.doc.Enabled && between(k.env.now(), one.doc.NotBefore, one.doc.NotAfter) &&
			(newest == nil || one.doc.Created.After(newest.doc.Created) || one.doc.Created.Equal(newest.doc.Created) && one.doc.ID > newest.doc.ID) {
			newest = one
		}
	}
	if newest == nil {
		return who, false
	}
	return newest.who, true
}

// stands says whether the key with an id is taken now, wherever it comes from.
func (a *apiKeys) stands(id string, now time.Time) bool {
	for _, one := range a.file {
		if one.who.KeyID == id {
			return one.enabled && between(now, one.notBefore, one.notAfter)
		}
	}
	a.made.mu.RLock()
	defer a.made.mu.RUnlock()
	one := a.made.byID[id]
	return one != nil && one.doc.Enabled && between(now, one.doc.NotBefore, one.doc.NotAfter)
}

// find returns who a key stands for. The error is errRefused, or a refusal because
// nobody knows yet.
func (k *Keys) find(key string, hash *keyHash, source netip.Addr, now time.Time) (gate.Principal, error) {
	if !k.loaded() {
		return gate.Principal{}, unavailable("the API keys cannot be read yet", "1")
	}
	id, ours := madeKey(key)
	k.mu.RLock()
	one := k.byHash[string(hash[:])]
	if ours {
		// The id is no secret; the comparison with what belongs to it takes the
		// same time whatever is wrong.
		if one = k.byID[id]; one != nil && !hmac.Equal([]byte(one.doc.Hash), hash[:]) {
			one = nil
		}
	}
	bucket := k.buckets[string(hash[:4])]
	k.mu.RUnlock()
	if one == nil && !ours && len(key) < guessable && len(bucket) > 0 {
		one = k.findShort(key, bucket, now)
	}
	if one == nil || !one.doc.Enabled || !between(now, one.doc.NotBefore, one.doc.NotAfter) || !fromOneOf(one.sources, source) {
		return gate.Principal{}, errRefused
	}
	k.note(one.doc.ID, now)
	return one.who, nil
}

// findShort compares a short key with those of its bucket, slowly, and remembers
// the outcome for a minute.
func (k *Keys) findShort(key string, bucket []*keptKey, now time.Time) *keptKey {
	digest := sha256.Sum256([]byte(key))
	if id, ok := k.proved.get(digest, now); ok {
		k.mu.RLock()
		defer k.mu.RUnlock()
		return k.byID[id]
	}
	if _, ok := k.tried.get(digest, now); ok {
		return nil
	}
	k.slow <- struct{}{}
	defer func() { <-k.slow }()
	for _, one := range bucket {
		if matches(one.doc.Argon, key) {
			k.proved.put(digest, one.doc.ID, now.Add(knownFor))
			return one
		}
	}
	k.tried.put(digest, struct{}{}, now.Add(knownFor))
	return nil
}

// note remembers when a key was used.
func (k *Keys) note(id string, now time.Time) {
	k.mu.RLock()
	last := k.used[id]
	k.mu.RUnlock()
	if now.Sub(last) < time.Minute {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.used[id] = now.Truncate(time.Minute)
}

// List returns all keys, those of the file first, sorted by name.
func (k *Keys) List(ctx context.Context) ([]Key, error) {
	keys := []Key{}
	for _, f := range k.file.file {
		keys = append(keys, Key{ID: f.name, Name: f.name, Principal: f.who.Name, Groups: append([]string{}, f.who.Groups...), Tags: f.who.Tags,
			Enabled: f.enabled, NotBefore: f.notBefore, NotAfter: f.notAfter, InFile: true})
	}
	if k.env.Cluster != nil {
		if _, err := k.open(ctx); err != nil {
			return nil, err
		}
	}
	k.mu.RLock()
	for id, one := range k.byID {
		key := one.doc.Key
		key.LastUsed = k.used[id]
		keys = append(keys, key)
	}
	k.mu.RUnlock()
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(boolOrder(a.InFile, b.InFile), strings.Compare(a.Name, b.Name), a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return keys, nil
}

// boolOrder puts true before false.
func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
