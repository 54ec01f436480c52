package confluent2

import (
	"slices"
	"strings"

	"github.com/klamm-gateway/klamm/kafka"
)

// The values of the switch profile, beside the empty one.
const (
	profileConfluent = "confluent"
	profileStrimzi   = "strimzi"
	profileKarapace  = "karapace"
	profileRedpanda  = "redpanda"
)

// habits are what implementers of this API do differently (rest-apis.md 7).
// Where a habit would take something away from callers, an operation or a
// safeguard of klamm's own, klamm stays as it is.
type habits struct {
	// async serves ?async=true on produce.
	async bool
	// text has the embedded format text.
	text bool
	// exactTypes compares the media types of produce requests and of reads as
	// they are spelled, without parameters and lists.
	exactTypes bool
	// explicitReads refuses reads of instances, and Redpanda's stateless ones,
	// whose Accept does not name the format.
	explicitReads bool
	// answerType is the type of every answer; empty: the negotiated one.
	answerType string
	// looseTypes takes version 1 and */json for types of this API.
	looseTypes bool
	// wholeRecords demands a value in every record, which may be null.
	wholeRecords bool
	// internalTopics lists Kafka's own topics too.
	internalTopics bool
	// knownTopics looks a topic and a partition up before producing to it.
	knownTopics bool
	// results is the shape of produce results.
	results resultShape
	// timestamps and headers are added to the records of reads.
	timestamps, headers bool
	// commitsGiven commits the offset that the client names instead of the one
	// behind it; commitsSomething refuses an object that names none;
	// commitIsEmpty answers 204.
	commitsGiven, commitsSomething, commitIsEmpty bool
	// offsets says how committed offsets are listed.
	offsets offsetShape
	// reset and manualCommit are the defaults of new instances; onlyDefaults
	// refuses anything else.
	reset                      kafka.Reset
	manualCommit, onlyDefaults bool
	// strictConsumer has fewer and other fields for new instances.
	strictConsumer bool
	// longReads lets the timeout of a read exceed the instance's own, and
	// positiveReads refuses one that is none.
	longReads, positiveReads bool
	// oneSubscription refuses a subscription to nothing and to topics and a
	// pattern at once.
	oneSubscription bool
	// splitNotFound answers 40401 for a missing topic below its own path.
	splitNotFound bool
	// cleanNames refuses control characters in names.
	cleanNames bool
	// rephrase says an error in the implementer's words; nil: as the original.
	rephrase func(*refusal) *refusal
}

// A resultShape is how the outcome of produced records is written.
type resultShape int

const (
	confluentResults resultShape = iota // all members, null where they do not apply
	strimziResults                      // HTTP's codes, and message for error
	karapaceResults                     // codes 1 and 2, and 422 if one has failed
	redpandaResults                     // Kafka's own codes
)

// An offsetShape is how committed offsets are listed.
type offsetShape int

const (
	committedOnly    offsetShape = iota // those that there are, with their metadata
	withoutMetadata                     // metadata is always empty
	minusOneIfAbsent                    // and -1 stands for none
)

// habitsOf returns the habits of a profile; false says that there is no such
// profile. The one without a name is the original together with what others have
// added and its clients do not notice.
func habitsOf(profile string) (habits, bool) {
	switch profile {
	case "":
		return habits{async: true}, true
	case profileConfluent:
		return habits{}, true
	case profileStrimzi:
		return habits{
			async: true, text: true, exactTypes: true, wholeRecords: true, results: strimziResults, timestamps: true, headers: true,
			commitsGiven: true, commitIsEmpty: true, strictConsumer: true, longReads: true, oneSubscription: true, rephrase: asStrimzi,
		}, true
	case profileKarapace:
		return habits{
			async: true, answerType: mediaJSON, looseTypes: true, internalTopics: true, knownTopics: true, results: karapaceResults, timestamps: true,
			commitsSomething: true, commitIsEmpty: true, offsets: withoutMetadata, reset: kafka.ResetEarliest, longReads: true, positiveReads: true,
			oneSubscription: true, splitNotFound: true, rephrase: asKarapace,
		}, true
	case profileRedpanda:
		return habits{
			async: true, explicitReads: true, results: redpandaResults, commitsGiven: true, commitIsEmpty: true, offsets: minusOneIfAbsent,
			reset: kafka.ResetEarliest, manualCommit: true, onlyDefaults: true, cleanNames: true,
		}, true
	}
	return habits{}, false
}

// profiles are the names that the configuration can give.
var profiles = []string{profileConfluent, profileStrimzi, profileKarapace, profileRedpanda}

// A cause says what kind of mistake a refusal is about, for the profiles that
// answer some kinds in another way.
type cause int

const (
	otherCause   cause = iota
	unknownCause       // a field that the API does not have
	shapeCause         // a value that its description does not allow
	absentCause        // a member that has to be there, of an object that is not a produce request
	formatCause        // a format or a reset policy of an instance that there is not
	dataCause          // a key or value that its format does not allow
	fullCause          // too much is under way
)

// asStrimzi says an error as Strimzi's bridge does: codes are HTTP's own, and
// what its description of the API does not allow is a validation error.
func asStrimzi(e *refusal) *refusal {
	said := *e
	switch e.cause {
	case unknownCause, shapeCause, absentCause:
		said.status, said.message, said.problems = badRequest, "Validation error on: "+e.message, []string{e.message}
	case dataCause:
		said.status = unprocessable
	case fullCause:
		said.status, said.message = 503, "Bridge is overloaded, please retry later"
	}
	said.code = said.status
	return &said
}

// asKarapace says an error as Karapace does.
func asKarapace(e *refusal) *refusal {
	said := *e
	switch e.cause {
	case unknownCause:
		said.status, said.code, said.message = unprocessable, 422, "Invalid request format"
	case absentCause:
		said.status, said.code = 500, 50001
	case formatCause:
		said.status, said.code = unprocessable, 42204
	}
	return &said
}

// hasControl says whether one of some names has a control character.
func hasControl(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return strings.ContainsFunc(name, func(c rune) bool { return c < 0x20 || c == 0x7f })
	})
}

// errControl is the answer to a name with a control character.
var errControl = refuse(badRequest, 40002, "A name must not have control characters")
