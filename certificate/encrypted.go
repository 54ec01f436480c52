package certificate

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // old keys are encrypted with it
	"crypto/md5" //nolint:gosec // old keys are encrypted with it
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // old keys are encrypted with it
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"hash"
	"unicode/utf16"

	"golang.org/x/crypto/scrypt"
)

// Bounds of what opening a key may cost, however it was encrypted.
const (
	mostIterations = 10_000_000
	mostScrypt     = 128 << 20 // bytes of memory
	mostScryptWork = 1 << 26   // of N*r*p
	longestSalt    = 1 << 10
)

// The schemes of RFC 8018 (PBES1, PBES2), RFC 7292 and RFC 7914 that keys are
// encrypted by.
var (
	oidPBEMD5DES     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 3}
	oidPBESHA1DES    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 10}
	oidPBE3KeyDES    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 1, 3}
	oidPBE2KeyDES    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 1, 4}
	oidPBES2         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt        = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}
	oidHMACSHA1      = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 7}
	oidHMACSHA224    = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 8}
	oidHMACSHA256    = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidHMACSHA384    = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 10}
	oidHMACSHA512    = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 11}
	oidTripleDESCBC  = asn1.ObjectIdentifier{1, 2, 840, 113549, 3, 7}
	oidAES128CBC     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}
	oidAES192CBC     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 22}
	oidAES256CBC     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
	errNoPassword    = errors.New("the key is encrypted, and there is no password for it")
	errKeyDamaged    = errors.New("the encrypted key is damaged")
	errKeyTooCostly  = errors.New("the encrypted key asks for more work than is allowed")
	errKeyEncryption = errors.New("the key is encrypted in a way that is not supported; convert it with openssl pkcs8 -topk8 -v2 aes256")
)

// parseEncrypted opens an encrypted PKCS#8 key. A wrong password is errPassword, and none
// errNoPassword.
func parseEncrypted(der []byte, password string) (any, error) {
	wrong := errPassword
	if password == "" {
		wrong = errNoPassword
	}
	var outer struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) > 0 {
		return nil, errKeyDamaged
	}
	block, iv, err := keyCipher(outer.Algorithm, password)
	if err != nil {
		return nil, err
	}
	if len(iv) != block.BlockSize() || len(outer.Data) == 0 || len(outer.Data)%block.BlockSize() != 0 {
		return nil, errKeyDamaged
	}
	plain := make([]byte, len(outer.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, outer.Data)
	plain, ok := unpad(plain, block.BlockSize())
	if !ok {
		return nil, wrong
	}
	key, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil { // one of 256 wrong passwords leaves something that looks padded
		return nil, wrong
	}
	return key, nil
}

// unpad takes the padding of PKCS#7 away.
func unpad(text []byte, size int) ([]byte, bool) {
	n := int(text[len(text)-1])
	if n == 0 || n > size || n > len(text) || !bytes.Equal(text[len(text)-n:], bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, false
	}
	return text[:len(text)-n], true
}

// keyCipher makes the cipher that a key is encrypted by.
func keyCipher(by pkix.AlgorithmIdentifier, password string) (cipher.Block, []byte, error) {
	if by.Algorithm.Equal(oidPBES2) {
		return cipherPBES2(by, password)
	}
	var p struct {
		Salt       []byte
		Iterations int
	}
	if rest, err := asn1.Unmarshal(by.Parameters.FullBytes, &p); err != nil || len(rest) > 0 || p.Iterations < 1 || len(p.Salt) > longestSalt {
		return nil, nil, errKeyDamaged
	}
	if p.Iterations > mostIterations {
		return nil, nil, errKeyTooCostly
	}
	var block cipher.Block
	var iv []byte
	var err error
	switch {
	case by.Algorithm.Equal(oidPBEMD5DES):
		key := pbkdf1(md5.New, password, p.Salt, p.Iterations)
		block, err = des.NewCipher(key[:8]) //nolint:gosec // see above
		iv = key[8:16]
	case by.Algorithm.Equal(oidPBESHA1DES):
		key := pbkdf1(sha1.New, password, p.Salt, p.Iterations)
		block, err = des.NewCipher(key[:8]) //nolint:gosec // see above
		iv = key[8:16]
	case by.Algorithm.Equal(oidPBE3KeyDES):
		block, err = des.NewTripleDESCipher(pkcs12Key(password, p.Salt, p.Iterations, 1, 24)) //nolint:gosec // see above
		iv = pkcs12Key(password, p.Salt, p.Iterations, 2, 8)
	case by.Algorithm.Equal(oidPBE2KeyDES):
		key := pkcs12Key(password, p.Salt, p.Iterations, 1, 16)
		block, err = des.NewTripleDESCipher(append(key, key[:8]...)) //nolint:gosec // see above
		iv = pkcs12Key(password, p.Salt, p.Iterations, 2, 8)
	default:
		return nil, nil, errKeyEncryption
	}
	return block, iv, err
}

// cipherPBES2 is keyCipher for PBES2 (RFC 8018, 6.2).
func cipherPBES2(by pkix.AlgorithmIdentifier, password string) (cipher.Block, []byte, error) {
	var p struct{ Derivation, Encryption pkix.AlgorithmIdentifier }
	if rest, err := asn1.Unmarshal(by.Parameters.FullBytes, &p); err != nil || len(rest) > 0 {
		return nil, nil, errKeyDamaged
	}
	var size int
	makeBlock := aes.NewCipher
	switch oid := p.Encryption.Algorithm; {
	case oid.Equal(oidAES128CBC):
		size = 16
	case oid.Equal(oidAES192CBC):
		size = 24
	case oid.Equal(oidAES256CBC):
		size = 32
	case oid.Equal(oidTripleDESCBC):
		size, makeBlock = 24, des.NewTripleDESCipher
	default:
		return nil, nil, errKeyEncryption
	}
	var iv []byte
	if rest, err := asn1.Unmarshal(p.Encryption.Parameters.FullBytes, &iv); err != nil || len(rest) > 0 {
		return nil, nil, errKeyDamaged
	}
	var key []byte
	var err error
	switch {
	case p.Derivation.Algorithm.Equal(oidPBKDF2):
		key, err = keyPBKDF2(p.Derivation.Parameters.FullBytes, password, size)
	case p.Derivation.Algorithm.Equal(oidScrypt):
		key, err = keyScrypt(p.Derivation.Parameters.FullBytes, password, size)
	default:
		return nil, nil, errKeyEncryption
	}
	if err != nil {
		return nil, nil, err
	}
	block, err := makeBlock(key)
	return block, iv, err
}

func keyPBKDF2(parameters []byte, password string, size int) ([]byte, error) {
	var p struct {
		Salt       []byte
		Iterations int
		Length     int                      `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
	if rest, err := asn1.Unmarshal(parameters, &p); err != nil || len(rest) > 0 || p.Iterations < 1 || len(p.Salt) > longestSalt {
		return nil, errKeyDamaged
	}
	if p.Iterations > mostIterations {
		return nil, errKeyTooCostly
	}
	if p.Length != 0 && p.Length != size {
		return nil, errKeyDamaged
	}
	var by func() hash.Hash
	switch oid := p.PRF.Algorithm; {
	case len(oid) == 0, oid.Equal(oidHMACSHA1):
		by = sha1.New
	case oid.Equal(oidHMACSHA224):
		by = sha256.New224
	case oid.Equal(oidHMACSHA256):
		by = sha256.New
	case oid.Equal(oidHMACSHA384):
		by = sha512.New384
	case oid.Equal(oidHMACSHA512):
		by = sha512.New
	default:
		return nil, errKeyEncryption
	}
	return pbkdf2.Key(by, password, p.Salt, p.Iterations, size)
}

func keyScrypt(parameters []byte, password string, size int) ([]byte, error) {
	var p struct {
		Salt    []byte
		N, R, P int
		Length  int `asn1:"optional"`
	}
	if rest, err := asn1.Unmarshal(parameters, &p); err != nil || len(rest) > 0 || p.N < 2 || p.R < 1 || p.P < 1 || len(p.Salt) > longestSalt {
		return nil, errKeyDamaged
	}
	if p.N > mostScryptWork || p.R > mostScryptWork || p.P > mostScryptWork || p.N*p.R > mostScrypt/128 || p.N*p.R*p.P > mostScryptWork {
		return nil, errKeyTooCostly
	}
	key, err := scrypt.Key([]byte(password), p.Salt, p.N, p.R, p.P, size)
	if err != nil {
		return nil, errKeyDamaged
	}
	return key, nil
}

// pbkdf1 is the derivation of PBES1 (RFC 8018, 5.1).
func pbkdf1(by func() hash.Hash, password string, salt []byte, iterations int) []byte {
	h := by()
	_, _ = h.Write([]byte(password))
	_, _ = h.Write(salt)
	key := h.Sum(nil)
	for range iterations - 1 {
		h.Reset()
		_, _ = h.Write(key)
		key = h.Sum(key[:0])
	}
	return key
}

// pkcs12Key is the derivation of PKCS#12 with SHA-1 (RFC 7292, B.2). The id says
// what for: 1 is a key, 2 an initial vector.
func pkcs12Key(password string, salt []byte, iterations int, id byte, size int) []byte {
	const block = 64 // bytes that SHA-1 takes in at a time
	var name []byte  // UTF-16, the last character being NUL
	for _, c := range append(utf16.Encode([]rune(password)), 0) {
		name = append(name, byte(c>>8), byte(c))
	}
	input := append(stretch(salt, block), stretch(name, block)...)
	diversifier := bytes.Repeat([]byte{id}, block)
	var key []byte
	for len(key) < size {
		digest := sha1.Sum(append(bytes.Clone(diversifier), input...)) //nolint:gosec // see above
		for range iterations - 1 {
			digest = sha1.Sum(digest[:]) //nolint:gosec // see above
		}
		key = append(key, digest[:]...)
		add := stretch(digest[:], block)[:block]
		for at := 0; at < len(input); at += block {
			// Each block of the input becomes the sum of itself, the digest and one.
			carry := 1
			for i := block - 1; i >= 0; i-- {
				carry += int(input[at+i]) + int(add[i])
				input[at+i] = byte(carry)
				carry >>= 8
			}
		}
	}
	return key[:size]
}

// stretch repeats a text up to the next multiple of a size.
func stretch(text []byte, size int) []byte {
	if len(text) == 0 {
		return nil
	}
	whole := (len(text) + size - 1) / size * size
	return bytes.Repeat(text, whole/len(text)+1)[:whole]
}
