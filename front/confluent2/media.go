package confluent2

import (
	"cmp"
	"net/http"
	"strings"

	"github.com/klamm-gateway/klamm/cloudevent"
	"github.com/klamm-gateway/klamm/front"
)

// The media types of this API (rest-apis.md 2.1).
const (
	mediaV2     = "application/vnd.kafka.v2+json"
	mediaBinary = "application/vnd.kafka.binary.v2+json"
	mediaJSON   = "application/vnd.kafka.json.v2+json"
	mediaText   = "application/vnd.kafka.text.v2+json" // Strimzi's
	mediaOld    = "application/vnd.kafka+json"         // before release 6.0
	mediaPlain  = "application/json"
	mediaBytes  = "application/octet-stream" // before release 6.0

	// mediaExact is klamm's own type for records byte by byte as they are.
	mediaExact = "application/vnd.klamm.records+json"

	// Those of CloudEvents: reads answer with a batch for both.
	mediaEvent  = cloudevent.MediaJSON
	mediaEvents = cloudevent.MediaBatch

	// These need a schema registry.
	mediaAvro       = "application/vnd.kafka.avro.v2+json"
	mediaJSONSchema = "application/vnd.kafka.jsonschema.v2+json"
	mediaProtobuf   = "application/vnd.kafka.protobuf.v2+json"
)

// An offer is a type that an operation can answer with. The quality is the
// server's own, from 0 to 1000.
type offer struct {
	media   string
	quality int
	lenient bool // only without strict_media_types
}

var (
	// v2Only are the types of operations without embedded data.
	v2Only = []offer{{mediaV2, 900, false}, {mediaOld, 800, true}, {mediaPlain, 500, true}, {mediaBytes, 50, true}}
	// reads are the types of stateless reads: klamm's own shape first. Those of the API
	// without an embedded format mean binary, as at recordMedia.
	reads = []offer{
		{mediaPlain, 1000, false}, {mediaJSON, 400, false}, {mediaBinary, 300, false}, {mediaEvents, 60, false}, {mediaEvent, 50, false},
		{mediaAvro, 40, false}, {mediaJSONSchema, 40, false}, {mediaProtobuf, 40, false}, {mediaV2, 30, false}, {mediaOld, 25, true}, {mediaExact, 20, false},
	}
	// anyType are the types of errors.
	anyType = []offer{
		{mediaV2, 900, false}, {mediaOld, 800, true}, {mediaPlain, 500, true}, {mediaJSON, 400, false}, {mediaBinary, 300, false},
		{mediaAvro, 100, false}, {mediaJSONSchema, 100, false}, {mediaProtobuf, 100, false}, {mediaBytes, 50, true},
	}
	// consumerMedia are the types of instances' operations but reads.
	consumerMedia = []offer{
		{mediaV2, 900, false}, {mediaOld, 800, true}, {mediaPlain, 500, true},
		{mediaBinary, 100, false}, {mediaJSON, 100, false}, {mediaAvro, 100, false}, {mediaJSONSchema, 100, false}, {mediaProtobuf, 100, false}, {mediaBytes, 50, true},
	}
	// recordMedia are the types of reads of instances. Without an embedded format
	// a type has always meant binary.
	recordMedia = []offer{
		{mediaBinary, 1000, false}, {mediaV2, 900, false}, {mediaOld, 800, true}, {mediaPlain, 500, true},
		{mediaJSON, 100, false}, {mediaAvro, 100, false}, {mediaJSONSchema, 100, false}, {mediaProtobuf, 100, false}, {mediaBytes, 50, true},
		{mediaEvents, 40, true}, {mediaEvent, 30, true}, {mediaExact, 20, true},
	}
)

// accept chooses the type to answer with. The error is errNotAcceptable.
func (a *api) accept(r *http.Request, offers []offer) (string, error) {
	media, err := a.negotiated(r, offers)
	return a.answerType(media), err
}

// answerType is the type of an answer where a request has asked for media.
func (a *api) answerType(media string) string {
	if a.habits.answerType != "" {
		return a.habits.answerType
	}
	return media
}

// negotiated is the type of the offers that a request prefers. The error is
// errNotAcceptable.
func (a *api) negotiated(r *http.Request, offers []offer) (string, error) {
	header := r.Header["Accept"]
	if len(header) == 0 || len(header) == 1 && (header[0] == "*/*" || header[0] == offers[0].media || strings.TrimSpace(header[0]) == "") {
		return offers[0].media, nil
	}
	if media := negotiate(a.wanted(header), offers, a.cfg.StrictMediaTypes); media != "" {
		return media, nil
	}
	return "", errNotAcceptable
}

// wanted is an Accept header in one line, with the spellings of the profile made
// those of this API.
func (a *api) wanted(header []string) string {
	accept := strings.Join(header, ",")
	if a.habits.looseTypes {
		accept = strings.NewReplacer(".v1+json", ".v2+json", "*/json", "application/*").Replace(accept)
	}
	return accept
}

// errNamedFormat is the answer to a read that does not name a format where the
// profile wants that.
var errNamedFormat = refuse(http.StatusNotAcceptable, 406, "Accept must name the format of the records: "+mediaBinary+" or "+mediaJSON)

// acceptRecords chooses the type that says in which format records are read.
func (a *api) acceptRecords(r *http.Request, offers []offer) (string, error) {
	accept := r.Header.Get("Accept")
	switch {
	case a.habits.exactTypes:
		if accept == mediaBinary || accept == mediaJSON || accept == mediaText {
			return accept, nil
		}
		return "", refuse(http.StatusNotAcceptable, 406, "Accept must be one of %s, %s and %s", mediaBinary, mediaJSON, mediaText)
	case a.habits.explicitReads:
		media := negotiate(a.wanted(r.Header["Accept"]), []offer{{mediaBinary, 1000, false}, {mediaJSON, 900, false}}, true)
		if media == "" || !strings.Contains(strings.ToLower(accept), "vnd.kafka") {
			return "", errNamedFormat
		}
		return media, nil
	}
	return a.negotiated(r, offers)
}

// negotiate chooses as JAX-RS does: by the client's quality, then by how
// specific its range is, then by the server's quality.
func negotiate(accept string, offers []offer, strict bool) string {
	type rank struct {
		quality   float64
		near, own int
	}
	best, most := "", rank{}
	wanted := front.ParseAccept([]string{accept})
	for _, o := range offers {
		if o.lenient && strict {
			continue
		}
		quality, near := wanted.Quality(o.media)
		r := rank{quality, near, o.quality}
		if quality > 0 && cmp.Or(cmp.Compare(r.quality, most.quality), cmp.Compare(r.near, most.near), cmp.Compare(r.own, most.own)) > 0 {
			best, most = o.media, r
		}
	}
	return best
}

// A format says how keys and values stand in an envelope.
type format int

const (
	formatNone   format = iota // not an envelope: one plain record
	formatBinary               // base64 strings
	formatJSON                 // any JSON
	formatText                 // strings, written as they are
	formatSchema               // needs a schema registry
)

// contentFormat finds the format of a produce request by its media type. The
// error is errMediaType.
func (a *api) contentFormat(contentType string) (format, error) {
	switch contentType { // as clients spell it; no need to look closer
	case mediaJSON:
		return formatJSON, nil
	case mediaBinary:
		return formatBinary, nil
	case mediaText:
		if a.habits.text {
			return formatText, nil
		}
	}
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	embedded, isKafka := strings.CutPrefix(media, "application/vnd.kafka")
	if isKafka && a.habits.exactTypes {
		return 0, errMediaType
	}
	if !isKafka {
		if a.cfg.StrictMediaTypes {
			return 0, errMediaType
		}
		return formatNone, nil
	}
	embedded, ok := strings.CutSuffix(embedded, "+json")
	if !ok {
		return 0, errMediaType
	}
	named, version := strings.CutSuffix(embedded, ".v2")
	if !version && !a.cfg.StrictMediaTypes {
		named, version = strings.CutSuffix(embedded, ".v1")
	}
	switch {
	case version && named == ".json":
		return formatJSON, nil
	case version && named == ".binary":
		return formatBinary, nil
	case version && (named == ".avro" || named == ".jsonschema" || named == ".protobuf"):
		return formatSchema, nil
	case named == "" && !a.cfg.StrictMediaTypes: // no embedded format has always meant binary
		return formatBinary, nil
	}
	return 0, errMediaType
}

// isPlainType says whether a request without embedded data may have this type.
func (a *api) isPlainType(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	switch strings.ToLower(strings.TrimSpace(media)) {
	case mediaV2:
		return true
	case mediaOld, mediaPlain, mediaBytes, "":
		return !a.cfg.StrictMediaTypes
	}
	return false
}

// errorMedia chooses the type of an error body: the one that a success would
// have had.
func (a *api) errorMedia(r *http.Request) string {
	accept := a.wanted(r.Header["Accept"])
	if a.habits.answerType != "" {
		return a.habits.answerType
	}
	if accept == "" {
		return mediaV2
	}
	if media := negotiate(accept, anyType, a.cfg.StrictMediaTypes); media != "" {
		return media
	}
	return mediaPlain
}

// mediaValues are header values made once.
func mediaValues(media string) []string {
	switch media {
	case mediaV2:
		return valuesV2
	case mediaPlain:
		return valuesPlain
	}
	return []string{media}
}

var valuesV2, valuesPlain = []string{mediaV2}, []string{mediaPlain}
