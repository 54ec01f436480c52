package certificate

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func testFile(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "keys", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The keys were encrypted by OpenSSL 3, all with the same password.
func TestEncryptedKeysOfEveryScheme(t *testing.T) {
	plain, _ := pem.Decode([]byte(testFile(t, "plain.pem")))
	parsed, err := x509.ParsePKCS8PrivateKey(plain.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	want := parsed.(*ecdsa.PrivateKey)
	for _, name := range []string{
		"pbe-md5-des.pem", "pbe-sha1-des.pem", "pbe-sha1-3des.pem", "pbe-sha1-2des.pem", "pbes2-aes128.pem", "pbes2-aes192.pem", "pbes2-des3.pem",
		"pbes2-aes256-hmacwithsha1.pem", "pbes2-aes256-hmacwithsha256.pem", "pbes2-aes256-hmacwithsha512.pem", "scrypt.pem",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Identity(testFile(t, "leaf.pem"), testFile(t, name), "key pass")
			if err != nil {
				t.Fatal(err)
			}
			if !want.Equal(got.PrivateKey) {
				t.Error("that is another key")
			}
			for _, password := range []string{"", "key  pass", "wrong"} {
				if _, err := Identity(testFile(t, "leaf.pem"), testFile(t, name), password); !errors.Is(err, ErrUnusable) {
					t.Errorf("password %q: %v, want ErrUnusable", password, err)
				}
			}
		})
	}
	if _, err := Identity(testFile(t, "leaf.pem"), testFile(t, "pbe-sha1-rc2-40.pem"), "key pass"); !errors.Is(err, errKeyEncryption) {
		t.Errorf("RC2: %v, want errKeyEncryption", err)
	}
}

func TestIdentityTakesPEMAsPeoplePasteIt(t *testing.T) {
	leaf, key := testFile(t, "leaf.pem"), testFile(t, "plain.pem")
	other, _ := Roots(leaf)
	if other == nil {
		t.Fatal("no roots")
	}
	for _, test := range []struct{ name, chain, key string }{
		{"as it is", leaf, key},
		{"escaped line breaks", strings.ReplaceAll(leaf, "\n", `\n`), strings.ReplaceAll(key, "\n", `\n`)},
		{"of Windows", strings.ReplaceAll(leaf, "\n", "\r\n"), key},
		{"in one text", leaf + key, ""},
		{"the root twice", leaf + leaf, key},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Identity(test.chain, test.key, "")
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Certificate) != 1 {
				t.Errorf("%d certificates, want the leaf alone", len(got.Certificate))
			}
		})
	}
	for _, test := range []struct{ name, chain, key string }{
		{"no certificate", key, key}, {"no key", leaf, leaf}, {"nothing", "", ""}, {"damaged", strings.Replace(leaf, "M", "N", 3), key},
	} {
		if _, err := Identity(test.chain, test.key, ""); !errors.Is(err, ErrUnusable) {
			t.Errorf("%s: %v, want ErrUnusable", test.name, err)
		}
	}
}

func FuzzEncryptedKey(f *testing.F) {
	for _, name := range []string{"pbe-md5-des.pem", "pbe-sha1-3des.pem", "pbes2-aes128.pem", "scrypt.pem"} {
		block, _ := pem.Decode([]byte(testFile(f, name)))
		f.Add(block.Bytes)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		if len(der) > 4<<10 {
			return
		}
		_, _ = parseEncrypted(der, "password")
	})
}
