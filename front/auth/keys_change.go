package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/table"
)

// A NewKey is what a key is to be.
type NewKey struct {
	// Name is required; all others may be left out.
	Name        string
	Description string
	Principal   string // the default is User: and the name
	Groups      []string
	Tags        map[string]string
	Sources     []string
	Plans       []string
	Disabled    bool
	NotBefore   time.Time
	NotAfter    time.Time
}

// Errors of changes to keys.
var (
	errNoTable  = &gate.Error{Kind: gate.Unavailable, Message: "the API keys cannot be read yet; the brokers do not answer"}
	errNameUsed = &gate.Error{Kind: gate.Exists, Message: "there is a key of this name already; klamm key rotate makes a second one"}
	errNoKey    = &gate.Error{Kind: gate.NotFound, Message: "no such key"}
	errTwoKeys  = &gate.Error{Kind: gate.Conflict, Message: "the name holds two keys already; revoke one of them first"}
	errInFile   = &gate.Error{Kind: gate.Conflict, Message: "the key stands in the configuration file and is changed there"}
	errTooMany  = &gate.Error{Kind: gate.TooLarge, Message: fmt.Sprintf("there are %d keys already", mostKeys)}
)

func invalidKey(form string, args ...any) error {
	return &gate.Error{Kind: gate.Invalid, Message: fmt.Sprintf(form, args...)}
}

// doc checks what a key is to be.
func (n NewKey) doc(by gate.Principal, now time.Time) (keyDoc, error) {
	d := keyDoc{Key: Key{ID: random62(keyIDLength), Name: n.Name, Description: n.Description, Principal: cmp.Or(n.Principal, "User:"+n.Name), Groups: append([]string{}, n.Groups...),
		Tags: n.Tags, Sources: n.Sources, Plans: n.Plans, Enabled: !n.Disabled, NotBefore: n.NotBefore, NotAfter: n.NotAfter, Created: now.UTC().Truncate(time.Second), CreatedBy: by.Name}}
	if !validName(n.Name) {
		return d, invalidKey("a key's name has 1 to 249 printable characters")
	}
	if bare, ok := strings.CutPrefix(d.Principal, "User:"); !ok || !validName(bare) {
		return d, invalidKey("a principal is User:NAME, with 1 to 249 printable characters")
	}
	if len(n.Description) > 1024 {
		return d, invalidKey("a description has 1024 bytes at most")
	}
	for _, list := range [][]string{n.Groups, n.Plans} {
		if len(list) > 100 || slices.ContainsFunc(list, func(s string) bool { return !validName(s) }) {
			return d, invalidKey("groups and plans are up to 100 names of 1 to 249 printable characters")
		}
	}
	if len(n.Tags) > 50 || len(n.Sources) > 100 {
		return d, invalidKey("a key has 50 tags and 100 sources at most")
	}
	for name, value := range n.Tags {
		if !validName(name) || len(value) > 256 {
			return d, invalidKey("a tag's name has 1 to 249 printable characters, and its value 256 bytes at most")
		}
	}
	if _, err := prefixes(n.Sources); err != nil {
		return d, invalidKey("sources: %v", err)
	}
	if !n.NotAfter.IsZero() && !n.NotBefore.Before(n.NotAfter) {
		return d, invalidKey("the key would end before it begins")
	}
	return d, nil
}

// random62 returns n random letters and digits.
func random62(n int) string {
	b := make([]byte, n)
	for i := range b {
		v, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet62))))
		if err != nil {
			panic(err) // the system has no random numbers
		}
		b[i] = alphabet62[v.Int64()]
	}
	return string(b)
}

// Create makes a key under a new name. The second result is the key itself, which
// nobody can find out again. The errors are those of gate.Classify.
func (k *Keys) Create(ctx context.Context, by gate.Principal, n NewKey) (Key, string, error) {
	d, err := n.doc(by, k.env.now())
	if err != nil {
		return Key{}, "", err
	}
	secret := "klm_" + d.ID + "_" + random62(keySecretLength)
	digits := k.file.hash(secret)
	d.Hash = string(digits[:])
	err = k.update(ctx, func(all []keyDoc) ([]keyDoc, error) {
		if k.inFile(n.Name) || slices.ContainsFunc(all, func(o keyDoc) bool { return o.Name == n.Name }) {
			return nil, errNameUsed
		}
		return []keyDoc{d}, nil
	})
	return d.Key, secret, err
}

// Rotate makes a second key under a name, with everything that the newest one has.
// Both are taken until one is revoked.
func (k *Keys) Rotate(ctx context.Context, by gate.Principal, name string) (Key, string, error) {
	id := random62(keyIDLength)
	secret := "klm_" + id + "_" + random62(keySecretLength)
	var made keyDoc
	err := k.update(ctx, func(all []keyDoc) ([]keyDoc, error) {
		have := slices.DeleteFunc(all, func(o keyDoc) bool { return o.Name != name })
		switch {
		case len(have) == 0 && k.inFile(name):
			return nil, errInFile
		case len(have) == 0:
			return nil, errNoKey
		case len(have) >= secretsOfName:
			return nil, errTwoKeys
		}
		digits := k.file.hash(secret)
		made = keyDoc{Key: have[0].Key, Hash: string(digits[:])}
		made.ID, made.Created, made.CreatedBy, made.Enabled = id, k.env.now().UTC().Truncate(time.Second), by.Name, true
		return []keyDoc{made}, nil
	})
	return made.Key, secret, err
}

// Revoke removes a key. It is refused by every process within moments.
func (k *Keys) Revoke(ctx context.Context, id string) (Key, error) {
	t, err := k.open(ctx)
	if err != nil {
		return Key{}, err
	}
	var gone keyDoc
	err = t.Update(ctx, func(tx *table.Tx) error {
		e, ok := tx.Get(id)
		switch {
		case !ok && k.inFile(id):
			return errInFile
		case !ok:
			return errNoKey
		}
		if err := json.Unmarshal(e.Value, &gone); err != nil {
			return err
		}
		tx.Delete(id)
		return nil
	})
	return gone.Key, err
}

// An Import is a key that was made elsewhere.
type Import struct {
	NewKey
	Secret string
}

// Import takes over keys that were made elsewhere, all of them or, with an error,
// none.
func (k *Keys) Import(ctx context.Context, by gate.Principal, list []Import) ([]Key, error) {
	if len(list) > importedAtOnce {
		return nil, invalidKey("import %d keys at most at a time", importedAtOnce)
	}
	docs := make([]keyDoc, len(list))
	seen := map[string]bool{}
	for i, one := range list {
		d, err := one.doc(by, k.env.now())
		if err != nil {
			return nil, invalidKey("key %d: %v", i+1, err)
		}
		if !keyShape(one.Secret) {
			return nil, invalidKey("key %d (%s): want %d to %d printable ASCII characters", i+1, one.Name, shortestKey, longestKey)
		}
		if strings.HasPrefix(one.Secret, "klm_") {
			return nil, invalidKey("key %d (%s): keys of klamm's own form cannot be imported", i+1, one.Name)
		}
		digits := k.file.hash(one.Secret)
		hash := string(digits[:])
		if seen[hash] || k.file.file[hash] != nil {
			return nil, invalidKey("key %d (%s) is there twice", i+1, one.Name)
		}
		seen[hash] = true
		if len(one.Secret) < guessable {
			d.Bucket, d.Argon = hash[:4], hashShort(one.Secret)
		} else {
			d.Hash = hash
		}
		docs[i] = d
	}
	err := k.update(ctx, func(all []keyDoc) ([]keyDoc, error) {
		names, hashes := map[string]int{}, map[string]bool{}
		for _, o := range all {
			names[o.Name]++
			hashes[o.Hash] = o.Hash != ""
		}
		for i, d := range docs {
			if names[d.Name]++; names[d.Name] > secretsOfName || k.inFile(d.Name) {
				return nil, &gate.Error{Kind: gate.Exists, Message: fmt.Sprintf("key %d: the name %q holds two keys already", i+1, d.Name)}
			}
			if hashes[d.Hash] {
				return nil, &gate.Error{Kind: gate.Exists, Message: fmt.Sprintf("key %d (%s) was imported before", i+1, d.Name)}
			}
		}
		return docs, nil
	})
	if err != nil {
		return nil, err
	}
	keys := make([]Key, len(docs))
	for i, d := range docs {
		keys[i] = d.Key
	}
	return keys, nil
}

// hashShort is the hash of a key that might be guessed.
func hashShort(key string) string {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt)
	sum := argon2.IDKey([]byte(key), salt, 1, 64<<10, 4, 32)
	return "$argon2id$v=19$m=65536,t=1,p=4$" + base64.RawStdEncoding.EncodeToString(salt) + "$" + base64.RawStdEncoding.EncodeToString(sum)
}

func (k *Keys) inFile(name string) bool {
	for _, f := range k.file.file {
		if f.name == name {
			return true
		}
	}
	return false
}

// open waits for the table.
func (k *Keys) open(ctx context.Context) (*table.Table, error) {
	timer := time.NewTimer(openKeysWithin)
	defer timer.Stop()
	select {
	case <-k.opened:
	case <-timer.C:
	case <-ctx.Done():
	}
	if !k.loaded() || k.table == nil {
		return nil, errNoTable
	}
	return k.table, nil
}

// update adds what decide returns for the keys there are.
func (k *Keys) update(ctx context.Context, decide func(all []keyDoc) ([]keyDoc, error)) error {
	t, err := k.open(ctx)
	if err != nil {
		return err
	}
	return t.Update(ctx, func(tx *table.Tx) error {
		entries := tx.List("")
		all := make([]keyDoc, 0, len(entries))
		for _, e := range entries {
			var d keyDoc
			if err := json.Unmarshal(e.Value, &d); err != nil {
				return fmt.Errorf("API key %s: %w", e.Key, err)
			}
			all = append(all, d)
		}
		slices.SortStableFunc(all, func(a, b keyDoc) int { return b.Created.Compare(a.Created) })
		more, err := decide(all)
		if err != nil {
			return err
		}
		if len(entries)+len(more) > mostKeys {
			return errTooMany
		}
		for _, d := range more {
			if _, taken := tx.Get(d.ID); taken {
				return errors.New("two API keys have drawn the same id")
			}
			value, err := json.Marshal(d)
			if err != nil {
				return err
			}
			tx.Put(d.ID, value)
		}
		return nil
	})
}
