package objectstore

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"
)

func (q *request) listBuckets(w http.ResponseWriter) error {
	all, err := q.server.directory.buckets()
	if err != nil {
		return err
	}
	type one struct{ Name, CreationDate string }
	answer := struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListAllMyBucketsResult"`
		Owner   owner
		Buckets []one `xml:"Buckets>Bucket"`
	}{Owner: klamm}
	for _, b := range all {
		answer.Buckets = append(answer.Buckets, one{b.Name(), b.ModTime().UTC().Format(timeForm)})
	}
	writeXML(w, http.StatusOK, answer)
	return nil
}

type owner struct{ ID, DisplayName string }

var klamm = owner{"klamm", "klamm"}

func (q *request) location(w http.ResponseWriter) error {
	region := q.server.region
	if region == "us-east-1" { // S3 has no name for it
		region = ""
	}
	writeXML(w, http.StatusOK, struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LocationConstraint"`
		Region  string   `xml:",chardata"`
	}{Region: region})
	return nil
}

type contents struct {
	Key, LastModified, ETag string
	Size                    int64
	Owner                   *owner
	StorageClass            string
}

type commonPrefix struct{ Prefix string }

// page is what both forms of a listing have.
type page struct {
	Name           string
	Prefix         string
	Delimiter      string `xml:",omitempty"`
	EncodingType   string `xml:",omitempty"`
	MaxKeys        int
	IsTruncated    bool
	Contents       []contents
	CommonPrefixes []commonPrefix
}

// page looks keys up that come after one.
func (q *request) page(after string, owned bool) (page, string, error) {
	encode := func(text string) string { return text }
	switch q.get("encoding-type") {
	case "":
	case "url":
		encode = func(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "%2F", "/") }
	default:
		return page{}, "", invalid("Invalid Encoding Method specified in Request")
	}
	most, err := q.most("max-keys")
	if err != nil {
		return page{}, "", err
	}
	found, err := q.bucket.list(query{prefix: q.get("prefix"), delimiter: q.get("delimiter"), after: after, most: most})
	if err != nil {
		return page{}, "", err
	}
	p := page{
		Name: q.bucket.name, Prefix: encode(q.get("prefix")), Delimiter: encode(q.get("delimiter")), EncodingType: q.get("encoding-type"),
		MaxKeys: most, IsTruncated: found.next != "",
	}
	for _, o := range found.objects {
		c := contents{Key: encode(o.key), LastModified: o.modified.UTC().Format(timeForm), ETag: quote(o.ETag), Size: o.Size, StorageClass: "STANDARD"}
		if owned {
			c.Owner = &klamm
		}
		p.Contents = append(p.Contents, c)
	}
	for _, prefix := range found.prefixes {
		p.CommonPrefixes = append(p.CommonPrefixes, commonPrefix{encode(prefix)})
	}
	return p, found.next, nil
}

// listObjects is the second form of the listing.
func (q *request) listObjects(w http.ResponseWriter) error {
	after, token := q.get("start-after"), q.get("continuation-token")
	if token != "" {
		var err error
		if after, err = q.place(token); err != nil {
			return err
		}
	} else if q.has("continuation-token") {
		return invalid("The continuation token provided is incorrect")
	}
	p, next, err := q.page(after, q.get("fetch-owner") == "true")
	if err != nil {
		return err
	}
	answer := struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
		page
		KeyCount              int
		StartAfter            string `xml:",omitempty"`
		ContinuationToken     string `xml:",omitempty"`
		NextContinuationToken string `xml:",omitempty"`
	}{page: p, KeyCount: len(p.Contents) + len(p.CommonPrefixes), StartAfter: q.get("start-after"), ContinuationToken: token}
	if next != "" {
		answer.NextContinuationToken = continuation(next)
	}
	writeXML(w, http.StatusOK, answer)
	return nil
}

// listObjectsByMarker is the first form of the listing.
func (q *request) listObjectsByMarker(w http.ResponseWriter) error {
	p, next, err := q.page(q.get("marker"), true)
	if err != nil {
		return err
	}
	answer := struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
		page
		Marker     string
		NextMarker string `xml:",omitempty"`
	}{page: p, Marker: q.get("marker"), NextMarker: next}
	if p.EncodingType == "url" {
		answer.Marker, answer.NextMarker = url.QueryEscape(answer.Marker), url.QueryEscape(next)
	}
	writeXML(w, http.StatusOK, answer)
	return nil
}
