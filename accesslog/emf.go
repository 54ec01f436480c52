package accesslog

import (
	"slices"
	"strconv"
	"time"
)

// The formats of lines that are metrics besides, in CloudWatch's embedded metric format:
// what reads the log for CloudWatch makes the metrics of API Gateway of them
// (gateway-policies.md 5.9), by API and stage, or by method and resource as well.
const (
	formatEMF         = "emf"
	formatEMFDetailed = "emf_detailed"
)

// namespace is that of the metrics.
const namespace = "klamm"

// standardMethods are the methods that may be a dimension: a client can make up others.
var standardMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// emf appends the beginning of a line, up to where that of the format json goes on
// behind its brace.
func emf(detailed bool) func(b []byte, e *Entry) []byte {
	dimensions := `[["ApiName"],["ApiName","Stage"]]`
	if detailed {
		dimensions = `[["ApiName"],["ApiName","Stage"],["ApiName","Stage","Method","Resource"]]`
	}
	return func(b []byte, e *Entry) []byte {
		b = append(b, `{"_aws":{"Timestamp":`...)
		b = strconv.AppendInt(b, e.Time.UnixMilli(), 10)
		b = append(b, `,"CloudWatchMetrics":[`...)
		if e.Event == "open" { // it counts when it is closed
			return append(b, `]},`...)
		}
		b = append(append(append(b, `{"Namespace":"`+namespace+`","Dimensions":`...), dimensions...), `,"Metrics":[{"Name":"Count","Unit":"Count"},{"Name":"4XXError","Unit":"Count"},{"Name":"5XXError","Unit":"Count"}`...)
		ends, cached := e.Event == "request", e.Cache != ""
		if ends {
			b = append(b, `,{"Name":"Latency","Unit":"Milliseconds"}`...)
		}
		if e.Kafka.Called {
			b = append(b, `,{"Name":"IntegrationLatency","Unit":"Milliseconds"}`...)
		}
		if cached {
			b = append(b, `,{"Name":"CacheHitCount","Unit":"Count"},{"Name":"CacheMissCount","Unit":"Count"}`...)
		}
		b = dimension(append(b, `]}]},"ApiName":"`...), e.Dialect)
		b = dimension(append(b, `","Stage":"`...), e.Stage)
		method := e.Method
		if !slices.Contains(standardMethods, method) {
			method = "OTHER"
		}
		b = dimension(append(b, `","Method":"`...), method)
		b = dimension(append(b, `","Resource":"`...), e.Pattern)
		b = append(b, `","Count":1,"4XXError":`...)
		b = flag(b, e.Status >= 400 && e.Status < 500)
		b = flag(append(b, `,"5XXError":`...), e.Status >= 500)
		if ends {
			b = milliseconds(append(b, `,"Latency":`...), e.Latency)
		}
		if e.Kafka.Called {
			b = milliseconds(append(b, `,"IntegrationLatency":`...), e.Kafka.Latency)
		}
		if cached {
			b = flag(append(b, `,"CacheHitCount":`...), e.Cache == "hit")
			b = flag(append(b, `,"CacheMissCount":`...), e.Cache != "hit")
		}
		return append(b, ',')
	}
}

// dimension appends a value, which must not be empty.
func dimension(b []byte, value string) []byte {
	if value == "" {
		return append(b, "none"...)
	}
	from := len(b)
	return escapeJSON(append(b, value...), from)
}

func flag(b []byte, on bool) []byte {
	if on {
		return append(b, '1')
	}
	return append(b, '0')
}

// milliseconds appends a time with microseconds behind the point.
func milliseconds(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(b, float64(d.Microseconds())/1000, 'f', -1, 64)
}
