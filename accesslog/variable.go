package accesslog

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A variable appends its value; nothing for a value that is missing.
type variable func(b []byte, e *Entry) []byte

// variables are those of gateway-policies.md 5.7, without the $context before them.
// The ones with names that are not known beforehand are in named.
var variables = map[string]variable{
	"event":             text(func(e *Entry) string { return e.Event }),
	"requestId":         text(func(e *Entry) string { return e.RequestID }),
	"extendedRequestId": text(func(e *Entry) string { return e.ExtendedID }),
	"accountId":         text(func(e *Entry) string { return e.Account }),
	"apiId":             text(func(e *Entry) string { return e.API }),
	"stage":             text(func(e *Entry) string { return e.Stage }),
	"domainName":        text(func(e *Entry) string { return e.Domain }),
	"domainPrefix": text(func(e *Entry) string {
		first, _, _ := strings.Cut(e.Domain, ".")
		return first
	}),
	"httpMethod":   text(func(e *Entry) string { return e.Method }),
	"path":         text(func(e *Entry) string { return e.Path }),
	"query":        text(func(e *Entry) string { return Mask(e.Query) }),
	"resourcePath": text(func(e *Entry) string { return e.Pattern }),
	"resourceId":   text(func(e *Entry) string { return e.Route }),
	"dialect":      text(func(e *Entry) string { return e.Dialect }),
	"routeKey": func(b []byte, e *Entry) []byte {
		if e.Pattern == "" {
			return append(b, "$default"...)
		}
		return append(append(append(b, e.Method...), ' '), e.Pattern...)
	},
	"protocol": text(func(e *Entry) string { return e.Protocol }),
	"requestTime": func(b []byte, e *Entry) []byte {
		return e.Time.AppendFormat(b, "02/Jan/2006:15:04:05 -0700")
	},
	"requestTimeEpoch": func(b []byte, e *Entry) []byte { return strconv.AppendInt(b, e.Time.UnixMilli(), 10) },
	"requestTimeISO":   func(b []byte, e *Entry) []byte { return e.Time.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z") },
	"status":           func(b []byte, e *Entry) []byte { return strconv.AppendInt(b, int64(e.Status), 10) },
	"responseLength":   func(b []byte, e *Entry) []byte { return strconv.AppendInt(b, e.Sent, 10) },
	"responseLatency":  func(b []byte, e *Entry) []byte { return strconv.AppendInt(b, e.Latency.Milliseconds(), 10) },
	"dataProcessed":    func(b []byte, e *Entry) []byte { return strconv.AppendInt(b, e.Sent+e.Received, 10) },

	"integrationLatency":      called(kafkaLatency),
	"integration.latency":     called(kafkaLatency),
	"integrationStatus":       called(number(func(e *Entry) int64 { return int64(e.Status) })),
	"integration.status":      called(number(func(e *Entry) int64 { return int64(e.Status) })),
	"integration.error":       text(func(e *Entry) string { return e.Kafka.Error }),
	"integrationErrorMessage": text(func(e *Entry) string { return e.Kafka.Error }),
	"integration.requestId":   called(text(func(e *Entry) string { return e.ExtendedID })),

	"error.message": text(func(e *Entry) string { return e.Error.Message }),
	"error.messageString": text(func(e *Entry) string {
		if e.Error.Message == "" {
			return ""
		}
		quoted, _ := json.Marshal(e.Error.Message)
		return string(quoted)
	}),
	"error.responseType":          text(func(e *Entry) string { return e.Error.Type }),
	"error.validationErrorString": text(func(e *Entry) string { return e.Error.Validation }),

	"identity.sourceIp":       text(func(e *Entry) string { return e.Identity.Source }),
	"identity.userAgent":      text(func(e *Entry) string { return e.Identity.UserAgent }),
	"identity.user":           text(func(e *Entry) string { return e.Identity.User }),
	"identity.caller":         text(func(e *Entry) string { return e.Identity.Caller }),
	"identity.userArn":        text(func(e *Entry) string { return e.Identity.ARN }),
	"identity.accountId":      text(func(e *Entry) string { return e.Identity.Account }),
	"identity.apiKey":         text(func(e *Entry) string { return e.Identity.APIKeyID }), // the id only, not as AWS has it
	"identity.apiKeyId":       text(func(e *Entry) string { return e.Identity.APIKeyID }),
	"identity.principalOrgId": text(func(*Entry) string { return "" }),
	"identity.principal":      text(func(e *Entry) string { return e.Identity.Name }),
	"identity.scheme":         text(func(e *Entry) string { return e.Identity.Scheme }),

	"identity.clientCert.clientCertPem":      certificate(func(c *Certificate) string { return c.PEM() }),
	"identity.clientCert.subjectDN":          certificate(func(c *Certificate) string { return c.Subject }),
	"identity.clientCert.issuerDN":           certificate(func(c *Certificate) string { return c.Issuer }),
	"identity.clientCert.serialNumber":       certificate(func(c *Certificate) string { return c.Serial }),
	"identity.clientCert.validity.notBefore": certificate(func(c *Certificate) string { return validity(c.NotBefore) }),
	"identity.clientCert.validity.notAfter":  certificate(func(c *Certificate) string { return validity(c.NotAfter) }),

	"authorizer.principalId":        text(func(e *Entry) string { return e.Identity.Name }),
	"authorizer.error":              text(func(e *Entry) string { return e.Authenticate.Error }),
	"authorizer.latency":            latency(func(e *Entry) Step { return e.Authenticate }),
	"authorizer.integrationLatency": latency(func(e *Entry) Step { return e.Authenticate }),
	"authorizer.status":             number(func(e *Entry) int64 { return int64(e.Authenticate.Status) }),
	"authorizer.integrationStatus":  number(func(e *Entry) int64 { return int64(e.Authenticate.Status) }),
	"authorizer.requestId":          text(func(e *Entry) string { return e.ExtendedID }),
	"authenticate.error":            text(func(e *Entry) string { return e.Authenticate.Error }),
	"authenticate.latency":          latency(func(e *Entry) Step { return e.Authenticate }),
	"authenticate.status":           number(func(e *Entry) int64 { return int64(e.Authenticate.Status) }),
	"authorize.error":               text(func(e *Entry) string { return e.Authorize.Error }),
	"authorize.latency":             latency(func(e *Entry) Step { return e.Authorize }),
	"authorize.status":              number(func(e *Entry) int64 { return int64(e.Authorize.Status) }),
	"waf.error":                     text(func(e *Entry) string { return e.WAF.Error }),
	"waf.latency":                   latency(func(e *Entry) Step { return e.WAF }),
	"waf.status":                    number(func(e *Entry) int64 { return int64(e.WAF.Status) }),
	"waf.rule":                      text(func(e *Entry) string { return e.WAFRule }),
	"wafResponseCode": text(func(e *Entry) string {
		switch {
		case e.WAF.Error != "":
			return "WAF_BLOCK"
		case e.WAF.Status != 0:
			return "WAF_ALLOW"
		}
		return ""
	}),

	"customDomain.basePathMatched": text(func(e *Entry) string { return e.BasePath }),
	"xrayTraceId": text(func(e *Entry) string {
		if len(e.TraceID) != 32 {
			return ""
		}
		return "1-" + e.TraceID[:8] + "-" + e.TraceID[8:]
	}),
	"traceId": text(func(e *Entry) string { return e.TraceID }),

	"kafka.cluster": text(func(e *Entry) string { return e.Kafka.Cluster }),
	"kafka.topic":   text(func(e *Entry) string { return e.Kafka.Topic }),
	"kafka.partition": func(b []byte, e *Entry) []byte {
		if !e.Kafka.Placed {
			return b
		}
		return strconv.AppendInt(b, int64(e.Kafka.Partition), 10)
	},
	"kafka.offset": func(b []byte, e *Entry) []byte {
		if !e.Kafka.Placed {
			return b
		}
		return strconv.AppendInt(b, e.Kafka.Offset, 10)
	},
	"kafka.records": number(func(e *Entry) int64 { return int64(e.Kafka.Records) }),
	"kafka.bytes":   number(func(e *Entry) int64 { return e.Kafka.Bytes }),
	"kafka.latency": called(kafkaLatency),
	"kafka.error":   text(func(e *Entry) string { return e.Kafka.Error }),

	"limit.rule":       text(func(e *Entry) string { return e.LimitRule }),
	"limit.remaining":  text(func(e *Entry) string { return e.LimitLeft }),
	"policy.decision":  text(func(e *Entry) string { return e.Decision }),
	"policy.statement": text(func(e *Entry) string { return e.Statement }),
	"canary":           text(func(e *Entry) string { return e.Canary }),
	"tls.version":      text(func(e *Entry) string { return e.TLS.Version }),
	"tls.cipher":       text(func(e *Entry) string { return e.TLS.Cipher }),
	"tls.sni":          text(func(e *Entry) string { return e.TLS.SNI }),
}

// Value returns the value of a variable, without the $context before its name; empty
// where it is missing or there is no such variable.
func Value(name string, e *Entry) string {
	v, ok := variables[name]
	if !ok {
		if v, ok = named(name); !ok {
			return ""
		}
	}
	return string(v(nil, e))
}

func text(of func(*Entry) string) variable {
	return func(b []byte, e *Entry) []byte { return append(b, of(e)...) }
}

// number logs a number that is never 0 where there is one.
func number(of func(*Entry) int64) variable {
	return func(b []byte, e *Entry) []byte {
		if n := of(e); n != 0 {
			return strconv.AppendInt(b, n, 10)
		}
		return b
	}
}

// latency is of a step that was taken, in milliseconds.
func latency(of func(*Entry) Step) variable {
	return func(b []byte, e *Entry) []byte {
		if s := of(e); s.Status != 0 {
			return strconv.AppendInt(b, s.Latency.Milliseconds(), 10)
		}
		return b
	}
}

// called is for what exists only where Kafka was asked.
func called(v variable) variable {
	return func(b []byte, e *Entry) []byte {
		if !e.Kafka.Called {
			return b
		}
		return v(b, e)
	}
}

func kafkaLatency(b []byte, e *Entry) []byte {
	return strconv.AppendInt(b, e.Kafka.Latency.Milliseconds(), 10)
}

func certificate(of func(*Certificate) string) variable {
	return func(b []byte, e *Entry) []byte {
		if e.Identity.Certificate == nil {
			return b
		}
		return append(b, of(e.Identity.Certificate)...)
	}
}

// validity has the shape that API Gateway gives the times of certificates.
func validity(t time.Time) string { return t.UTC().Format("Jan _2 15:04:05 2006 GMT") }

// named finds the variables that end in a name which the caller's credentials have
// brought: a claim, or a word of an HTTP authorizer.
func named(name string) (variable, bool) {
	rest, ok := strings.CutPrefix(name, "authorizer.")
	if !ok || rest == "" {
		return nil, false
	}
	if claim, ok := strings.CutPrefix(rest, "claims."); ok && claim != "" {
		return func(b []byte, e *Entry) []byte { return appendClaim(b, e.Identity.Claims[claim]) }, true
	}
	return func(b []byte, e *Entry) []byte { return append(b, e.Identity.Context[rest]...) }, true
}

func appendClaim(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return b
	case string:
		return append(b, v...)
	case fmt.Stringer:
		return append(b, v.String()...)
	}
	doc, err := json.Marshal(v)
	if err != nil {
		return b
	}
	return append(b, doc...)
}

// secretParameters are the query parameters whose values are credentials.
var secretParameters = []string{
	"access_token", "x-amz-signature", "x-amz-security-token", "api_key", "apikey", "api-key", "x-api-key", "token", "id_token", "client_secret", "password",
	"secret", "sig", "signature", "code", "authorization",
}

// Mask returns a query string with the values of its parameters that are
// credentials replaced by "***". A name that hides behind percent-encoding is found
// too.
func Mask(query string) string {
	if query == "" {
		return ""
	}
	out := make([]byte, 0, len(query))
	for first := true; ; first = false {
		pair, rest, more := strings.Cut(query, "&")
		if !first {
			out = append(out, '&')
		}
		name, _, assigned := strings.Cut(pair, "=")
		if assigned && slices.Contains(secretParameters, strings.ToLower(decoded(name))) {
			out = append(append(out, name...), "=***"...)
		} else {
			out = append(out, pair...)
		}
		if !more {
			return string(out)
		}
		query = rest
	}
}

// decoded undoes percent-encoding where there is any; what is malformed stays.
func decoded(name string) string {
	if !strings.ContainsAny(name, "%+") {
		return name
	}
	out := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		if name[i] == '%' && i+2 < len(name) {
			if c, err := strconv.ParseUint(name[i+1:i+3], 16, 8); err == nil {
				out = append(out, byte(c))
				i += 2
				continue
			}
		}
		out = append(out, name[i])
	}
	return strings.TrimSpace(strings.ReplaceAll(string(out), "+", " "))
}
