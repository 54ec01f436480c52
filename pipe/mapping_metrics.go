package pipe

import (
	"github.com/prometheus/client_golang/prometheus"
)

// mappingMetrics are the series of event source mappings, under the names that
// CloudWatch has for them (event-source-mapping.md 17).
type mappingMetrics struct {
	counters map[string]*prometheus.CounterVec
	gauges   map[string]*prometheus.GaugeVec
}

// mappingCounters and mappingGauges are all series, and what each says.
var (
	mappingCounters = map[string]string{
		"polled_event_count":                           "Records that an event source mapping has read.",
		"filtered_out_event_count":                     "Records that the filters of an event source mapping have dropped.",
		"invoked_event_count":                          "Records that were sent to the function; again with each retry.",
		"failed_invoke_event_count":                    "Records in invocations that have failed, also in part.",
		"dropped_event_count":                          "Records given up without an on-failure destination that has them.",
		"on_failure_destination_delivered_event_count": "Records that the on-failure destination has.",
		"committed_event_count":                        "How far committed offsets have moved.",
		"polling_error_count":                          "Looks at the source that have failed.",
		"invoke_error_count":                           "Invocations that have failed, also in part.",
		"on_failure_destination_delivery_error_count":  "Attempts at writing to the on-failure destination that have failed.",
		"commit_error_count":                           "Commits of offsets that have failed.",
		"schema_registry_error_count":                  "Questions that the schema registry could not answer.",
		"deserialization_error_count":                  "Records whose key or value could not be decoded.",
		"gone_event_count":                             "Records that retention removed before the mapping had read them.",
		"event_poller_throughput_in_bytes":             "Bytes of the keys and values that an event source mapping has read.",
		"filter_format_mismatch_total":                 "Records whose key or value has not the form that a filter asks for.",
	}
	mappingGauges = map[string]string{
		"max_offset_lag":      "The largest number of offsets of a partition that are not yet committed.",
		"sum_offset_lag":      "Offsets of all partitions that are not yet committed.",
		"offset_lag":          "Offsets of the topic that are not yet committed.",
		"provisioned_pollers": "1 while this process reads partitions for the mapping; the sum over all processes is how many pollers it has.",
		"event_poller_unit":   "The part of an event poller unit, which is ten pollers, that this process takes for the mapping.",
	}
)

func newMappingMetrics(r prometheus.Registerer) *mappingMetrics {
	m := &mappingMetrics{counters: map[string]*prometheus.CounterVec{}, gauges: map[string]*prometheus.GaugeVec{}}
	labels := []string{"mapping", "function", "topic"}
	for name, help := range mappingCounters {
		m.counters[name] = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "klamm_esm_" + name, Help: help}, labels)
		r.MustRegister(m.counters[name])
	}
	for name, help := range mappingGauges {
		m.gauges[name] = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "klamm_esm_" + name, Help: help}, labels)
		r.MustRegister(m.gauges[name])
	}
	return m
}

// mappingSeries are those of one mapping.
type mappingSeries struct {
	polled, bytes, filtered, invoked, failedInvoke, dropped, stored, committed prometheus.Counter
	pollErrors, invokeErrors, destinationErrors, commitErrors                  prometheus.Counter
	gone, mismatched, registryErrors, undecoded                                prometheus.Counter

	of     *mappingMetrics
	labels []string
}

func (m *mappingMetrics) of(mapping, function, topic string) *mappingSeries {
	labels := []string{mapping, function, topic}
	c := func(name string) prometheus.Counter { return m.counters[name].WithLabelValues(labels...) }
	return &mappingSeries{
		polled: c("polled_event_count"), bytes: c("event_poller_throughput_in_bytes"), filtered: c("filtered_out_event_count"), invoked: c("invoked_event_count"), failedInvoke: c("failed_invoke_event_count"),
		dropped: c("dropped_event_count"), stored: c("on_failure_destination_delivered_event_count"), committed: c("committed_event_count"),
		pollErrors: c("polling_error_count"), invokeErrors: c("invoke_error_count"), destinationErrors: c("on_failure_destination_delivery_error_count"), commitErrors: c("commit_error_count"),
		registryErrors: c("schema_registry_error_count"), undecoded: c("deserialization_error_count"),
		gone: c("gone_event_count"), mismatched: c("filter_format_mismatch_total"),
		of: m, labels: labels,
	}
}

// lag shows how far behind the mapping is, and whether this process works for it.
func (s *mappingSeries) lag(sum, most int64, works bool) {
	g := func(name string, value float64) { s.of.gauges[name].WithLabelValues(s.labels...).Set(value) }
	g("sum_offset_lag", float64(sum))
	g("offset_lag", float64(sum))
	g("max_offset_lag", float64(most))
	g("provisioned_pollers", boolean(works))
	g("event_poller_unit", boolean(works)/10)
}

// rest takes away what only a mapping that runs has.
func (s *mappingSeries) rest() {
	for _, g := range s.of.gauges {
		g.DeleteLabelValues(s.labels...)
	}
}

// forget drops all series of a mapping that there is no more.
func (m *mappingMetrics) forget(mapping string) {
	label := prometheus.Labels{"mapping": mapping}
	for _, v := range m.counters {
		v.DeletePartialMatch(label)
	}
	for _, v := range m.gauges {
		v.DeletePartialMatch(label)
	}
}
