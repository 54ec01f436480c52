package confluent2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

func TestErrorCodes(t *testing.T) {
	secret := errors.New("a secret of the inside")
	for _, c := range []struct {
		in           error
		status, code int
	}{
		{front.ErrNoRoute, 404, 404},
		{front.ErrMethod, 405, 405},
		{fmt.Errorf("%w: at most 1", front.ErrBodyTooLarge), 413, 413},
		{front.ErrBodyTimeout, 408, 408},
		{front.ErrBusy, 503, 503},
		{fmt.Errorf("read: %w", io.ErrUnexpectedEOF), 400, 400},
		{&gate.Error{Kind: gate.Unauthenticated, Message: "who?"}, 401, 40101},
		{&gate.Error{Kind: gate.Denied, Message: "no"}, 403, 40301},
		{&gate.Error{Kind: gate.Invalid, Message: "no"}, 422, 422},
		{&gate.Error{Kind: gate.TooLarge, Message: "no"}, 413, 413},
		{&gate.Error{Kind: gate.Throttled, Message: "later"}, 429, 429},
		{fmt.Errorf("metadata: %w", kerr.UnknownTopicOrPartition), 404, 40403},
		{kerr.SaslAuthenticationFailed, 401, 40101},
		{kerr.TopicAuthorizationFailed, 403, 40301},
		{kerr.GroupAuthorizationFailed, 403, 40301},
		{kerr.ClusterAuthorizationFailed, 403, 40301},
		{kerr.TopicAlreadyExists, 400, 40002},
		{kerr.InvalidTopicException, 400, 40002},
		{kerr.PolicyViolation, 400, 40002},
		{kerr.UnsupportedVersion, 400, 40002},
		{kerr.UnknownServerError, 400, 40002},
		{kerr.MessageTooLarge, 413, 413},
		{kerr.ThrottlingQuotaExceeded, 429, 42901},
		{kerr.BrokerNotAvailable, 503, 50302},
		{kerr.NotLeaderForPartition, 500, 50003},
		{kerr.CorruptMessage, 500, 50003},
		{kerr.InvalidRequiredAcks, 500, 50002},
		{kafka.ErrNoPartition, 404, 40402},
		{kafka.ErrUnreachable, 500, 50003},
		{kafka.ErrOverloaded, 500, 50003},
		{context.DeadlineExceeded, 500, 50003},
		{fmt.Errorf("%w: %w", errForeign, secret), 500, 500},
		{secret, 500, 500},
	} {
		got := newAPI(nil, Config{}).refusalOf(c.in)
		if got.status != c.status || got.code != c.code || got.message == "" {
			t.Errorf("%v: got %d/%d %q, want %d/%d", c.in, got.status, got.code, got.message, c.status, c.code)
		}
		if strings.Contains(got.message, "secret") {
			t.Errorf("%v: the message tells %q", c.in, got.message)
		}
	}
}

func TestRecordCodes(t *testing.T) {
	for _, c := range []struct {
		in      error
		code    int
		message string
	}{
		{kerr.SaslAuthenticationFailed, 40101, kerr.SaslAuthenticationFailed.Description},
		{kerr.TopicAuthorizationFailed, 40301, kerr.TopicAuthorizationFailed.Description},
		{fmt.Errorf("%w: topic x not present in metadata after 10000 ms", kafka.ErrNoPartition), 50003, "not present in metadata"},
		{fmt.Errorf("%w: no broker answered", kafka.ErrNotAcknowledged), 50003, "no broker answered"},
		{kafka.ErrOverloaded, 50003, "waiting"},
		{kerr.NotEnoughReplicas, 50003, kerr.NotEnoughReplicas.Description},
		{kerr.ThrottlingQuotaExceeded, 50003, kerr.ThrottlingQuotaExceeded.Description},
		{kerr.MessageTooLarge, 50002, kerr.MessageTooLarge.Description},
		{kerr.InvalidTopicException, 50002, kerr.InvalidTopicException.Description},
		{kerr.PolicyViolation, 50002, kerr.PolicyViolation.Description},
	} {
		if got := newAPI(nil, Config{}).recordCode(c.in); got != c.code {
			t.Errorf("%v: got %d, want %d", c.in, got, c.code)
		}
		if got := kafka.Message(c.in); !strings.Contains(got, c.message) {
			t.Errorf("%v: the message is %q", c.in, got)
		}
		if isForeign(c.in) {
			t.Errorf("%v counts as none of Kafka's", c.in)
		}
	}
	if !isForeign(errors.New("client closed")) {
		t.Error("an unknown error counts as Kafka's")
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name string
		in   Config
		want string
	}{
		{"nothing", Config{}, ""},
		{"everything", Config{StrictMediaTypes: true, TopicNotFoundCode: 40401, RecordExtras: true, Profile: "confluent"}, ""},
		{"code", Config{TopicNotFoundCode: 404}, "topic_not_found_code"},
		{"profile", Config{Profile: "other"}, "profile"},
		{"strimzi", Config{Profile: "strimzi"}, ""},
		{"karapace", Config{Profile: "karapace"}, ""},
		{"redpanda", Config{Profile: "redpanda"}, ""},
		{"instance timeout", Config{ConsumerInstanceTimeoutMs: 999}, "consumer_instance_timeout_ms"},
		{"bad records", Config{BadRecords: "drop"}, "bad_records"},
	} {
		var got []string
		c.in.Validate(func(path, _ string) { got = append(got, path) })
		if strings.Join(got, ",") != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
