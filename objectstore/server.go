package objectstore

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// maxRequests is how many requests are served at once; the others are told to
	// slow down.
	maxRequests = 128
	// maxDocument bounds the XML of a request, in bytes.
	maxDocument = 4 << 20
)

// A Server speaks the S3 API over a Directory, for programs of this machine: the
// operations by which SDKs read and write objects. Requests are signed with its
// Credential; their bucket is in the path, or in the host name before ".localhost".
// There are no versions, access lists, tags and locks. It is safe for concurrent use.
type Server struct {
	directory  *Directory
	credential Credential
	region     string
	log        *slog.Logger
	turn       chan struct{} // has a token for each request
	http       *http.Server
}

// NewServer returns a server that does not listen yet.
func NewServer(d *Directory, c Credential, region string, log *slog.Logger) *Server {
	s := &Server{directory: d, credential: c, region: region, log: log, turn: make(chan struct{}, maxRequests)}
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	return s
}

// Serve answers until Close, and returns an error if it ends for another reason.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close ends the server: requests that run may end until ctx does.
func (s *Server) Close(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

// A request is one that has been found to be signed.
type request struct {
	*http.Request
	server *Server
	signed *signature
	bucket *bucket // nil: it names none
	key    string  // empty: it is about the bucket
	query  map[string][]string
}

func (q *request) has(name string) bool { _, ok := q.query[name]; return ok }

func (q *request) get(name string) string {
	if v := q.query[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "klamm")
	w.Header().Set("X-Amz-Request-Id", requestID())
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	default:
		writeFault(w, r, &fault{"SlowDown", http.StatusServiceUnavailable, "Please reduce your request rate."})
		return
	}
	if err := s.answer(w, r); err != nil {
		f := faultOf(err)
		if f.code == "InternalError" {
			s.log.Error("object store failed", "method", r.Method, "path", clip(r.URL.Path), "err", err)
		}
		writeFault(w, r, f)
	}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) error {
	signed, f := s.credential.verify(r, time.Now())
	if f != nil {
		return f
	}
	q := &request{Request: r, server: s, signed: signed, query: r.URL.Query()}
	name, key := target(r)
	if name == "" {
		if key != "" || r.Method != http.MethodGet {
			return &fault{"MethodNotAllowed", http.StatusMethodNotAllowed, "The specified method is not allowed against this resource."}
		}
		return q.listBuckets(w)
	}
	var err error
	if q.bucket, err = s.directory.bucket(name); err != nil {
		return err
	}
	defer q.bucket.Close()
	if q.key = key; key == "" {
		return q.aboutBucket(w)
	}
	if err := checkKey(key); err != nil {
		return err
	}
	return q.aboutObject(w)
}

// target returns which bucket and key a request is about.
func target(r *http.Request) (name, key string) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if name, ok := strings.CutSuffix(host, ".localhost"); ok {
		return name, path
	}
	name, key, _ = strings.Cut(path, "/")
	return name, key
}

// aspects are the parts of buckets and objects that this store does not have; a
// request that names one must not be taken for one about the whole.
var aspects = []string{
	"accelerate", "acl", "analytics", "attributes", "cors", "encryption", "intelligent-tiering", "inventory", "legal-hold", "lifecycle", "logging", "metrics", "notification",
	"object-lock", "ownershipControls", "policy", "policyStatus", "publicAccessBlock", "replication", "requestPayment", "restore", "retention", "select", "tagging", "torrent",
	"versionId", "versioning", "versions", "website",
}

func (q *request) aspect() error {
	for _, name := range aspects {
		if q.has(name) && q.get(name) != "null" {
			return unsupported("?" + name)
		}
	}
	for name := range q.Header {
		name = strings.ToLower(name)
		if strings.Contains(name, "server-side-encryption-customer") || strings.HasPrefix(name, "x-amz-object-lock-") || name == "x-amz-tagging" {
			return unsupported(name)
		}
	}
	return nil
}

func (q *request) aboutBucket(w http.ResponseWriter) error {
	if err := q.aspect(); err != nil {
		return err
	}
	switch {
	case q.Method == http.MethodHead:
		w.Header().Set("X-Amz-Bucket-Region", q.server.region)
		w.WriteHeader(http.StatusOK)
		return nil
	case q.Method == http.MethodGet && q.has("location"):
		return q.location(w)
	case q.Method == http.MethodGet && q.has("uploads"):
		return q.listUploads(w)
	case q.Method == http.MethodGet && q.get("list-type") == "2":
		return q.listObjects(w)
	case q.Method == http.MethodGet:
		return q.listObjectsByMarker(w)
	case q.Method == http.MethodPost && q.has("delete"):
		return q.deleteObjects(w)
	}
	return unsupported(q.Method + " of a bucket")
}

func (q *request) aboutObject(w http.ResponseWriter) error {
	if err := q.aspect(); err != nil {
		return err
	}
	copied := q.Header.Get("X-Amz-Copy-Source") != ""
	switch id := q.has("uploadId"); {
	case q.Method == http.MethodPost && q.has("uploads"):
		return q.createUpload(w)
	case q.Method == http.MethodPut && id && copied:
		return q.copyPart(w)
	case q.Method == http.MethodPut && id:
		return q.putPart(w)
	case q.Method == http.MethodGet && id:
		return q.listParts(w)
	case q.Method == http.MethodPost && id:
		return q.completeUpload(w)
	case q.Method == http.MethodDelete && id:
		return q.abortUpload(w)
	case q.Method == http.MethodPut && copied:
		return q.copyObject(w)
	case q.Method == http.MethodPut:
		return q.putObject(w)
	case q.Method == http.MethodGet, q.Method == http.MethodHead:
		return q.getObject(w)
	case q.Method == http.MethodDelete:
		return q.deleteObject(w)
	}
	return unsupported(q.Method + " of an object")
}
