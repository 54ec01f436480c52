package auth

import (
	"bytes"
	"compress/flate"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"

	"github.com/klamm-gateway/klamm/gate"
)

// largestUnsealed bounds the JSON of what is sealed, in bytes.
const largestUnsealed = 64 << 10

// errSealed says that something is more than its holder could bring back.
var errSealed = &gate.Error{Kind: gate.TooLarge, Message: "this is more than a cookie or token can hold"}

// A sealer gives away what klamm wants to know again, as text that nobody else can read or
// make: JSON, packed, under AES-256-GCM. It is safe for concurrent use.
type sealer struct {
	aead cipher.AEAD
	form *base64.Encoding // of the text
	most int              // characters of the text
}

// newSealer makes a sealer whose key follows from a secret; info says what it is for.
func newSealer(secret []byte, info string, form *base64.Encoding, most int) (sealer, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, info, 32)
	if err != nil {
		return sealer{}, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealer{}, err
	}
	aead, err := cipher.NewGCM(block)
	return sealer{aead, form, most}, err
}

// seal seals v. What is sealed for one purpose cannot be opened for another. The error is
// errSealed, or says that v cannot be JSON.
func (s sealer) seal(purpose string, v any) (string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	var packed bytes.Buffer
	w, _ := flate.NewWriter(&packed, flate.BestCompression)
	_, _ = w.Write(text)
	_ = w.Close()
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce)
	sealed := s.form.EncodeToString(s.aead.Seal(nonce, nonce, packed.Bytes(), []byte(purpose)))
	if len(sealed) > s.most || len(text) > largestUnsealed {
		return "", errSealed
	}
	return sealed, nil
}

// open reads into v what was sealed for a purpose; false: it was not, or not here. Numbers
// of any become json.Number.
func (s sealer) open(purpose, sealed string, v any) bool {
	if len(sealed) > s.most {
		return false
	}
	raw, err := s.form.DecodeString(sealed)
	n := s.aead.NonceSize()
	if err != nil || len(raw) < n {
		return false
	}
	packed, err := s.aead.Open(nil, raw[:n], raw[n:], []byte(purpose))
	if err != nil {
		return false
	}
	d := json.NewDecoder(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), largestUnsealed))
	d.UseNumber()
	return d.Decode(v) == nil
}
