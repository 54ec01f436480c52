package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/app"
	"github.com/klamm-gateway/klamm/config"
)

const (
	defaultServer = "http://127.0.0.1:8082"
	// pageRecords is how many records one request asks for, the most it may. The
	// server ends an answer earlier if they are large.
	pageRecords = 10_000
	// largestPage bounds an answer: a few MiB of records, or one large record,
	// in base64 or with escapes.
	largestPage = 512 << 20
	// readAttempts and firstPause bound what is tried again when the server
	// cannot answer for a moment; each pause is twice the one before.
	readAttempts = 6
	firstPause   = 250 * time.Millisecond
	longestPause = 30 * time.Second
	emptyPause   = 20 * time.Millisecond
	// startTimeout is how long brokers may take to be reached.
	startTimeout = 15 * time.Second
)

// serveBrokers starts a klamm of the command's own, for brokers without one,
// and returns its URL and what stops it.
func serveBrokers(ctx context.Context, brokers []string) (*url.URL, func(), error) {
	if err := brokerFlag(brokers); err != nil {
		return nil, nil, err
	}
	cfg := config.Default()
	cfg.Listen, cfg.Kafka.Brokers = "127.0.0.1:0", brokers
	ready := make(chan string, 1)
	a, err := app.New(ctx, cfg, app.Options{Log: slog.New(slog.DiscardHandler), Ready: func(http string, _ []string) { ready <- http }})
	if err != nil {
		return nil, nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- a.Run(running) }()
	end := func() {
		stop()
		<-done
	}
	select {
	case addr := <-ready:
		return &url.URL{Scheme: "http", Host: addr}, end, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(startTimeout):
		err = fmt.Errorf("no broker at %s can be used within %s; check --brokers", strings.Join(brokers, ","), startTimeout)
	}
	end()
	return nil, nil, err
}

// A topicReader reads one topic through klamm's stateless reads.
type topicReader struct {
	access
	topic  string
	client *http.Client
}

func newTopicReader(at access, topic string) *topicReader {
	return &topicReader{access: at, topic: topic, client: &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: time.Minute, TLSClientConfig: at.tls},
		// A server that redirects is not klamm, and the key is not for others.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// A readRecord is a record as stateless reads give it (interface.md 3).
type readRecord struct {
	Topic     json.RawMessage `json:"topic"`
	Partition *int32          `json:"partition"`
	Offset    int64           `json:"offset"`
	Timestamp int64           `json:"timestamp"` // milliseconds
	Key       json.RawMessage `json:"key"`
	Value     json.RawMessage `json:"value"`
	Headers   json.RawMessage `json:"headers"`
}

// A serverError is an answer that is no success.
type serverError struct {
	status int
	reason string
	after  time.Duration // when to come again, if the server said so
}

func (e *serverError) Error() string { return e.reason }

// ends returns where each partition ends now.
func (r *topicReader) ends(ctx context.Context) (map[int32]int64, error) {
	return r.positions(ctx, url.Values{"offset": {"latest"}, "count": {"1"}})
}

// startsAt returns where each partition has its first record that is not older
// than a time, or the end; the zero time means the beginning.
func (r *topicReader) startsAt(ctx context.Context, at time.Time) (map[int32]int64, error) {
	query := url.Values{"offset": {"earliest"}, "count": {"1"}}
	if !at.IsZero() {
		query = url.Values{"since": {at.UTC().Format(time.RFC3339Nano)}, "count": {"1"}}
	}
	return r.positions(ctx, query)
}

// positions asks for at most one record and returns where the answer began.
func (r *topicReader) positions(ctx context.Context, query url.Values) (map[int32]int64, error) {
	resp, err := r.get(ctx, query, "records")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	at, err := r.parseNext(resp)
	if err != nil {
		return nil, err
	}
	strange := false
	err = r.records(resp.Body, func(rec *readRecord) bool {
		next, ok := at[*rec.Partition]
		strange = strange || !ok || rec.Offset >= next
		at[*rec.Partition] = rec.Offset // Klamm-Next is behind it
		return true
	})
	if strange {
		err = r.wrongServer()
	}
	return at, err
}

// read visits the records of a range in their order. What fails for a moment is
// tried again, from the first record on that was not yet visited.
func (r *topicReader) read(ctx context.Context, part backtestRange, visit func(*readRecord)) error {
	offset, failures, empty := part.From, 0, 0
	for offset < part.To {
		next, err := r.page(ctx, part.Partition, offset, part.To, visit)
		moved := next > offset
		if moved {
			offset, failures, empty = next, 0, 0
		}
		pause := time.Duration(0)
		switch {
		case err != nil:
			failures++
			if pause = pauseAfter(err, failures); pause == 0 {
				return err
			}
		case !moved:
			// At the end of a log may be the marks of transactions, which are no
			// records. A second look makes sure of it.
			if empty++; empty == 2 {
				return nil
			}
			pause = emptyPause
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return nil
}

// pauseAfter says how long to wait before the next attempt; 0 means that there
// is none.
func pauseAfter(err error, failures int) time.Duration {
	var said *serverError
	if failures == readAttempts || errors.As(err, &said) && said.status < 500 && said.status != http.StatusTooManyRequests && said.status != http.StatusRequestTimeout {
		return 0
	}
	pause := firstPause << (failures - 1)
	if said != nil {
		pause = max(pause, said.after)
	}
	return min(pause, longestPause)
}

// page visits some records of a partition, from an offset up to an end, and
// returns where to go on, also with an error.
func (r *topicReader) page(ctx context.Context, partition int32, offset, end int64, visit func(*readRecord)) (next int64, err error) {
	query := url.Values{"offset": {strconv.FormatInt(offset, 10)}, "count": {strconv.FormatInt(min(end-offset, pageRecords), 10)}}
	resp, err := r.get(ctx, query, "partitions", strconv.Itoa(int(partition)), "records")
	if err != nil {
		return offset, err
	}
	defer resp.Body.Close()
	if _, err := r.parseNext(resp); err != nil {
		return offset, err
	}
	strange := false
	err = r.records(resp.Body, func(rec *readRecord) bool {
		switch {
		case *rec.Partition != partition || rec.Offset < offset:
			strange = true
			return false
		case rec.Offset >= end:
			offset = end
			return false
		}
		visit(rec)
		offset = rec.Offset + 1
		return true
	})
	if strange {
		err = r.wrongServer()
	}
	return offset, err
}

// records visits the records of an answer's JSON array until visit returns
// false. The record is the caller's only until then.
func (r *topicReader) records(body io.Reader, visit func(*readRecord) bool) error {
	bounded := &io.LimitedReader{R: body, N: largestPage}
	d := json.NewDecoder(bounded)
	broken := func(err error) error {
		var syntax *json.SyntaxError
		var mismatch *json.UnmarshalTypeError
		switch {
		case bounded.N == 0:
			return fmt.Errorf("an answer of %s has more than %d MiB", r.base.Redacted(), largestPage>>20)
		case errors.As(err, &syntax), errors.As(err, &mismatch):
			return r.wrongServer()
		}
		return fmt.Errorf("the answer of %s breaks off: %w", r.base.Redacted(), err)
	}
	if t, err := d.Token(); err != nil {
		return broken(err)
	} else if t != json.Delim('[') {
		return r.wrongServer()
	}
	var rec readRecord
	for d.More() {
		rec.Partition, rec.Topic, rec.Key, rec.Value, rec.Headers = nil, rec.Topic[:0], rec.Key[:0], rec.Value[:0], rec.Headers[:0]
		if err := d.Decode(&rec); err != nil {
			return broken(err)
		}
		if rec.Partition == nil || min(len(rec.Topic), len(rec.Key), len(rec.Value), len(rec.Headers)) == 0 {
			return r.wrongServer()
		}
		if !visit(&rec) {
			return nil
		}
	}
	if _, err := d.Token(); err != nil {
		return broken(err)
	}
	return nil
}

// get asks for a resource of the topic. Any status but 200 is an error.
func (r *topicReader) get(ctx context.Context, query url.Values, path ...string) (*http.Response, error) {
	u := r.base.JoinPath(append([]string{"topics", r.topic}, path...)...)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	r.login(req)
	resp, err := r.client.Do(req)
	if err != nil {
		var outer *url.Error
		if errors.As(err, &outer) {
			err = outer.Err
		}
		return nil, (&client{access: r.access, http: r.client}).unreached(err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, r.refusal(resp)
	}
	return resp, nil
}

// refusal reads an answer that is no success.
func (r *topicReader) refusal(resp *http.Response) error {
	var said struct {
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	_ = json.Unmarshal(text, &said)
	e := &serverError{status: resp.StatusCode}
	if seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16); err == nil {
		e.after = time.Duration(seconds) * time.Second
	}
	said.Message = printable(said.Message)
	switch {
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		e.reason = fmt.Sprintf("%s does not let you read topic %s: %s; KLAMM_KEY can hold an API key that may", r.base.Redacted(), r.topic, orStatus(said.Message, resp))
	case said.Code > 40400 && said.Code < 40500:
		e.reason = fmt.Sprintf("there is no topic %s at %s, or you may not see it", r.topic, r.base.Redacted())
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || said.Code != 0 && said.Code != http.StatusNotFound:
		e.reason = fmt.Sprintf("reading topic %s at %s failed: %s", r.topic, r.base.Redacted(), orStatus(said.Message, resp))
	default:
		return r.wrongServer()
	}
	return e
}

func orStatus(message string, resp *http.Response) string {
	if message == "" {
		return "HTTP " + resp.Status
	}
	return message
}

// wrongServer is the error for a server that answers as klamm never does.
func (r *topicReader) wrongServer() error {
	return &serverError{reason: fmt.Sprintf("%s answers, but not as klamm does; check --server and KLAMM_SERVER", r.base.Redacted())}
}

// parseNext reads the header that says where to go on, P-O,P-O.
func (r *topicReader) parseNext(resp *http.Response) (map[int32]int64, error) {
	at := map[int32]int64{}
	for pair := range strings.SplitSeq(resp.Header.Get("Klamm-Next"), ",") {
		left, right, _ := strings.Cut(pair, "-")
		p, err := strconv.ParseInt(left, 10, 32)
		o, err2 := strconv.ParseInt(right, 10, 64)
		if err != nil || err2 != nil || p < 0 || o < 0 {
			return nil, r.wrongServer()
		}
		at[int32(p)] = o
	}
	return at, nil
}
