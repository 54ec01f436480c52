package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of Standard Webhooks.
const (
	signedID   = "Webhook-Id"
	signedTime = "Webhook-Timestamp"
	signedWith = "Webhook-Signature"
)

var signature = map[string]bool{signedID: true, signedTime: true, signedWith: true}

// signingKey decodes a secret of Standard Webhooks. Its errors do not show it.
func signingKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(strings.TrimSpace(text), "whsec_"))
	if err != nil || len(key) < 24 || len(key) > 64 {
		return nil, errors.New("want whsec_ and 24 to 64 bytes in base64")
	}
	return key, nil
}

// sign adds the headers that prove that a request is klamm's and new: for each
// key an HMAC-SHA256 of id, time and body.
func sign(h http.Header, keys [][]byte, id string, now time.Time, body []byte) {
	seconds := strconv.FormatInt(now.Unix(), 10)
	var all []byte
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + seconds + "."))
		mac.Write(body)
		if len(all) > 0 {
			all = append(all, ' ')
		}
		all = base64.StdEncoding.AppendEncode(append(all, "v1,"...), mac.Sum(nil))
	}
	h[signedID] = []string{id}
	h[signedTime] = []string{seconds}
	h[signedWith] = []string{string(all)}
}
