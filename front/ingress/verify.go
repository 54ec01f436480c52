package ingress

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// tolerance is how far the time of a delivery may be off.
	tolerance = 5 * time.Minute
	// maxSigned bounds the header with the signatures, in bytes.
	maxSigned = 8 << 10
	// maxEd bounds the signatures that are checked with Ed25519, which takes
	// tens of microseconds for each.
	maxEd = 16
)

// A key verifies signatures: with HMAC-SHA256 or, if it has a public key, with
// Ed25519.
type key struct {
	mac    []byte
	public ed25519.PublicKey
}

// parseKey makes a key of a secret. Its errors do not show it.
func parseKey(scheme, text string) (key, error) {
	if scheme != "standard" && scheme != "svix" {
		if text == "" {
			return key{}, errors.New("the secret is empty")
		}
		return key{mac: []byte(text)}, nil
	}
	if private, ok := strings.CutPrefix(text, "whsk_"); ok {
		b, err := base64.StdEncoding.DecodeString(private)
		switch {
		case err == nil && len(b) == ed25519.SeedSize:
			return key{public: ed25519.NewKeyFromSeed(b).Public().(ed25519.PublicKey)}, nil
		case err == nil && len(b) == ed25519.PrivateKeySize:
			return key{public: ed25519.NewKeyFromSeed(b[:ed25519.SeedSize]).Public().(ed25519.PublicKey)}, nil
		}
		return key{}, errors.New("want whsk_ and a private key of Ed25519 in base64")
	}
	if public, ok := strings.CutPrefix(text, "whpk_"); ok {
		b, err := base64.StdEncoding.DecodeString(public)
		if err != nil || len(b) != ed25519.PublicKeySize {
			return key{}, errors.New("want whpk_ and a public key of Ed25519 in base64")
		}
		return key{public: b}, nil
	}
	b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsec_"))
	if err != nil || len(b) < 24 || len(b) > 64 {
		return key{}, errors.New("want whsec_ and 24 to 64 bytes in base64")
	}
	return key{mac: b}, nil
}

// A delivery is what the headers of a request say of it.
type delivery struct {
	id     string // empty: none
	at     string // the time of signing in seconds; empty: none
	signed [][]byte
	// macs and eds are the signatures that it came with, of the two kinds.
	macs, eds [][]byte
	within    time.Duration // how far the time may be off
}

// fresh says whether the time of a delivery is near enough to now.
func (d *delivery) fresh(now time.Time) bool {
	if d.within == 0 {
		return true
	}
	if len(d.at) == 0 || len(d.at) > 12 || strings.Trim(d.at, "0123456789") != "" {
		return false
	}
	seconds, err := strconv.ParseInt(d.at, 10, 64)
	return err == nil && now.Sub(time.Unix(seconds, 0)).Abs() <= d.within
}

// verifies says whether one of the signatures is that of one of the keys. Every
// signature is compared with every key, so that the time it takes says nothing.
// With a public key among the keys, symmetric ones do not count.
func (d *delivery) verifies(keys []key) bool {
	asymmetric := false
	for _, k := range keys {
		asymmetric = asymmetric || k.public != nil
	}
	if asymmetric {
		return d.verifiesPublic(keys)
	}
	good := false
	for _, k := range keys {
		mac := hmac.New(sha256.New, k.mac)
		for _, part := range d.signed {
			mac.Write(part)
		}
		sum := mac.Sum(nil)
		for _, given := range d.macs {
			if hmac.Equal(given, sum) {
				good = true
			}
		}
	}
	return good
}

func (d *delivery) verifiesPublic(keys []key) bool {
	message := bytes.Join(d.signed, nil)
	good := false
	for _, k := range keys {
		if k.public == nil {
			continue
		}
		for _, given := range d.eds[:min(len(d.eds), maxEd)] {
			if ed25519.Verify(k.public, message, given) {
				good = true
			}
		}
	}
	return good
}

// digest stands for the id of a delivery that has none: the same request has the
// same one.
func (d *delivery) digest() string {
	h := sha256.New()
	for _, part := range d.signed {
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// one returns the value of a header that must stand there once and not be empty.
func one(h http.Header, name string) (string, error) {
	values := h[http.CanonicalHeaderKey(name)]
	if len(values) != 1 || values[0] == "" {
		return "", &refusal{http.StatusBadRequest, "want one " + name + " header"}
	}
	if len(values[0]) > maxSigned {
		return "", &refusal{http.StatusBadRequest, "the " + name + " header is too long"}
	}
	return values[0], nil
}

// identified is one for the id of a delivery.
func identified(h http.Header, name string) (string, error) {
	id, err := one(h, name)
	if err != nil {
		return "", err
	}
	if len(id) > 256 {
		return "", &refusal{http.StatusBadRequest, "the " + name + " header is longer than 256 characters"}
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return "", &refusal{http.StatusBadRequest, "the " + name + " header has other characters than visible ASCII"}
		}
	}
	return id, nil
}

// readStandard reads the headers of Standard Webhooks, which Svix has under other
// names.
func readStandard(h http.Header, prefix string, body []byte) (d delivery, err error) {
	if d.id, err = identified(h, prefix+"-id"); err != nil {
		return d, err
	}
	if d.at, err = one(h, prefix+"-timestamp"); err != nil {
		return d, err
	}
	given, err := one(h, prefix+"-signature")
	if err != nil {
		return d, err
	}
	d.within = tolerance
	d.signed = [][]byte{[]byte(d.id + "." + d.at + "."), body}
	for entry := range strings.SplitSeq(given, " ") {
		version, encoded, _ := strings.Cut(entry, ",")
		signature, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			continue
		}
		switch version {
		case "v1":
			d.macs = append(d.macs, signature)
		case "v1a":
			d.eds = append(d.eds, signature)
		}
	}
	return d, nil
}

// readGitHub reads GitHub's headers. It does not sign the id of the delivery.
func readGitHub(h http.Header, body []byte) (d delivery, err error) {
	given, err := one(h, "X-Hub-Signature-256")
	if err != nil {
		return d, err
	}
	if d.id, err = identified(h, "X-GitHub-Delivery"); err != nil {
		return d, err
	}
	d.signed = [][]byte{body}
	d.macs = prefixed(given, "sha256=", "hex")
	return d, nil
}

// readStripe reads Stripe's header.
func readStripe(h http.Header, body []byte) (d delivery, err error) {
	given, err := one(h, "Stripe-Signature")
	if err != nil {
		return d, err
	}
	times := 0
	for entry := range strings.SplitSeq(given, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(entry), "=")
		switch name {
		case "t":
			d.at = value
			times++
		case "v1":
			d.macs = append(d.macs, prefixed(value, "", "hex")...)
		}
	}
	if times != 1 {
		d.at = "" // which is not fresh
	}
	d.within = tolerance
	d.signed = [][]byte{[]byte(d.at + "."), body}
	d.id = member(body, "id")
	return d, nil
}

// readSlack reads Slack's headers.
func readSlack(h http.Header, body []byte) (d delivery, err error) {
	given, err := one(h, "X-Slack-Signature")
	if err != nil {
		return d, err
	}
	if d.at, err = one(h, "X-Slack-Request-Timestamp"); err != nil {
		return d, err
	}
	d.within = tolerance
	d.signed = [][]byte{[]byte("v0:" + d.at + ":"), body}
	d.macs = prefixed(given, "v0=", "hex")
	d.id = member(body, "event_id")
	return d, nil
}

// readGeneric reads the headers that a description names.
func readGeneric(h http.Header, s *Signature, body []byte) (d delivery, err error) {
	given, err := one(h, s.Header)
	if err != nil {
		return d, err
	}
	if s.ID != "" {
		if d.id, err = identified(h, s.ID); err != nil {
			return d, err
		}
	}
	if s.Timestamp != "" {
		if d.at, err = one(h, s.Timestamp); err != nil {
			return d, err
		}
		if d.within = s.Tolerance; d.within == 0 {
			d.within = tolerance
		}
	}
	text := s.Text
	if text == "" {
		text = "{body}"
	}
	before, after, _ := strings.Cut(text, "{body}")
	fill := strings.NewReplacer("{id}", d.id, "{timestamp}", d.at)
	d.signed = [][]byte{[]byte(fill.Replace(before)), body, []byte(fill.Replace(after))}
	d.macs = prefixed(given, s.Prefix, s.Encoding)
	return d, nil
}

// prefixed decodes the signature behind a prefix; there is none where that is not
// possible.
func prefixed(given, prefix, encoding string) [][]byte {
	encoded, ok := strings.CutPrefix(given, prefix)
	if !ok {
		return nil
	}
	decode := hex.DecodeString
	if encoding == "base64" {
		decode = base64.StdEncoding.DecodeString
	}
	signature, err := decode(encoded)
	if err != nil {
		return nil
	}
	return [][]byte{signature}
}
