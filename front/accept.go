package front

import (
	"strconv"
	"strings"
)

// mostAccepted bounds what is read of Accept headers, in bytes.
const mostAccepted = 8 << 10

// Accept is what the Accept headers of a request say (RFC 9110, 12.5.1), in their order.
type Accept []MediaRange

// A MediaRange is one entry of an Accept header.
type MediaRange struct {
	Media   string  // type/subtype, type/* or */*, in lower case
	Quality float64 // from 0, which refuses, to 1
}

// ParseAccept reads Accept headers. A quality that is no number refuses; other parameters
// do not matter, and entries that are none are left out. "*" alone is any type, as for the
// servers that klamm stands in for.
func ParseAccept(fields []string) Accept {
	var all Accept
	left := mostAccepted
	for _, field := range fields {
		field = strings.ToLower(field[:min(len(field), left)])
		left -= len(field)
		for entry := range strings.SplitSeq(field, ",") {
			media, parameters, _ := strings.Cut(entry, ";")
			if media = strings.TrimSpace(media); media == "*" {
				media = "*/*"
			}
			if kind, subtype, _ := strings.Cut(media, "/"); kind != "" && subtype != "" {
				all = append(all, MediaRange{media, qualityOf(parameters)})
			}
		}
	}
	return all
}

// Quality is how much a media type is wanted, from 0 to 1: as the range says that is
// nearest to it. That range is 3 near if it names the type, 2 if its kind, 1 if any, and
// 0 where there is none. Parameters of the type do not matter.
func (a Accept) Quality(media string) (quality float64, near int) {
	media, _, _ = strings.Cut(strings.ToLower(media), ";")
	media = strings.TrimSpace(media)
	kind, _, _ := strings.Cut(media, "/")
	for _, m := range a {
		is := 0
		switch named, subtype, _ := strings.Cut(m.Media, "/"); {
		case m.Media == media:
			is = 3
		case named == kind && subtype == "*":
			is = 2
		case m.Media == "*/*":
			is = 1
		}
		if is > near {
			near, quality = is, m.Quality
		}
	}
	return quality, near
}

// Preferred returns which of some media types is wanted most; of equals the first counts.
// It is -1 where the headers say nothing, or accept none.
func (a Accept) Preferred(offers []string) int {
	best, most := -1, 0.0
	for i, offer := range offers {
		if quality, _ := a.Quality(offer); quality > most {
			best, most = i, quality
		}
	}
	return best
}

// qualityOf reads the parameter q of an entry of an Accept header in lower case: 1 without
// one, and 0 where it is not a number.
func qualityOf(parameters string) float64 {
	for p := range strings.SplitSeq(parameters, ";") {
		if name, value, ok := strings.Cut(p, "="); ok && strings.TrimSpace(name) == "q" {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil || q != q || q < 0 {
				return 0
			}
			return min(q, 1)
		}
	}
	return 1
}
