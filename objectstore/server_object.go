package objectstore

import (
	"cmp"
	"crypto/md5" //nolint:gosec // the entity tags of S3 are MD5 sums
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	userMetadata = "x-amz-meta-"
	// maxMetadata is what S3 allows for the metadata of an object, in bytes.
	maxMetadata = 2 << 10
	// timeForm is that of dates in documents.
	timeForm = "2006-01-02T15:04:05.000Z"
	// defaultType is the media type of objects that have none.
	defaultType = "binary/octet-stream"
)

// keptHeaders are those of an object beside its own metadata.
var keptHeaders = []string{"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type", "Expires"}

// headers returns what a request says of the object that it makes.
func (q *request) headers() (map[string]string, *fault) {
	all, size := map[string]string{}, 0
	for _, name := range keptHeaders {
		value := q.Header.Get(name)
		if name == "Content-Encoding" {
			value = withoutChunks(value)
		}
		if value != "" {
			all[name] = value
			size += len(name) + len(value)
		}
	}
	if size > maxMetadata {
		return nil, &fault{"MetadataTooLarge", http.StatusBadRequest, "The headers of the object are too large."}
	}
	size = 0
	for name, values := range q.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, userMetadata) {
			all[name] = strings.Join(values, ",")
			size += len(name) - len(userMetadata) + len(all[name])
		}
	}
	if size > maxMetadata {
		return nil, &fault{"MetadataTooLarge", http.StatusBadRequest, "Your metadata headers exceed the maximum allowed metadata size"}
	}
	return all, nil
}

// withoutChunks takes the encoding of the transfer out of that of the object.
func withoutChunks(encoding string) string {
	var kept []string
	for one := range strings.SplitSeq(encoding, ",") {
		if one = strings.TrimSpace(one); one != "" && !strings.EqualFold(one, "aws-chunked") {
			kept = append(kept, one)
		}
	}
	return strings.Join(kept, ",")
}

// receive writes the content of a request into a draft.
func (q *request) receive() (*draft, *body, error) {
	content, f := bodyOf(q.Request, q.signed, true)
	if f != nil {
		return nil, nil, f
	}
	w, err := q.bucket.draft()
	if err != nil {
		return nil, nil, err
	}
	if _, err := io.Copy(w, content); err != nil {
		w.drop()
		return nil, nil, err
	}
	return w, content, nil
}

func (q *request) putObject(w http.ResponseWriter) error {
	headers, f := q.headers()
	if f != nil {
		return f
	}
	d, content, err := q.receive()
	if err != nil {
		return err
	}
	m := metadata{ETag: content.etag(), Headers: headers, Sums: content.given}
	if _, err := d.commit(q.key, m, q.may("")); err != nil {
		return err
	}
	h := w.Header()
	h.Set("ETag", quote(m.ETag))
	setSums(h, m.Sums)
	w.WriteHeader(http.StatusOK)
	return nil
}

func setSums(h http.Header, sums map[string]string) {
	for algorithm, sum := range sums {
		h.Set(sumPrefix+algorithm, sum)
	}
	if len(sums) > 0 {
		h.Set("x-amz-checksum-type", "FULL_OBJECT")
	}
}

func quote(etag string) string { return `"` + etag + `"` }

// may says whether the conditions of a request hold for an object; nil: there are none.
func (q *request) may(prefix string) func(*object) error {
	match, none := q.Header.Get(prefix+"If-Match"), q.Header.Get(prefix+"If-None-Match")
	if match == "" && none == "" {
		return nil
	}
	return func(old *object) error {
		switch {
		case old == nil && match != "":
			return errNoObject
		case match != "" && !tagged(match, old.ETag), old != nil && none != "" && tagged(none, old.ETag):
			return errPrecondition
		}
		return nil
	}
}

// tagged says whether a list of entity tags has one.
func tagged(list, etag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		if one == "*" || strings.Trim(one, `"`) == etag {
			return true
		}
	}
	return false
}

// allowed checks the conditions under which an object is read.
func (q *request) allowed(prefix string, o *object) error {
	h := q.Header
	changed := o.modified.Truncate(time.Second)
	before := func(name string) (bool, bool) {
		t, err := http.ParseTime(h.Get(prefix + name))
		return changed.After(t), err == nil
	}
	if match := h.Get(prefix + "If-Match"); match != "" {
		if !tagged(match, o.ETag) {
			return errPrecondition
		}
	} else if later, ok := before("If-Unmodified-Since"); ok && later {
		return errPrecondition
	}
	unchanged := false
	if none := h.Get(prefix + "If-None-Match"); none != "" {
		unchanged = tagged(none, o.ETag)
	} else if later, ok := before("If-Modified-Since"); ok {
		unchanged = !later
	}
	if unchanged && prefix != "" {
		return errPrecondition
	}
	if unchanged {
		return notModified
	}
	return nil
}

func (q *request) getObject(w http.ResponseWriter) error {
	o, err := q.bucket.open(q.key)
	if err != nil {
		return err
	}
	defer o.Close()
	h := w.Header()
	h.Set("ETag", quote(o.ETag))
	h.Set("Last-Modified", o.modified.UTC().Format(http.TimeFormat))
	if err := q.allowed("", o); err != nil {
		return err
	}
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", defaultType)
	for name, value := range o.Headers {
		h.Set(name, value)
	}
	for _, name := range keptHeaders {
		if value := q.get("response-" + strings.ToLower(name)); value != "" {
			h.Set(name, value)
		}
	}
	from, length, status, f := rangeOf(q.Header.Get("Range"), o.Size)
	if f != nil {
		h.Set("Content-Range", "bytes */"+strconv.FormatInt(o.Size, 10))
		return f
	}
	if status == http.StatusPartialContent {
		h.Set("Content-Range", "bytes "+strconv.FormatInt(from, 10)+"-"+strconv.FormatInt(from+length-1, 10)+"/"+strconv.FormatInt(o.Size, 10))
	} else if strings.EqualFold(q.Header.Get("X-Amz-Checksum-Mode"), "ENABLED") {
		setSums(h, o.Sums)
	}
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	w.WriteHeader(status)
	if q.Method == http.MethodHead {
		return nil
	}
	if _, err := o.Seek(from, io.SeekStart); err == nil {
		_, _ = io.CopyN(w, o, length) // an error is a client that has gone: it sees too little
	}
	return nil
}

// rangeOf returns which bytes of an object are asked for. What is no range of bytes,
// or more than one, asks for all.
func rangeOf(header string, size int64) (from, length int64, status int, f *fault) {
	text, ok := strings.CutPrefix(header, "bytes=")
	first, last, dash := strings.Cut(text, "-")
	if !ok || !dash || strings.Contains(text, ",") {
		return 0, size, http.StatusOK, nil
	}
	start, startErr := strconv.ParseInt(first, 10, 64)
	end, endErr := strconv.ParseInt(last, 10, 64)
	switch {
	case first == "" && endErr == nil && end >= 0: // the last bytes
		start, end = max(0, size-end), size-1
	case startErr != nil || start < 0 || last != "" && (endErr != nil || end < start):
		return 0, size, http.StatusOK, nil
	case last == "" || end >= size:
		end = size - 1
	}
	if start > end {
		return 0, 0, 0, &fault{"InvalidRange", http.StatusRequestedRangeNotSatisfiable, "The requested range is not satisfiable"}
	}
	return start, end - start + 1, http.StatusPartialContent, nil
}

func (q *request) deleteObject(w http.ResponseWriter) error {
	if match := q.Header.Get("If-Match"); match != "" {
		return unsupported("If-Match of DeleteObject")
	}
	if err := q.bucket.remove(q.key); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// source opens the object that a request copies.
func (q *request) source() (*object, string, error) {
	text := q.Header.Get("X-Amz-Copy-Source")
	text, _, versioned := strings.Cut(text, "?")
	path, err := url.PathUnescape(text)
	if err != nil || versioned {
		return nil, "", invalid("The x-amz-copy-source header must name a bucket and a key, URL-encoded.")
	}
	path = strings.TrimPrefix(path, "/")
	name, key, ok := strings.Cut(path, "/")
	if !ok {
		return nil, "", invalid("The x-amz-copy-source header must name a bucket and a key, URL-encoded.")
	}
	b, err := q.server.directory.bucket(name)
	if err != nil {
		return nil, "", err
	}
	defer b.Close()
	o, err := b.open(key)
	if err != nil {
		return nil, "", err
	}
	if err := q.allowed("X-Amz-Copy-Source-", o); err != nil {
		_ = o.Close()
		return nil, "", err
	}
	return o, path, nil
}

// duplicate writes a part of an object into a draft, and returns its entity tag.
func (q *request) duplicate(content io.Reader) (*draft, string, error) {
	w, err := q.bucket.draft()
	if err != nil {
		return nil, "", err
	}
	sum := md5.New() //nolint:gosec // the entity tags of S3 are MD5 sums
	if _, err := io.Copy(io.MultiWriter(w, sum), content); err != nil {
		w.drop()
		return nil, "", err
	}
	return w, hex.EncodeToString(sum.Sum(nil)), nil
}

func (q *request) copyObject(w http.ResponseWriter) error {
	o, path, err := q.source()
	if err != nil {
		return err
	}
	defer o.Close()
	m := metadata{Headers: o.Headers, Sums: o.Sums}
	switch directive := q.Header.Get("X-Amz-Metadata-Directive"); directive {
	case "", "COPY":
		if path == q.bucket.name+"/"+q.key {
			return &fault{"InvalidRequest", http.StatusBadRequest, "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata."}
		}
	case "REPLACE":
		var f *fault
		if m.Headers, f = q.headers(); f != nil {
			return f
		}
	default:
		return invalid("Unknown metadata directive.")
	}
	d, etag, err := q.duplicate(o)
	if err != nil {
		return err
	}
	m.ETag = etag
	modified, err := d.commit(q.key, m, q.may(""))
	if err != nil {
		return err
	}
	writeXML(w, http.StatusOK, struct {
		XMLName      xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CopyObjectResult"`
		LastModified string
		ETag         string
	}{LastModified: modified.UTC().Format(timeForm), ETag: quote(etag)})
	return nil
}

// readDocument decodes the XML of a request.
func (q *request) readDocument(into any) error {
	content, f := bodyOf(q.Request, q.signed, q.has("delete"))
	if f != nil {
		return f
	}
	if content.length > maxDocument {
		return malformedXML
	}
	text, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	if xml.Unmarshal(text, into) != nil {
		return malformedXML
	}
	return nil
}

// maxDeleted is how many keys one request may delete.
const maxDeleted = 1000

type deletedObject struct {
	Key string
}

type undeletedObject struct {
	Key, Code, Message string
}

func (q *request) deleteObjects(w http.ResponseWriter) error {
	var asked struct {
		Quiet   bool
		Objects []struct {
			Key       string
			VersionID string `xml:"VersionId"`
		} `xml:"Object"`
	}
	if err := q.readDocument(&asked); err != nil {
		return err
	}
	if len(asked.Objects) == 0 || len(asked.Objects) > maxDeleted {
		return malformedXML
	}
	answer := struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ DeleteResult"`
		Deleted []deletedObject
		Error   []undeletedObject
	}{}
	for _, o := range asked.Objects {
		var err error = unsupported("VersionId")
		if o.VersionID == "" || o.VersionID == "null" {
			err = q.bucket.remove(o.Key)
		}
		if err != nil && !errors.Is(err, errKey) {
			f := faultOf(err)
			answer.Error = append(answer.Error, undeletedObject{o.Key, f.code, f.message})
		} else if !asked.Quiet {
			answer.Deleted = append(answer.Deleted, deletedObject{o.Key})
		}
	}
	writeXML(w, http.StatusOK, answer)
	return nil
}

// continuation is a place in a listing as clients hand it back.
func continuation(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

func (q *request) place(token string) (string, error) {
	key, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", invalid("The continuation token provided is incorrect")
	}
	return string(key), nil
}

// most returns how many keys are asked for.
func (q *request) most(name string) (int, error) {
	text := cmp.Or(q.get(name), "1000")
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, invalid("Argument " + name + " must be an integer between 0 and 2147483647")
	}
	return min(n, 1000), nil
}
