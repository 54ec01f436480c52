package front

import (
	"bytes"
	"log" //nolint:depguard // net/http takes no other logger
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// errorLog takes what net/http has to say about connections: it is of interest only
// to who looks for something, but for handshakes, which are counted.
func errorLog(to *slog.Logger, handshakes *prometheus.CounterVec) *log.Logger {
	inner := slog.NewLogLogger(to.Handler(), slog.LevelDebug).Writer()
	return log.New(writerFunc(func(line []byte) (int, error) {
		if _, why, ok := bytes.Cut(line, []byte("TLS handshake error from ")); ok {
			handshakes.WithLabelValues(handshakeReason(string(why))).Inc()
		}
		return inner.Write(line)
	}), "", 0)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// handshakeReason sorts the texts of crypto/tls.
func handshakeReason(text string) string {
	for _, r := range []struct{ part, reason string }{
		{"first record does not look like a TLS handshake", "not_tls"}, {"client didn't provide a certificate", "no_certificate"}, {"verify client certificate", "bad_certificate"},
		{"failed to verify certificate", "bad_certificate"}, {"bad certificate", "bad_certificate"}, {"unknown certificate", "bad_certificate"}, {"x509:", "bad_certificate"}, {"no certificates configured", "unknown_name"}, {"unsupported versions", "version"},
		{"protocol version", "version"}, {"i/o timeout", "timeout"}, {"EOF", "left"}, {"connection reset", "left"}, {"broken pipe", "left"},
	} {
		if strings.Contains(text, r.part) {
			return r.reason
		}
	}
	return "other"
}
