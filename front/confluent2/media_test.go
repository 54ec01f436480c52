package confluent2

import (
	"net/http"
	"slices"
	"testing"
)

func TestNegotiation(t *testing.T) {
	for _, c := range []struct {
		name, accept string
		strict       bool
		want         string
	}{
		{"own type", mediaV2, false, mediaV2},
		{"any", "*/*", false, mediaV2},
		{"any of the kind", "application/*;q=0.1", false, mediaV2},
		{"upper case", "APPLICATION/JSON", false, mediaPlain},
		{"the client's quality first", mediaV2 + ";q=0.3, " + mediaPlain + ";q=0.4", false, mediaPlain},
		{"then how specific", mediaPlain + ", */*", false, mediaPlain},
		{"then the server's quality", mediaPlain + ", " + mediaV2, false, mediaV2},
		{"a quality of zero excludes", mediaV2 + ";q=0, " + mediaOld + ";q=0, */*", false, mediaPlain},
		{"parameters", mediaV2 + "; charset=utf-8 ; q=1.0", false, mediaV2},
		{"a quality that is none excludes", mediaV2 + ";q=high", false, ""},
		{"qualities above one", mediaPlain + ";q=5, " + mediaV2, false, mediaV2},
		{"what is no entry is left out", ", ;;, json, */json, " + mediaPlain, false, mediaPlain},
		{"nothing fits", "text/html, image/*", false, ""},
		{"strict has no older type", mediaPlain + ", " + mediaOld, true, ""},
		{"strict, any", "*/*", true, mediaV2},
	} {
		if got := negotiate(c.accept, v2Only, c.strict); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestContentFormats(t *testing.T) {
	const refused = format(-1)
	for _, c := range []struct {
		in              string
		lenient, strict format
	}{
		{mediaJSON, formatJSON, formatJSON},
		{mediaBinary, formatBinary, formatBinary},
		{"Application/Vnd.Kafka.JSON.v2+json ;charset=x", formatJSON, formatJSON},
		{"application/vnd.kafka.avro.v2+json", formatSchema, formatSchema},
		{"application/vnd.kafka.jsonschema.v2+json", formatSchema, formatSchema},
		{"application/vnd.kafka.protobuf.v2+json", formatSchema, formatSchema},
		{"application/vnd.kafka.binary.v1+json", formatBinary, refused},
		{mediaV2, formatBinary, refused},
		{mediaOld, formatBinary, refused},
		{"application/vnd.kafka.v1+json", formatBinary, refused},
		{"application/vnd.kafka.json.v3+json", refused, refused},
		{"application/vnd.kafka.json+json", refused, refused},
		{"application/vnd.kafka.json.v2+xml", refused, refused},
		{"application/vnd.kafkaesque", refused, refused},
		{"application/json", formatNone, refused},
		{"application/octet-stream", formatNone, refused},
		{"application/x-www-form-urlencoded", formatNone, refused},
		{"", formatNone, refused},
		{"nonsense; ;;", formatNone, refused},
	} {
		for strict, want := range map[bool]format{false: c.lenient, true: c.strict} {
			got, err := newAPI(nil, Config{StrictMediaTypes: strict}).contentFormat(c.in)
			if err != nil {
				got = refused
			}
			if got != want {
				t.Errorf("%q, strict %v: got %v, want %v", c.in, strict, got, want)
			}
		}
	}
}

func FuzzAccept(f *testing.F) {
	for _, seed := range []string{"*/*", mediaV2 + "; q=0.9, application/json; q=0.5", "a/b;q=1e9,;q=-1,/,*/x", "text/*;q=0.30000000000000004;q=NaN"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		r := &http.Request{Header: http.Header{"Accept": {accept}}}
		for _, strict := range []bool{false, true} {
			a := newAPI(nil, Config{StrictMediaTypes: strict})
			for _, offers := range [][]offer{v2Only, reads} {
				got, err := a.accept(r, offers)
				i := slices.IndexFunc(offers, func(o offer) bool { return o.media == got })
				if (err == nil) != (i >= 0) || i >= 0 && strict && offers[i].lenient {
					t.Errorf("%q: got %q, %v", accept, got, err)
				}
			}
			if got := a.errorMedia(r); !slices.ContainsFunc(anyType, func(o offer) bool { return o.media == got }) {
				t.Errorf("%q: an error has the type %q", accept, got)
			}
			_, _ = a.contentFormat(accept)
		}
	})
}

func TestAnEmptyAcceptTakesAnything(t *testing.T) {
	a := newAPI(nil, Config{StrictMediaTypes: true})
	for _, accept := range []string{"", "  "} {
		r := &http.Request{Header: http.Header{"Accept": {accept}}}
		if got, err := a.negotiated(r, v2Only); got != mediaV2 || err != nil {
			t.Errorf("%q: got %q, %v", accept, got, err)
		}
	}
}
