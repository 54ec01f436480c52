package pipe

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHowAMappingFaresAltogether(t *testing.T) {
	t.Parallel()
	source := MappingResult{"EVENT_SOURCE_AUTHN_ERROR", "PROBLEM: SASL authentication failed."}
	nothing, well := mappingNote{MappingResult: MappingResult{UserInitiated, NothingProcessed}}, mappingNote{MappingResult: MappingResult{UserInitiated, Processed}}
	failed := func(parts map[int32]string) mappingNote {
		n := mappingNote{MappingResult: MappingResult{UserInitiated, functionFailed}, Partitions: parts}
		for _, reason := range parts {
			if reason == functionNotValid {
				n.Reason = functionNotValid
			}
		}
		return n
	}
	for _, tc := range []struct {
		name  string
		noted *mappingNote // nil: nothing is
		view  mappingView
		want  mappingNote
	}{
		{"it has just begun", nil, mappingView{}, nothing},
		{"it is well", &nothing, mappingView{fares: map[int32]string{0: ""}, worked: true}, well},
		{"it was well before", &well, mappingView{}, well},
		{"the function fails", &well, mappingView{fares: map[int32]string{0: "", 1: UserInitiated}, worked: true}, failed(map[int32]string{1: UserInitiated})},
		{"elsewhere, too", new(failed(map[int32]string{2: functionNotValid})), mappingView{fares: map[int32]string{1: UserInitiated}}, failed(map[int32]string{1: UserInitiated, 2: functionNotValid})},
		{"only elsewhere", new(failed(map[int32]string{2: functionNotValid})), mappingView{fares: map[int32]string{0: "", 1: ""}, worked: true}, failed(map[int32]string{2: functionNotValid})},
		{"taken over, and well", new(failed(map[int32]string{2: functionNotValid})), mappingView{fares: map[int32]string{0: "", 2: ""}, worked: true}, well},
		{"noted by an earlier version", new(failed(nil)), mappingView{fares: map[int32]string{0: ""}, worked: true}, well},
		{"noted by an earlier version, and nothing worked yet", new(failed(nil)), mappingView{}, failed(nil)},
		{"the source fails", &well, mappingView{source: &trouble{source}, worked: true}, mappingNote{MappingResult: source}},
		{"the source fails, and the function", new(failed(map[int32]string{2: UserInitiated})), mappingView{source: &trouble{source}}, mappingNote{source, map[int32]string{2: UserInitiated}}},
		{"the source fails elsewhere", &mappingNote{MappingResult: source}, mappingView{worked: true, said: well.MappingResult}, mappingNote{MappingResult: source}},
		{"the source is well again", &mappingNote{MappingResult: source}, mappingView{worked: true, said: source}, well},
	} {
		noted, known := mappingNote{}, tc.noted != nil
		if known {
			noted = *tc.noted
		}
		if diff := cmp.Diff(tc.want, tc.view.over(noted, known)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}
