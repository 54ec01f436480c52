package objectstore

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Credential is the key that requests to a Server are signed with.
type Credential struct{ AccessKey, SecretKey string }

const (
	algorithm = "AWS4-HMAC-SHA256"
	dateForm  = "20060102T150405Z"
	// maxSkew is how far the time of a signature may be from now.
	maxSkew = 15 * time.Minute
	// maxPresigned is how long a signed URL can be used.
	maxPresigned = 7 * 24 * time.Hour
	unsigned     = "UNSIGNED-PAYLOAD"
)

// A signature is what a request was signed with.
type signature struct {
	date, scope string
	headers     []string
	value       string
	key         []byte // derived for the day and the region
	payload     string // what the signature says of the body
}

// verify checks the signature of a request (SigV4, in the header or in the URL).
func (c Credential) verify(r *http.Request, now time.Time) (*signature, *fault) {
	s, accessKey, when, f := readSignature(r, now)
	if f != nil {
		return nil, f
	}
	if subtle.ConstantTimeCompare([]byte(accessKey), []byte(c.AccessKey)) != 1 {
		return nil, &fault{"InvalidAccessKeyId", http.StatusForbidden, "The AWS Access Key Id you provided does not exist in our records."}
	}
	scope := strings.Split(s.scope, "/")
	if len(scope) != 4 || scope[0] != when.Format("20060102") || scope[2] != "s3" || scope[3] != "aws4_request" {
		return nil, &fault{"AuthorizationHeaderMalformed", http.StatusBadRequest, "The credential is malformed; want DATE/REGION/s3/aws4_request."}
	}
	if !slices.Contains(s.headers, "host") {
		return nil, denied("The host header must be signed.")
	}
	for name := range r.Header {
		if name := strings.ToLower(name); strings.HasPrefix(name, "x-amz-") && !slices.Contains(s.headers, name) {
			return nil, denied("There were headers present in the request which were not signed")
		}
	}
	s.key = []byte("AWS4" + c.SecretKey)
	for _, part := range scope {
		s.key = sign(s.key, part)
	}
	text := algorithm + "\n" + s.date + "\n" + s.scope + "\n" + digest([]byte(s.canonical(r)))
	want := hex.EncodeToString(sign(s.key, text))
	if subtle.ConstantTimeCompare([]byte(want), []byte(s.value)) != 1 {
		return nil, &fault{"SignatureDoesNotMatch", http.StatusForbidden, "The request signature we calculated does not match the signature you provided. Check your key and signing method."}
	}
	return s, nil
}

// readSignature takes a signature out of a request, which it need not belong to.
func readSignature(r *http.Request, now time.Time) (s *signature, accessKey string, when time.Time, f *fault) {
	malformed := &fault{"AuthorizationHeaderMalformed", http.StatusBadRequest, "The authorization header is malformed."}
	s = &signature{}
	var credential, signed string
	query := r.URL.Query()
	presigned := query.Has("X-Amz-Algorithm")
	switch header := r.Header.Get("Authorization"); {
	case presigned:
		if query.Get("X-Amz-Algorithm") != algorithm {
			return nil, "", when, malformed
		}
		credential, signed, s.value, s.date = query.Get("X-Amz-Credential"), query.Get("X-Amz-SignedHeaders"), query.Get("X-Amz-Signature"), query.Get("X-Amz-Date")
		s.payload = unsigned
	case header == "":
		return nil, "", when, denied("Access Denied")
	default:
		rest, ok := strings.CutPrefix(header, algorithm+" ")
		if !ok {
			return nil, "", when, &fault{"InvalidRequest", http.StatusBadRequest, "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."}
		}
		for field := range strings.SplitSeq(rest, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
			switch name {
			case "Credential":
				credential = value
			case "SignedHeaders":
				signed = value
			case "Signature":
				s.value = value
			}
		}
		s.date = r.Header.Get("X-Amz-Date")
		if s.payload = r.Header.Get("X-Amz-Content-Sha256"); s.payload == "" {
			return nil, "", when, &fault{"InvalidRequest", http.StatusBadRequest, "Missing required header for this request: x-amz-content-sha256"}
		}
	}
	accessKey, s.scope, _ = strings.Cut(credential, "/")
	s.headers = strings.Split(signed, ";")
	when, err := time.Parse(dateForm, s.date)
	if err != nil || accessKey == "" || signed == "" || s.value == "" {
		return nil, "", when, malformed
	}
	if presigned {
		seconds, err := strconv.Atoi(query.Get("X-Amz-Expires"))
		life := time.Duration(seconds) * time.Second
		switch {
		case err != nil || seconds < 1 || life > maxPresigned:
			return nil, "", when, &fault{"AuthorizationQueryParametersError", http.StatusBadRequest, "X-Amz-Expires must be 1 to 604800 seconds"}
		case now.After(when.Add(life)):
			return nil, "", when, denied("Request has expired")
		case when.Sub(now) > maxSkew:
			return nil, "", when, denied("Request is not yet valid")
		}
	} else if skew := now.Sub(when); skew > maxSkew || skew < -maxSkew {
		return nil, "", when, &fault{"RequestTimeTooSkewed", http.StatusForbidden, "The difference between the request time and the current time is too large."}
	}
	return s, accessKey, when, nil
}

// canonical returns a request in the form that is signed.
func (s *signature) canonical(r *http.Request) string {
	var b strings.Builder
	b.WriteString(r.Method)
	b.WriteByte('\n')
	b.WriteString(escape(r.URL.Path, true))
	b.WriteByte('\n')
	var pairs []string
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if pair == "" || name == "X-Amz-Signature" {
			continue
		}
		pairs = append(pairs, escape(unescape(name), false)+"="+escape(unescape(value), false))
	}
	slices.Sort(pairs)
	b.WriteString(strings.Join(pairs, "&"))
	b.WriteByte('\n')
	for _, name := range s.headers {
		var values []string
		switch name {
		case "host":
			values = []string{r.Host}
		case "content-length":
			values = []string{strconv.FormatInt(r.ContentLength, 10)}
		case "transfer-encoding":
			values = r.TransferEncoding
		default:
			values = slices.Clone(r.Header.Values(name))
		}
		for i, v := range values {
			values[i] = strings.Join(strings.Fields(v), " ")
		}
		b.WriteString(name + ":" + strings.Join(values, ",") + "\n")
	}
	b.WriteString("\n" + strings.Join(s.headers, ";") + "\n" + s.payload)
	return b.String()
}

func unescape(text string) string {
	plain, err := url.QueryUnescape(text)
	if err != nil {
		return text
	}
	return plain
}

// escape encodes text as AWS does; slashes of a path stay.
func escape(text string, path bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~', c == '/' && path:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

func sign(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
