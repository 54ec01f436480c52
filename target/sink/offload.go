package sink

import (
	"bytes"
	"container/list"
	"context"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/scan"
	"github.com/klamm-gateway/klamm/target"
)

// An Offload keeps a part of each event in a bucket or a topic, and a reference to it in
// the event (event-bus.md 13.6).
type Offload struct {
	// Bucket is where it is kept, or Topic, of klamm's own cluster: one of both is given.
	Bucket string `yaml:"-" json:"bucket,omitempty"`
	Topic  string `yaml:"-" json:"topic,omitempty"`
	// AtLeast is the size in bytes from which on a part is kept elsewhere; 0: always.
	AtLeast int    `yaml:"-" json:"at_least,omitempty"`
	Region  string `yaml:"-" json:"region"`
	// Endpoint is the URL of a store with the API of S3; empty: that of AWS.
	Endpoint string `yaml:"-" json:"endpoint,omitempty"`
	// Field is a JSON path below $.detail.value to what is kept there.
	Field string `yaml:"-" json:"field"`
	Login Login  `yaml:"-" json:"login"`
}

// keptReferences bounds the payloads that are known to be in the bucket already.
const keptReferences = 100_000

var fieldForm = regexp.MustCompile(`^\$\.detail\.value(\.[^\s.\[\]()*?@$,'"\\]+|\['[^'\\]+'\]|\["[^"\\]+"\])*$`)

// names are the members that lead from the detail to the field.
func (o Offload) names() ([]string, error) {
	if !fieldForm.MatchString(o.Field) {
		return nil, fmt.Errorf("%s is not a definite JSON path that begins with $.detail.value and has no arrays", clip(o.Field))
	}
	rest := strings.TrimPrefix(o.Field, "$.detail")
	var names []string
	for rest != "" {
		if rest[0] == '[' {
			name, after, _ := strings.Cut(rest[2:], rest[1:2]+"]")
			names, rest = append(names, name), after
			continue
		}
		end := strings.IndexAny(rest[1:], ".[") + 1
		if end == 0 {
			end = len(rest)
		}
		names, rest = append(names, rest[1:end]), rest[end:]
	}
	return names, nil
}

type offloader struct {
	cfg     Offload
	names   []string
	caller  caller
	produce target.Produce

	mu    sync.Mutex // guards what follows
	known map[[sha512.Size]byte]string
	order *list.List // of the sums, the oldest first
}

func newOffloader(cfg Offload, env target.Env, timeout time.Duration) (*offloader, error) {
	names, err := cfg.names()
	return &offloader{cfg: cfg, names: names, caller: newCaller(cfg.Login, cfg.Region, env, timeout), produce: env.Produce, known: map[[sha512.Size]byte]string{}, order: list.New()}, err
}

// apply takes the field out of a detail, where it is and is not null.
func (o *offloader) apply(ctx context.Context, detail []byte) ([]byte, error) {
	from, to, value, ok := find(detail, 0, o.names)
	if !ok || string(value) == "null" {
		return detail, nil
	}
	payload := value
	if value[0] == '"' {
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			return nil, target.Permanent(err)
		}
		payload = []byte(text)
	}
	if len(payload) < o.cfg.AtLeast {
		return detail, nil
	}
	reference, err := o.keep(ctx, payload)
	if err != nil {
		return nil, err
	}
	b := append(append(make([]byte, 0, len(detail)), detail[:from]...), detail[to:len(detail)-1]...)
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = scan.AppendString(append(b, `"dataref":`...), reference)
	b = scan.AppendString(append(b, `,"datarefJsonPath":`...), o.cfg.Field)
	return append(b, '}'), nil
}

// keep puts a payload where it is kept, unless one like it is there, and returns its ARN.
func (o *offloader) keep(ctx context.Context, payload []byte) (string, error) {
	sum := sha512.Sum512(payload)
	o.mu.Lock()
	reference, ok := o.known[sum]
	o.mu.Unlock()
	if ok {
		return reference, nil
	}
	put := o.putObject
	if o.cfg.Topic != "" {
		put = o.putRecord
	}
	reference, err := put(ctx, payload)
	if err != nil {
		return "", err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.order.Len() >= keptReferences {
		delete(o.known, o.order.Remove(o.order.Front()).([sha512.Size]byte))
	}
	if _, ok := o.known[sum]; !ok {
		o.known[sum] = reference
		o.order.PushBack(sum)
	}
	return reference, nil
}

// putObject puts a payload into the bucket. What a store refuses with a status below 500
// ends the task, as in the original connector.
func (o *offloader) putObject(ctx context.Context, payload []byte) (string, error) {
	id := event.NewID()
	base := "https://" + o.cfg.Bucket + ".s3." + o.cfg.Region + ".amazonaws.com/"
	if o.cfg.Endpoint != "" {
		base = strings.TrimSuffix(o.cfg.Endpoint, "/") + "/" + url.PathEscape(o.cfg.Bucket) + "/"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, base+id, bytes.NewReader(payload))
	if err != nil {
		return "", target.Permanent(err)
	}
	status, answer, err := o.caller.call(ctx, "s3", r, payload)
	switch {
	case err != nil:
		return "", fmt.Errorf("put an object into the bucket %s: %w", o.cfg.Bucket, err)
	case status != http.StatusOK && status != http.StatusCreated && status != http.StatusNoContent:
		return "", &target.Failure{Status: status, Response: answer[:min(len(answer), 1<<10)], Halts: status < http.StatusInternalServerError,
			Err: fmt.Errorf("put an object into the bucket %s: the answer is %d", o.cfg.Bucket, status)}
	}
	return "arn:aws:s3:::" + o.cfg.Bucket + "/" + id, nil
}

// TopicARN begins the ARNs of topics of klamm's own cluster.
const TopicARN = "arn:klamm:kafka:::topic/"

// putRecord writes a payload to the topic. Its ARN ends in its partition and offset.
func (o *offloader) putRecord(ctx context.Context, payload []byte) (string, error) {
	r := &kgo.Record{Topic: o.cfg.Topic, Partition: -1, Key: []byte(event.NewID()), Value: payload}
	if err := o.produce(ctx, r).FirstErr(); err != nil {
		err = fmt.Errorf("write a record to topic %s: %w", o.cfg.Topic, err)
		if errors.Is(err, kerr.MessageTooLarge) {
			err = target.Permanent(err)
		}
		return "", err
	}
	return fmt.Sprintf("%s%s/%d/%d", TopicARN, o.cfg.Topic, r.Partition, r.Offset), nil
}

// find finds a member by the names that lead to it, in the compact JSON object at i. From
// and to say what to cut for it to be gone, commas included.
func find(b []byte, i int, names []string) (from, to int, value []byte, ok bool) {
	if i >= len(b) || b[i] != '{' {
		return 0, 0, nil, false
	}
	for i++; i < len(b) && b[i] == '"'; {
		start := i
		end, _, _ := scan.String(b, i)
		var name string
		_ = json.Unmarshal(b[i:end], &name) // the detail is valid JSON
		after, _ := scan.Value(b, end+1)
		if name == names[0] {
			if len(names) > 1 {
				return find(b, end+1, names[1:])
			}
			from, to = start, after
			switch {
			case b[after] == ',':
				to++
			case b[start-1] == ',':
				from--
			}
			return from, to, b[end+1 : after], true
		}
		if b[after] != ',' {
			break
		}
		i = after + 1
	}
	return 0, 0, nil, false
}
