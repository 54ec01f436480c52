package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// authNames returns the ways in that the front door can be measured with.
func authNames() []string { return []string{"apikey", "jwt", "sigv4"} }

// manyPrincipals is how many callers and policies the last side of auth has.
const manyPrincipals = 10_000

// auth measures what it costs to know who is calling and what they may do: one
// record a request, without it, with one caller, and with thousands of callers and
// policies.
func (c *conductor) auth(ctx context.Context) ([]Case, error) {
	sides, stop, err := c.openSides(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	for _, principals := range []int{1, manyPrincipals} {
		load := authLoad{Scheme: c.Auth, Principals: principals}
		file, err := c.authFile(load)
		if err != nil {
			return nil, err
		}
		klamm, addr, err := c.startKlamm(ctx, file)
		if err != nil {
			return nil, err
		}
		defer klamm.kill()
		name := "klamm " + c.Auth
		if principals > 1 {
			name += ", " + thousands(float64(principals)) + " callers and policies"
		}
		sides = append(sides, contender{name, false, c.requestsOf(klamm, addr, mediaPlain, 1, &load)})
	}
	result, err := c.rounds(ctx, Case{Door: "front", Name: "auth", Title: fmt.Sprintf("one record a request by callers with %s, %d connections", c.Auth, c.Connections)}, sides, c.turn)
	return []Case{result}, err
}

// authFile writes a configuration that knows the callers of a load. All of them are in
// one group, which may produce; each has a policy of their own besides.
func (c *conductor) authFile(load authLoad) (string, error) {
	auth, err := load.section(c.crew.dir)
	if err != nil {
		return "", err
	}
	type m = map[string]any
	document := func(statements ...m) m { return m{"Version": "2012-10-17", "Statement": statements} }
	policies := []m{{"name": "bench", "kind": "identity", "attach": []string{"group:bench"}, "document": document(
		m{"Effect": "Allow", "Action": []string{"execute-api:Invoke", "kafka-cluster:Connect"}, "Resource": "*"},
		m{"Effect": "Allow", "Action": []string{"kafka-cluster:WriteData", "kafka-cluster:DescribeTopic"}, "Resource": "topic:" + topicPrefix + "*"},
	)}}
	for i := range load.Principals {
		policies = append(policies, m{"name": fmt.Sprintf("own-%d", i), "kind": "identity", "attach": []string{"User:" + load.caller(i)}, "document": document(
			m{"Effect": "Allow", "Action": "kafka-cluster:ReadData", "Resource": fmt.Sprintf("topic:own-%d", i)})})
	}
	text, err := json.Marshal(m{"auth": auth, "policies": policies, "aws": m{"account": "000000000000", "region": authRegion}})
	if err != nil {
		return "", err
	}
	file := filepath.Join(c.crew.dir, fmt.Sprintf("auth-%d.yaml", load.Principals))
	return file, os.WriteFile(file, text, 0o600)
}

const (
	authIssuer = "https://bench.invalid/"
	authRegion = "us-east-1"
)

// authLoad is how the requests of a load show who is calling. All that is secret is
// made of the number of the caller: it is nobody's.
type authLoad struct {
	Scheme     string `json:"scheme"`
	Principals int    `json:"principals"`
}

func (a authLoad) caller(i int) string { return fmt.Sprintf("caller-%d", i) }

func (a authLoad) secret(i int) string { return fmt.Sprintf("bench-%032d", i) }

func (a authLoad) accessKey(i int) string { return fmt.Sprintf("AKIABENCH%011d", i) }

// signer is the key of the issuer of tokens.
func (a authLoad) signer() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("klamm bench"))
	return ed25519.NewKeyFromSeed(seed[:])
}

// section is the auth section of klamm's configuration.
func (a authLoad) section(dir string) (map[string]any, error) {
	type m = map[string]any
	groups := []string{"bench"}
	switch a.Scheme {
	case "apikey":
		keys := make([]m, a.Principals)
		for i := range keys {
			keys[i] = m{"name": a.caller(i), "key": m{"value": a.secret(i)}, "groups": groups}
		}
		return m{"apikeys": m{"keys": keys}}, nil
	case "sigv4":
		keys := make([]m, a.Principals)
		for i := range keys {
			keys[i] = m{"access_key_id": a.accessKey(i), "secret": m{"value": a.secret(i)}, "user": a.caller(i), "groups": groups}
		}
		return m{"iam": m{"keys": keys}}, nil
	}
	public := a.signer().Public().(ed25519.PublicKey)
	set, err := json.Marshal(m{"keys": []m{{"kty": "OKP", "crv": "Ed25519", "kid": "bench", "use": "sig", "x": base64.RawURLEncoding.EncodeToString(public)}}})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "jwks.json")
	return m{"jwt": []m{{"issuer": authIssuer, "audiences": []string{"klamm"}, "jwks_file": file, "algorithms": []string{"EdDSA"}}}}, os.WriteFile(file, set, 0o600)
}

// header is the head of a request that names a caller, one or more whole lines.
func (a authLoad) header(i int, host, path, media string, body []byte, now time.Time) string {
	switch a.Scheme {
	case "apikey":
		return "X-Api-Key: " + a.secret(i) + "\r\n"
	case "sigv4":
		return a.signature(i, host, path, media, body, now)
	}
	issued := now.Truncate(time.Hour) // a caller has the same token in each round
	claims := fmt.Sprintf(`{"iss":%q,"aud":"klamm","sub":%q,"groups":["bench"],"iat":%d,"exp":%d}`, authIssuer, a.caller(i), issued.Unix(), issued.Add(12*time.Hour).Unix())
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","typ":"at+jwt","kid":"bench"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	return "Authorization: Bearer " + text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(a.signer(), []byte(text))) + "\r\n"
}

// signature signs a POST as requests to AWS are (gateway-policies.md 1.3.3).
func (a authLoad) signature(i int, host, path, media string, body []byte, now time.Time) string {
	stamp := now.UTC().Format("20060102T150405Z")
	digest := sha256.Sum256(body)
	hash, signed := hex.EncodeToString(digest[:]), "content-type;host;x-amz-content-sha256;x-amz-date"
	canonical := strings.Join([]string{"POST", path, "", "content-type:" + media, "host:" + host, "x-amz-content-sha256:" + hash, "x-amz-date:" + stamp, "", signed, hash}, "\n")
	asked := sha256.Sum256([]byte(canonical))
	scope := []string{stamp[:8], authRegion, "execute-api", "aws4_request"}
	key := []byte("AWS4" + a.secret(i))
	for _, part := range scope {
		key = mac(key, part)
	}
	text := strings.Join([]string{"AWS4-HMAC-SHA256", stamp, strings.Join(scope, "/"), hex.EncodeToString(asked[:])}, "\n")
	return "X-Amz-Date: " + stamp + "\r\nX-Amz-Content-Sha256: " + hash + "\r\nAuthorization: AWS4-HMAC-SHA256 Credential=" + a.accessKey(i) + "/" + strings.Join(scope, "/") +
		", SignedHeaders=" + signed + ", Signature=" + hex.EncodeToString(mac(key, text)) + "\r\n"
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(text))
	return h.Sum(nil)
}

// validAuth says what is wrong with the way in that is to be measured.
func (o Options) validAuth() error {
	if o.Auth != "" && !slices.Contains(authNames(), o.Auth) {
		return fmt.Errorf("%w: --auth %s: want one of %s", ErrOptions, o.Auth, strings.Join(authNames(), ","))
	}
	return nil
}
