package objectstore

import (
	"encoding/xml"
	"io"
	"net/http"
	"strconv"
	"strings"
)

func (q *request) createUpload(w http.ResponseWriter) error {
	headers, f := q.headers()
	if f != nil {
		return f
	}
	u, err := q.bucket.begin(q.key, headers)
	if err != nil {
		return err
	}
	for _, name := range []string{"X-Amz-Checksum-Algorithm", "X-Amz-Checksum-Type"} {
		if value := q.Header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	writeXML(w, http.StatusOK, struct {
		XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ InitiateMultipartUploadResult"`
		Bucket   string
		Key      string
		UploadID string `xml:"UploadId"`
	}{Bucket: q.bucket.name, Key: q.key, UploadID: u.id})
	return nil
}

// upload returns the one that a request is about.
func (q *request) upload() (*upload, error) {
	u, err := q.bucket.upload(q.get("uploadId"))
	if err == nil && u.Key != q.key {
		err = errNoUpload
	}
	return u, err
}

// numbered returns the upload and the number of the part that a request is about.
func (q *request) numbered() (*upload, int, error) {
	u, err := q.upload()
	if err != nil {
		return nil, 0, err
	}
	n, err := strconv.Atoi(q.get("partNumber"))
	if err != nil || n < 1 || n > maxParts {
		return nil, 0, invalid("Part number must be an integer between 1 and 10000, inclusive")
	}
	return u, n, nil
}

func (q *request) putPart(w http.ResponseWriter) error {
	u, n, err := q.numbered()
	if err != nil {
		return err
	}
	d, content, err := q.receive()
	if err != nil {
		return err
	}
	etag := content.etag()
	if err := d.add(u, part{number: n, etag: etag}); err != nil {
		return err
	}
	h := w.Header()
	h.Set("ETag", quote(etag))
	for algorithm, sum := range content.given {
		h.Set(sumPrefix+algorithm, sum)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (q *request) copyPart(w http.ResponseWriter) error {
	u, n, err := q.numbered()
	if err != nil {
		return err
	}
	o, _, err := q.source()
	if err != nil {
		return err
	}
	defer o.Close()
	var content io.Reader = o
	if text := q.Header.Get("X-Amz-Copy-Source-Range"); text != "" {
		from, length, status, f := rangeOf(text, o.Size)
		if f != nil || status != http.StatusPartialContent {
			return invalid("The x-amz-copy-source-range value must be of the form bytes=first-last within the object")
		}
		content = io.NewSectionReader(o, from, length)
	}
	d, etag, err := q.duplicate(content)
	if err != nil {
		return err
	}
	info, err := d.Stat()
	if err != nil {
		d.drop()
		return err
	}
	if err := d.add(u, part{number: n, etag: etag}); err != nil {
		return err
	}
	writeXML(w, http.StatusOK, struct {
		XMLName      xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CopyPartResult"`
		LastModified string
		ETag         string
	}{LastModified: info.ModTime().UTC().Format(timeForm), ETag: quote(etag)})
	return nil
}

func (q *request) completeUpload(w http.ResponseWriter) error {
	u, err := q.upload()
	if err != nil {
		return err
	}
	var asked struct {
		Parts []struct {
			PartNumber int
			ETag       string
		} `xml:"Part"`
	}
	if err := q.readDocument(&asked); err != nil {
		return err
	}
	if len(asked.Parts) == 0 || len(asked.Parts) > maxParts {
		return malformedXML
	}
	var named []part
	for _, p := range asked.Parts {
		named = append(named, part{number: p.PartNumber, etag: strings.Trim(p.ETag, `"`)})
	}
	etag, err := q.bucket.complete(u, named, q.may(""))
	if err != nil {
		return err
	}
	writeXML(w, http.StatusOK, struct {
		XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CompleteMultipartUploadResult"`
		Location string
		Bucket   string
		Key      string
		ETag     string
	}{Location: "http://" + q.Host + "/" + q.bucket.name + "/" + escape(q.key, true), Bucket: q.bucket.name, Key: q.key, ETag: quote(etag)})
	return nil
}

func (q *request) abortUpload(w http.ResponseWriter) error {
	u, err := q.upload()
	if err != nil {
		return err
	}
	if err := q.bucket.abort(u); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (q *request) listParts(w http.ResponseWriter) error {
	u, err := q.upload()
	if err != nil {
		return err
	}
	most, err := q.most("max-parts")
	if err != nil {
		return err
	}
	after, _ := strconv.Atoi(q.get("part-number-marker"))
	all, err := q.bucket.parts(u)
	if err != nil {
		return err
	}
	type one struct {
		PartNumber         int
		LastModified, ETag string
		Size               int64
	}
	answer := struct {
		XMLName              xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListPartsResult"`
		Bucket, Key          string
		UploadID             string `xml:"UploadId"`
		StorageClass         string
		PartNumberMarker     int
		NextPartNumberMarker int
		MaxParts             int
		IsTruncated          bool
		Parts                []one `xml:"Part"`
	}{Bucket: q.bucket.name, Key: q.key, UploadID: u.id, StorageClass: "STANDARD", PartNumberMarker: after, MaxParts: most}
	for _, p := range all {
		switch {
		case p.number <= after:
		case len(answer.Parts) == most:
			answer.IsTruncated = true
		default:
			answer.Parts = append(answer.Parts, one{p.number, p.modified.UTC().Format(timeForm), quote(p.etag), p.size})
			answer.NextPartNumberMarker = p.number
		}
	}
	writeXML(w, http.StatusOK, answer)
	return nil
}

// listUploads answers with all at once: there are not many.
func (q *request) listUploads(w http.ResponseWriter) error {
	all, err := q.bucket.uploads()
	if err != nil {
		return err
	}
	type one struct {
		Key          string
		UploadID     string `xml:"UploadId"`
		Initiated    string
		StorageClass string
	}
	answer := struct {
		XMLName     xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListMultipartUploadsResult"`
		Bucket      string
		Prefix      string
		MaxUploads  int
		IsTruncated bool
		Uploads     []one `xml:"Upload"`
	}{Bucket: q.bucket.name, Prefix: q.get("prefix"), MaxUploads: maxUploads}
	for _, u := range all {
		if strings.HasPrefix(u.Key, q.get("prefix")) {
			answer.Uploads = append(answer.Uploads, one{u.Key, u.id, u.modified.UTC().Format(timeForm), "STANDARD"})
		}
	}
	writeXML(w, http.StatusOK, answer)
	return nil
}
