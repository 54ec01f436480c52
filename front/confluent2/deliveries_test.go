package confluent2

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/gate"
)

// pieced counts the writes of an answer.
type pieced struct {
	*httptest.ResponseRecorder
	writes int
}

func (p *pieced) Write(b []byte) (int, error) {
	p.writes++
	return p.ResponseRecorder.Write(b)
}

func TestLongAnswersAreWrittenInPieces(t *testing.T) {
	for _, c := range []struct {
		name           string
		records, bytes int // of each value
		pieces         int
	}{
		{"nothing", 0, 0, 1},
		{"one piece", 200, 1000, 1},
		{"several pieces", 800, 1000, 4},
		{"large records", 3, 2 * keptPiece, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			value := strconv.Quote(strings.Repeat("x", max(c.bytes-2, 0)))
			var got []gate.Delivery
			for i := range c.records {
				got = append(got, gate.Delivery{Record: &kgo.Record{Topic: "t", Value: []byte(value), Offset: int64(i)}})
			}
			for range 2 { // the second time in the memory of the first
				w := &pieced{ResponseRecorder: httptest.NewRecorder()}
				if err := writeDeliveries(w, mediaJSON, got, "json", &habits{}); err != nil {
					t.Fatal(err)
				}
				if w.writes != c.pieces || w.Code != http.StatusOK || w.Header().Get("Content-Type") != mediaJSON {
					t.Errorf("status %d, %v, %d pieces, want %d", w.Code, w.Header(), w.writes, c.pieces)
				}
				if length := w.Header().Get("Content-Length"); length != "" && length != fmt.Sprint(w.Body.Len()) {
					t.Errorf("Content-Length %s of %d bytes", length, w.Body.Len())
				}
				var records []struct {
					Value  json.RawMessage `json:"value"`
					Offset int             `json:"offset"`
				}
				if err := json.Unmarshal(w.Body.Bytes(), &records); err != nil || len(records) != c.records {
					t.Fatalf("%d records, want %d: %v", len(records), c.records, err)
				}
				for i, r := range records {
					if r.Offset != i || string(r.Value) != value {
						t.Fatalf("record %d: offset %d, %.50s", i, r.Offset, r.Value)
					}
				}
			}
		})
	}
}
