package auth

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A signature is what a request says of its own.
type signature struct {
	credential string
	signed     []string
	value      string
	stamp      string
	token      string
	hasToken   bool
	presigned  bool
	expires    int // of a presigned request, in seconds

	plane string // the service of the control plane that is called; empty: none is
	at    time.Time
	id    string
	scope scope
}

// mac is the signature's value; nil if it is none. What is none must not pass for the
// digits that it begins with: it would count as another one than was seen before.
func (sig *signature) mac() []byte {
	b, err := hex.DecodeString(sig.value)
	if err != nil {
		return nil
	}
	return b
}

// queryValue returns the first value of a parameter. A plus is a plus.
func queryValue(query, name string) (string, bool) {
	for item := range strings.SplitSeq(query, "&") {
		n, v, _ := strings.Cut(item, "=")
		if decode(n) == name {
			return decode(v), true
		}
	}
	return "", false
}

// parseSignature reads one of the two forms and checks that it is whole.
func parseSignature(r *http.Request) (*signature, error) {
	if !presigned(r) {
		return parseHeader(r)
	}
	if r.Header["Authorization"] != nil {
		return nil, refuseIAM(invalidSignature, "The request is signed twice: in the Authorization header and in the query string.")
	}
	return parseQuery(r)
}

func parseHeader(r *http.Request) (*signature, error) {
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return nil, refuseIAM(missingToken, "Missing Authentication Token")
	}
	text := strings.TrimSpace(values[0])
	word, list, _ := strings.Cut(text, " ")
	if word == "" || list == "" && strings.Contains(word, "=") {
		word, list = "", text
	}
	var credential, value, signed string
	whole := list != ""
	for item := range strings.SplitSeq(list, ",") {
		name, text, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok {
			whole = false
			break
		}
		switch text = strings.TrimSpace(text); strings.TrimSpace(name) {
		case "Credential":
			credential = text
		case "Signature":
			value = text
		case "SignedHeaders":
			signed = text
		}
	}
	switch {
	case !whole && word != algorithm:
		return nil, refuseIAM(incompleteSignature, unparsable(values[0]))
	case word != algorithm:
		return nil, refuseIAM(incompleteSignature, "Unsupported AWS 'algorithm': '"+clip(word)+"'")
	case !whole && list != "":
		return nil, refuseIAM(incompleteSignature, unparsable(values[0]))
	}
	sig := &signature{credential: credential, value: value, stamp: dateOf(r)}
	sig.token, sig.hasToken = r.Header.Get("X-Amz-Security-Token"), r.Header["X-Amz-Security-Token"] != nil
	var missing []string
	for _, one := range [...]struct{ name, value string }{{"Credential", credential}, {"Signature", value}, {"SignedHeaders", signed}} {
		if one.value == "" {
			missing = append(missing, "Authorization header requires '"+one.name+"' parameter.")
		}
	}
	if sig.stamp == "" {
		missing = append(missing, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	if missing != nil {
		return nil, refuseIAM(incompleteSignature, strings.Join(missing, " ")+" Authorization="+algorithm)
	}
	sig.signed = strings.Split(signed, ";")
	return sig, sig.checkForm()
}

// unparsable is the answer to what is no list of key=value pairs. It shows what
// cannot be a secret.
func unparsable(value string) string {
	digest := sha256.Sum256([]byte(value))
	return "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): '" +
		base64.StdEncoding.EncodeToString(digest[:]) + "'."
}

func dateOf(r *http.Request) string {
	if v := r.Header["X-Amz-Date"]; len(v) > 0 {
		return v[0]
	}
	return r.Header.Get("Date")
}

func parseQuery(r *http.Request) (*signature, error) {
	_, query := wireTarget(r.RequestURI)
	if a, _ := queryValue(query, "X-Amz-Algorithm"); a != algorithm {
		return nil, refuseIAM(incompleteSignature, "Unsupported AWS 'algorithm': '"+clip(a)+"'")
	}
	sig := &signature{presigned: true, expires: presignedFor}
	var signed string
	var missing []string
	for _, one := range []struct {
		name string
		into *string
	}{{"X-Amz-Credential", &sig.credential}, {"X-Amz-Signature", &sig.value}, {"X-Amz-SignedHeaders", &signed}, {"X-Amz-Date", &sig.stamp}} {
		if *one.into, _ = queryValue(query, one.name); *one.into == "" {
			missing = append(missing, "AWS query-string parameters must include '"+one.name+"'.")
		}
	}
	if missing != nil {
		return nil, refuseIAM(incompleteSignature, strings.Join(missing, " ")+" Re-examine the query-string parameters.")
	}
	sig.signed = strings.Split(signed, ";")
	sig.token, sig.hasToken = queryValue(query, "X-Amz-Security-Token")
	if text, ok := queryValue(query, "X-Amz-Expires"); ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > presignedMost {
			return nil, refuseIAM(invalidSignature, fmt.Sprintf("X-Amz-Expires must be a number of seconds from 1 to %d", presignedMost))
		}
		sig.expires = n
	}
	return sig, sig.checkForm()
}

// checkForm are the checks that need nothing but the signature itself.
func (sig *signature) checkForm() error {
	if !slices.Contains(sig.signed, "host") && !slices.Contains(sig.signed, ":authority") {
		return refuseIAM(invalidSignature, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	at, err := stampTime(sig.stamp)
	if err != nil || len(sig.stamp) != len("20060102T150405Z") { // time.Parse takes fractions of a second
		return refuseIAM(incompleteSignature, "Date must be in ISO-8601 'basic format'. Got '"+clip(sig.stamp)+"'. See http://en.wikipedia.org/wiki/ISO_8601")
	}
	sig.at = at
	return nil
}

// stampTime reads the time of a signature; what is not like most of them is left to
// time.Parse.
func stampTime(stamp string) (time.Time, error) {
	if len(stamp) != len(stampForm) || stamp[8] != 'T' || stamp[15] != 'Z' {
		return time.Parse(stampForm, stamp)
	}
	var n [7]int // pairs of digits
	for i := range n {
		at := 2 * i
		if i > 3 {
			at++ // behind the T
		}
		high, low := stamp[at]-'0', stamp[at+1]-'0'
		if high > 9 || low > 9 {
			return time.Parse(stampForm, stamp)
		}
		n[i] = int(high)*10 + int(low)
	}
	month, day, hour, minute, second := n[2], n[3], n[4], n[5], n[6]
	if month < 1 || month > 12 || day < 1 || day > 28 || hour > 23 || minute > 59 || second > 59 {
		return time.Parse(stampForm, stamp)
	}
	return time.Date(n[0]*100+n[1], time.Month(month), day, hour, minute, second, 0, time.UTC), nil
}
