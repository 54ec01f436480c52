package front

import (
	"strconv"
	"strings"
)

// mostAccepted bounds what is read of Accept headers, in bytes.
const mostAccepted = 8 << 10

// preferred returns which of some media types a client wants most, by its Accept headers
// (RFC 9110, 12.5.1): each is accepted as the range says that is nearest to it, and of
// equals the first counts. It is -1 where the headers say nothing, or accept none.
// Parameters of the types do not matter.
func preferred(accept, offers []string) int {
	best, most := -1, 0.0
	for i, offer := range offers {
		if q := acceptance(accept, offer); q > most {
			best, most = i, q
		}
	}
	return best
}

// acceptance is the quality, from 0 to 1, that Accept headers give a media type.
func acceptance(accept []string, offer string) (quality float64) {
	offer, _, _ = strings.Cut(strings.ToLower(offer), ";")
	offer = strings.TrimSpace(offer)
	kind, _, _ := strings.Cut(offer, "/")
	nearest, left := 0, mostAccepted
	for _, field := range accept {
		field = strings.ToLower(field[:min(len(field), left)])
		left -= len(field)
		for entry := range strings.SplitSeq(field, ",") {
			named, parameters, _ := strings.Cut(entry, ";")
			near := 0
			switch strings.TrimSpace(named) {
			case offer:
				near = 3
			case kind + "/*":
				near = 2
			case "*/*":
				near = 1
			}
			if near > nearest {
				nearest, quality = near, qualityOf(parameters)
			}
		}
	}
	return quality
}

// qualityOf reads the parameter q of an entry of an Accept header in lower case: 1 without
// one, and 0 where it is not a number.
func qualityOf(parameters string) float64 {
	for p := range strings.SplitSeq(parameters, ";") {
		if value, ok := strings.CutPrefix(strings.TrimSpace(p), "q="); ok {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil || q != q || q < 0 {
				return 0
			}
			return min(q, 1)
		}
	}
	return 1
}
