package catalog

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/table"
)

// sealKind and sealKey are where the key of a cluster lies that has none configured.
const (
	sealKind = "seal"
	sealKey  = "seal/key"
)

// Config is the catalog section of the configuration file.
type Config struct {
	// SealKey is the key that the secrets of connections are sealed with before they
	// are stored: at least 16 characters, the same in every process. Without one a
	// key is made and kept in Kafka beside them, which hides them from a glance and
	// from nobody who can read the topic.
	SealKey secret.Ref `yaml:"seal_key"`
	// FormerSealKeys still open what was sealed with them, while a key is being
	// replaced.
	FormerSealKeys []secret.Ref `yaml:"former_seal_keys"`
}

// Validate reports each problem with the field it lies in.
func (c Config) Validate(report func(path, problem string)) {
	if !c.SealKey.IsZero() {
		c.SealKey.Validate(func(path, problem string) { report(strings.TrimSuffix("seal_key."+path, "."), problem) })
	}
	for i, ref := range c.FormerSealKeys {
		ref.Validate(func(path, problem string) {
			report(strings.TrimSuffix(fmt.Sprintf("former_seal_keys[%d].%s", i, path), "."), problem)
		})
	}
	if len(c.FormerSealKeys) > 16 {
		report("former_seal_keys", "want at most 16 keys")
	}
}

// leastSealKey is how short a key may be, in bytes.
const leastSealKey = 16

// A Seal hides secrets that are stored. It is safe for concurrent use.
type Seal struct {
	store *Store
	own   *vaultKey // the configured one; nil: the cluster's
	keys  map[string]*vaultKey

	mu   sync.Mutex // guards what follows
	made *vaultKey  // the cluster's, once it is known
}

// A vaultKey is a key by its id.
type vaultKey struct {
	id   string
	aead cipher.AEAD
}

// errSealed says that a secret was sealed with a key that this process does not have.
var errSealed = errors.New("the secret is sealed with a key that is not configured here")

// NewSeal returns the seal of a configuration. The error is that of a key that cannot
// be looked up, or is too short.
func NewSeal(ctx context.Context, cfg Config, store *Store, lookup secret.Lookup) (*Seal, error) {
	s := &Seal{store: store, keys: map[string]*vaultKey{}}
	for i, ref := range append([]secret.Ref{cfg.SealKey}, cfg.FormerSealKeys...) {
		if ref.IsZero() {
			continue
		}
		text, err := lookup(ctx, ref)
		if err != nil {
			return nil, fmt.Errorf("catalog: seal key: %w", err)
		}
		if len(text) < leastSealKey {
			return nil, fmt.Errorf("catalog: the seal key of %s is shorter than %d bytes", ref, leastSealKey)
		}
		k, err := newVaultKey([]byte(text))
		if err != nil {
			return nil, err
		}
		s.keys[k.id] = k
		if i == 0 {
			s.own = k
		}
	}
	return s, nil
}

// newVaultKey derives a key for AES-256 and the name it is known by.
func newVaultKey(text []byte) (*vaultKey, error) {
	key := sha256.Sum256(append([]byte("klamm seal key\x00"), text...))
	id := sha256.Sum256(append([]byte("klamm seal id\x00"), key[:]...))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &vaultKey{hex.EncodeToString(id[:4]), aead}, nil
}

// Close seals a secret for one place, such as the name of a connection: elsewhere it
// cannot be opened.
func (s *Seal) Close(ctx context.Context, place, text string) (string, error) {
	k, err := s.key(ctx)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, k.aead.NonceSize())
	_, _ = rand.Read(nonce)
	return k.id + "." + base64.RawStdEncoding.EncodeToString(k.aead.Seal(nonce, nonce, []byte(text), []byte(place))), nil
}

// Open returns what was sealed for a place. It is an error if this process does not know
// the key.
func (s *Seal) Open(ctx context.Context, place, sealed string) (string, error) {
	id, text, ok := strings.Cut(sealed, ".")
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if !ok || err != nil {
		return "", errors.New("it is no sealed secret")
	}
	k := s.keys[id]
	if k == nil {
		if k, err = s.clusterKey(ctx, false); err != nil {
			return "", err
		}
		if k.id != id {
			return "", errSealed
		}
	}
	if len(raw) < k.aead.NonceSize() {
		return "", errors.New("it is no sealed secret")
	}
	plain, err := k.aead.Open(nil, raw[:k.aead.NonceSize()], raw[k.aead.NonceSize():], []byte(place))
	if err != nil {
		return "", errors.New("the sealed secret was changed, or belongs elsewhere")
	}
	return string(plain), nil
}

// key is what new secrets are sealed with.
func (s *Seal) key(ctx context.Context) (*vaultKey, error) {
	if s.own != nil {
		return s.own, nil
	}
	return s.clusterKey(ctx, true)
}

// clusterKey returns the key that lies in the catalog. The first who needs it makes
// it.
func (s *Seal) clusterKey(ctx context.Context, create bool) (*vaultKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made != nil {
		return s.made, nil
	}
	if err := s.store.await(ctx); err != nil {
		return nil, err
	}
	e, ok := s.store.table.Get(sealKey)
	if !ok && !create {
		return nil, errSealed
	}
	if !ok {
		value, err := json.Marshal(map[string]any{"format": Format, "key": rand.Text() + rand.Text()})
		if err != nil {
			return nil, err
		}
		if _, err := s.store.table.Put(ctx, sealKey, value, table.Absent); err != nil && !errors.Is(err, table.ErrConflict) {
			return nil, unavailable(err)
		}
		if e, ok = s.store.table.Get(sealKey); !ok {
			return nil, fmt.Errorf("%w: the key of the cluster is gone", ErrUnavailable)
		}
		s.store.cfg.Log.Warn("no catalog.seal_key is configured: secrets of connections are sealed with a key that lies in Kafka beside them", "topic", Topic)
	}
	var doc struct{ Key string }
	if err := json.Unmarshal(e.Value, &doc); err != nil || len(doc.Key) < leastSealKey {
		return nil, errors.New("the key of the cluster cannot be read")
	}
	k, err := newVaultKey([]byte(doc.Key))
	if err != nil {
		return nil, err
	}
	s.made = k
	return k, nil
}
