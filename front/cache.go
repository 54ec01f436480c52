package front

import (
	"bytes"
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/gate"
)

// Cache is the cache section of the configuration file, and of stages: answers about
// topics, partitions, settings and schemas are kept for a while
// (gateway-policies.md 5.4). Records never are.
type Cache struct {
	// TTL is how long an answer is kept, up to 60s; the default, 0, is not at all.
	TTL time.Duration `yaml:"ttl"`
	// Unauthorized says what becomes of "Cache-Control: max-age=0" of a caller who
	// may not do execute-api:InvalidateCache: SUCCEED_WITH_RESPONSE_HEADER, the
	// default, is answered from the cache with a Warning header,
	// SUCCEED_WITHOUT_RESPONSE_HEADER without one, and FAIL_WITH_403 not at all.
	Unauthorized string `yaml:"unauthorized"`
}

// What becomes of those who may not have answers made anew.
const (
	cacheFail  = "FAIL_WITH_403"
	cacheWarn  = "SUCCEED_WITH_RESPONSE_HEADER"
	cacheQuiet = "SUCCEED_WITHOUT_RESPONSE_HEADER"
)

const (
	// longestKept is how long an answer is kept at most.
	longestKept = time.Minute
	// largestKept is the largest body that is kept, in bytes, and mostKept bounds
	// all that are kept together.
	largestKept = 1 << 20
	mostKept    = 32 << 20
	// keptOverhead is about what an answer takes beside its body.
	keptOverhead = 1 << 10
)

// Validate reports each problem with the field it lies in.
func (c Cache) Validate(report func(path, problem string)) {
	if c.TTL < 0 || c.TTL > longestKept {
		report("ttl", "want a time up to 60s")
	}
	if !slices.Contains([]string{"", cacheFail, cacheWarn, cacheQuiet}, c.Unauthorized) {
		report("unauthorized", "want "+cacheFail+", "+cacheWarn+" or "+cacheQuiet)
	}
}

// A cache keeps answers. The zero value is empty. It is safe for concurrent use.
type cache struct {
	mu    sync.Mutex // guards what follows
	kept  map[cacheKey]*list.Element
	order list.List // of *keptAnswer, those first that were asked for last
	size  int
	epoch uint64 // counts the changes of metadata
}

// A cacheKey is what answers differ by.
type cacheKey struct {
	view gate.View
	text [sha256.Size]byte // of all that is in the request
}

type keptAnswer struct {
	key    cacheKey
	header http.Header // must not be changed
	body   []byte      // must not be changed
	etag   string
	made   time.Time
}

func (k *keptAnswer) size() int { return keptOverhead + len(k.body) }

// get returns an answer that is younger than ttl, and what put has to be told.
func (c *cache) get(key cacheKey, ttl time.Duration, now time.Time) (*keptAnswer, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.kept[key]
	if e == nil {
		return nil, c.epoch
	}
	one := e.Value.(*keptAnswer)
	if now.Sub(one.made) >= ttl {
		c.remove(e)
		return nil, c.epoch
	}
	c.order.MoveToFront(e)
	return one, c.epoch
}

// put keeps an answer, unless metadata were changed while it was made.
func (c *cache) put(one *keptAnswer, epoch uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if epoch != c.epoch {
		return
	}
	if e := c.kept[one.key]; e != nil {
		c.remove(e)
	}
	if c.kept == nil {
		c.kept = map[cacheKey]*list.Element{}
	}
	c.kept[one.key] = c.order.PushFront(one)
	for c.size += one.size(); c.size > mostKept; {
		c.remove(c.order.Back())
	}
}

func (c *cache) remove(e *list.Element) {
	one := c.order.Remove(e).(*keptAnswer)
	delete(c.kept, one.key)
	c.size -= one.size()
}

// clear forgets everything, also what is being made now.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	c.kept, c.size = nil, 0
	c.order.Init()
}

// cached stands between the rest of the front door and a handler, and keeps its
// answers where that is configured.
func (s *Server) cached(route Route, serve Handler) Handler {
	switch route.Metadata {
	case ChangesMetadata:
		return func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
			// Also what fails may have changed something, and an answer that was made
			// at the same time may tell of either.
			defer s.cache.clear()
			return serve(w, r, who)
		}
	case TellsMetadata:
		return func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
			cfg := s.cacheOf(r)
			if cfg.TTL == 0 || r.Method != http.MethodGet || r.ContentLength != 0 {
				return serve(w, r, who)
			}
			return s.kept(w, r, who, cfg, serve)
		}
	}
	return serve
}

// cacheOf returns the settings that hold for a request.
func (s *Server) cacheOf(r *http.Request) Cache {
	if at := stagedOf(r); at != nil && at.stage != nil && at.Stage.Cache != nil {
		return *at.Stage.Cache
	}
	return s.cfg.Cache
}

// kept answers with what is kept, or keeps what it answers.
func (s *Server) kept(w http.ResponseWriter, r *http.Request, who gate.Principal, cfg Cache, serve Handler) error {
	key, ok := s.cacheKey(r, who)
	if !ok {
		return serve(w, r, who)
	}
	stage, now := StageOf(r), time.Now()
	one, epoch := s.cache.get(key, cfg.TTL, now)
	if one != nil && invalidates(r.Header) {
		err := s.cfg.mayInvalidate(r, who)
		switch {
		case err == nil:
			one = nil
		case gate.Classify(err) != gate.Denied || cfg.Unauthorized == cacheFail:
			return err
		case cfg.Unauthorized != cacheQuiet:
			w.Header()["Warning"] = []string{`199 klamm "the answer is from the cache: execute-api:InvalidateCache is not allowed"`}
		}
	}
	if one != nil {
		s.cacheAsked(w, stage, "hit")
		maps.Copy(w.Header(), one.header)
		w.Header()["Age"] = []string{strconv.Itoa(int(now.Sub(one.made) / time.Second))}
		one.send(w, r)
		return nil
	}
	s.cacheAsked(w, stage, "miss")
	answer := &cacheableAnswer{ResponseWriter: w, header: http.Header{}}
	if err := serve(answer, r, who); err != nil || answer.through {
		if !answer.through {
			maps.Copy(w.Header(), answer.header)
		}
		return err
	}
	if answer.status != http.StatusOK {
		answer.pass()
		return nil
	}
	body := bytes.Clone(answer.body.Bytes())
	sum := sha256.Sum256(body)
	one = &keptAnswer{key: key, header: answer.header, body: body, made: now, etag: `W/"` + hex.EncodeToString(sum[:12]) + `"`}
	for _, name := range []string{"Connection", "Date", "Etag", "Set-Cookie", "Trailer", "Transfer-Encoding"} {
		delete(one.header, name)
	}
	one.header["Content-Length"] = []string{strconv.Itoa(len(body))}
	one.header["Etag"] = []string{one.etag}
	s.cache.put(one, epoch)
	maps.Copy(w.Header(), one.header)
	one.send(w, r)
	return nil
}

// cacheAsked counts a request whose answer may be kept.
func (s *Server) cacheAsked(w http.ResponseWriter, stage, result string) {
	s.cfg.Metrics.edge.cached(stage, result)
	if x := exchangeOf(w); x != nil {
		x.cached = result
	}
}

// cacheKey returns what the answer to a request depends on; false: it may depend on
// more than can be known.
func (s *Server) cacheKey(r *http.Request, who gate.Principal) (key cacheKey, ok bool) {
	if s.cfg.Gate != nil {
		if key.view, ok = s.cfg.Gate.View(who, r.Header); !ok {
			return key, false
		}
	}
	var text strings.Builder
	for _, part := range []string{StageOf(r), s.cfg.Links.Base(r), r.URL.EscapedPath(), r.URL.RawQuery, strings.Join(r.Header["Accept"], ","), strings.Join(r.Header["Content-Type"], ",")} {
		text.WriteString(strconv.Itoa(len(part)))
		text.WriteByte(':')
		text.WriteString(part)
	}
	key.text = sha256.Sum256([]byte(text.String()))
	return key, true
}

// invalidates says whether a client wants an answer that is made anew.
func invalidates(h http.Header) bool {
	for _, field := range h["Cache-Control"] {
		for directive := range strings.SplitSeq(field, ",") {
			switch strings.ToLower(strings.TrimSpace(directive)) {
			case "max-age=0", "no-cache":
				return true
			}
		}
	}
	return false
}

func (c *Config) mayInvalidate(r *http.Request, who gate.Principal) error {
	if c.Gate == nil {
		return nil
	}
	return c.Gate.MayInvalidate(r.Context(), who, r.Method, calledPath(r))
}

// send answers, and leaves the body out if the client has it.
func (k *keptAnswer) send(w http.ResponseWriter, r *http.Request) {
	if k.fits(r.Header["If-None-Match"]) {
		h := w.Header()
		delete(h, "Content-Length")
		delete(h, "Content-Type")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(k.body) // a client that has left will ask again
}

// fits says whether If-None-Match names the answer.
func (k *keptAnswer) fits(fields []string) bool {
	for _, field := range fields {
		for tag := range strings.SplitSeq(field, ",") {
			tag = strings.TrimSpace(tag)
			if tag == "*" || strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(k.etag, "W/") {
				return true
			}
		}
	}
	return false
}

// A cacheableAnswer waits in memory until it is complete, unless it gets too large.
type cacheableAnswer struct {
	http.ResponseWriter
	header  http.Header
	status  int
	body    bytes.Buffer
	through bool // it goes to the client as it comes
}

// Unwrap lets the front door find its own part of the answer.
func (a *cacheableAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *cacheableAnswer) Header() http.Header {
	if a.through {
		return a.ResponseWriter.Header()
	}
	return a.header
}

func (a *cacheableAnswer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
}

func (a *cacheableAnswer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if !a.through && a.body.Len()+len(b) > largestKept {
		a.pass()
	}
	if a.through {
		return a.ResponseWriter.Write(b)
	}
	return a.body.Write(b)
}

// FlushError sends what there is: a handler that asks for it writes no short answer.
func (a *cacheableAnswer) FlushError() error {
	a.WriteHeader(http.StatusOK)
	if !a.through {
		a.pass()
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// pass sends what was written so far, and is a ResponseWriter like any other from
// then on.
func (a *cacheableAnswer) pass() {
	a.through = true
	maps.Copy(a.ResponseWriter.Header(), a.header)
	if a.status == 0 {
		return
	}
	a.ResponseWriter.WriteHeader(a.status)
	if a.body.Len() > 0 {
		_, _ = a.ResponseWriter.Write(a.body.Bytes()) // a client that has left will ask again
		a.body.Reset()
	}
}
