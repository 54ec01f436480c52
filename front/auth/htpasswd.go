package auth

import (
	"bufio"
	"bytes"
	"crypto/md5"  //nolint:gosec // hashes of old files, which must be allowed
	"crypto/sha1" //nolint:gosec // likewise
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

const (
	// mostUsers bounds the users of a file.
	mostUsers = 100_000
	// largestArgon bounds the memory of a hash, in KiB, and slowestArgon its
	// passes.
	largestArgon = 256 << 10
	slowestArgon = 20
	// slowestBcrypt bounds the cost: one check takes seconds beyond it.
	slowestBcrypt = 15
)

// A user is a line of a file of users.
type user struct {
	hash   string
	groups []string
}

// parseUsers reads lines of NAME:HASH or NAME: HASH,ROLE. An error names the line
// and the user, never the hash.
func parseUsers(text []byte, legacy bool) (map[string]user, error) {
	users := map[string]user{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 64<<10)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(line, ":")
		if !ok || !validName(name) {
			return nil, fmt.Errorf("line %d: want NAME:HASH", n)
		}
		u := user{}
		u.hash, u.groups = splitRoles(strings.TrimSpace(rest))
		if err := checkHash(u.hash, legacy); err != nil {
			return nil, fmt.Errorf("line %d: user %q: %w", n, name, err)
		}
		if _, twice := users[name]; twice {
			return nil, fmt.Errorf("line %d: user %q is there twice", n, name)
		}
		users[name] = u
		if len(users) > mostUsers {
			return nil, fmt.Errorf("more than %d users", mostUsers)
		}
	}
	return users, lines.Err()
}

// splitRoles takes the roles off a hash. The parameters of argon2id have commas of
// their own.
func splitRoles(text string) (hash string, roles []string) {
	end := 0
	if i := strings.LastIndexByte(text, '$'); i > 0 {
		end = i
	}
	hash, list, ok := strings.Cut(text[end:], ",")
	if !ok {
		return text, nil
	}
	for role := range strings.SplitSeq(list, ",") {
		if role = strings.TrimSpace(role); role != "" {
			roles = append(roles, role)
		}
	}
	return text[:end] + hash, roles
}

var errWeakHash = errors.New("its password hash is quickly guessed; make another with htpasswd -B, or allow it with auth.basic.allow_legacy")

// checkHash says whether passwords can be checked with a hash, and may be.
func checkHash(hash string, legacy bool) error {
	switch {
	case isBcrypt(hash):
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil {
			return errors.New("its bcrypt hash is malformed")
		}
		if cost > slowestBcrypt {
			return fmt.Errorf("its bcrypt cost is above %d", slowestBcrypt)
		}
		return nil
	case strings.HasPrefix(hash, "$argon2id$"):
		_, err := parseArgon(hash)
		return err
	case isMD5(hash), strings.HasPrefix(hash, "{SHA}"):
		if !legacy {
			return errWeakHash
		}
		return nil
	}
	return errors.New("its password is no hash of bcrypt or argon2id; make one with htpasswd -B")
}

func isBcrypt(hash string) bool {
	return strings.HasPrefix(hash, "$2y$") || strings.HasPrefix(hash, "$2a$") || strings.HasPrefix(hash, "$2b$")
}

func isMD5(hash string) bool {
	return strings.HasPrefix(hash, "$apr1$") || strings.HasPrefix(hash, "$1$") || strings.HasPrefix(hash, "MD5:")
}

// matches says whether a password is the one of a checked hash.
func matches(hash, password string) bool {
	switch {
	case isBcrypt(hash):
		if len(password) > 72 { // bcrypt would look at its beginning only
			password = password[:72]
		}
		return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
	case strings.HasPrefix(hash, "$argon2id$"):
		a, err := parseArgon(hash)
		return err == nil && subtle.ConstantTimeCompare(a.sum, argon2.IDKey([]byte(password), a.salt, a.passes, a.memory, a.threads, uint32(len(a.sum)))) == 1
	case strings.HasPrefix(hash, "{SHA}"):
		sum := sha1.Sum([]byte(password)) //nolint:gosec // allowed explicitly
		return same(hash[len("{SHA}"):], base64.StdEncoding.EncodeToString(sum[:]))
	case strings.HasPrefix(hash, "MD5:"):
		sum := md5.Sum([]byte(password)) //nolint:gosec // allowed explicitly
		return same(strings.ToLower(hash[len("MD5:"):]), fmt.Sprintf("%x", sum))
	case isMD5(hash):
		parts := strings.SplitN(hash[1:], "$", 3)
		return len(parts) == 3 && same(parts[2], md5Crypt(password, parts[1], "$"+parts[0]+"$"))
	}
	return false
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// An argon is a hash in the form $argon2id$v=19$m=65536,t=3,p=4$SALT$SUM.
type argon struct {
	memory, passes uint32
	threads        uint8
	salt, sum      []byte
}

func parseArgon(hash string) (a argon, err error) {
	bad := errors.New("its argon2id hash is malformed, or asks for too much")
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[2] != "v=19" {
		return a, bad
	}
	var threads uint32
	for item := range strings.SplitSeq(parts[3], ",") {
		name, text, _ := strings.Cut(item, "=")
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return a, bad
		}
		switch name {
		case "m":
			a.memory = uint32(n)
		case "t":
			a.passes = uint32(n)
		case "p":
			threads = uint32(n)
		default:
			return a, bad
		}
	}
	if a.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return a, bad
	}
	if a.sum, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil {
		return a, bad
	}
	if a.memory < 8 || a.memory > largestArgon || a.passes < 1 || a.passes > slowestArgon || threads < 1 || threads > 64 || len(a.salt) < 8 || len(a.sum) < 16 || len(a.sum) > 128 {
		return a, bad
	}
	a.threads = uint8(threads)
	return a, nil
}

// md5Crypt is the old hash of htpasswd (magic $apr1$) and of Unix ($1$): a thousand
// rounds of MD5, and an alphabet of its own.
func md5Crypt(password, salt, magic string) string {
	if len(salt) > 8 {
		salt = salt[:8]
	}
	final := md5.Sum([]byte(password + salt + password)) //nolint:gosec // allowed explicitly
	b := []byte(password + magic + salt)
	for n := len(password); n > 0; n -= 16 {
		b = append(b, final[:min(n, 16)]...)
	}
	for n := len(password); n > 0; n >>= 1 {
		if n&1 == 1 {
			b = append(b, 0)
		} else {
			b = append(b, password[0])
		}
	}
	final = md5.Sum(b) //nolint:gosec // allowed explicitly
	for i := range 1000 {
		b = b[:0]
		if i&1 == 1 {
			b = append(b, password...)
		} else {
			b = append(b, final[:]...)
		}
		if i%3 != 0 {
			b = append(b, salt...)
		}
		if i%7 != 0 {
			b = append(b, password...)
		}
		if i&1 == 1 {
			b = append(b, final[:]...)
		} else {
			b = append(b, password...)
		}
		final = md5.Sum(b) //nolint:gosec // allowed explicitly
	}
	const alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	out := make([]byte, 0, 22)
	put := func(v uint, digits int) {
		for range digits {
			out = append(out, alphabet[v&63])
			v >>= 6
		}
	}
	for _, g := range [][3]int{{0, 6, 12}, {1, 7, 13}, {2, 8, 14}, {3, 9, 15}, {4, 10, 5}} {
		put(uint(final[g[0]])<<16|uint(final[g[1]])<<8|uint(final[g[2]]), 4)
	}
	put(uint(final[11]), 2)
	return string(out)
}
