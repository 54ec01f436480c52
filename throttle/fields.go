package throttle

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"
	"time"
)

// A State is how a bucket stands after a call, in the terms of the RateLimit
// header fields (draft-ietf-httpapi-ratelimit-headers, September 2025).
type State struct {
	Name      string
	Unit      Unit
	Quota     int64 // what it holds when it is full
	Window    int64 // seconds in which it fills; 1 of what goes on at once
	Remaining int64
	Reset     int64 // seconds until something remains; 0 if it does

	partition key // of a bucket that is not everybody's
}

func stateOf(l *limit, k key, tokens float64) State {
	if len(l.rule.key) == 0 {
		k = key{}
	}
	st := State{partition: k, Name: l.name, Unit: l.unit, Quota: int64(l.rate.burst), Remaining: max(int64(math.Floor(tokens+slack)), 0)}
	st.Window = max(int64(math.Ceil(l.rate.burst/l.rate.perSecond-slack)), 1)
	if st.Remaining == 0 {
		st.Reset = int64(math.Ceil(l.rate.wait(tokens, 1, false)))
	}
	return st
}

// stateUnder is how a bound of what goes on at once stands: a call that has got its
// place gives it back with its answer, so that only the others count; one that has
// got none sees nothing remain.
func stateUnder(l *limit, k key, others int) State {
	if len(l.rule.key) == 0 {
		k = key{}
	}
	st := State{partition: k, Name: l.name, Unit: l.unit, Quota: int64(l.most), Window: 1, Remaining: int64(max(l.most-others, 0))}
	if st.Remaining == 0 {
		st.Reset = int64(onceMore / time.Second)
	}
	return st
}

// Low says whether less than a quarter remains.
func (s State) Low() bool { return s.Remaining*4 < s.Quota }

// Fields returns the values of the header fields RateLimit-Policy and RateLimit. With
// partitions they name the buckets too, by a hash that only this process can make.
func Fields(states []State, partitions bool) (policy, limit string) {
	var p, l []byte
	for i, s := range states {
		if i > 0 {
			p, l = append(p, ", "...), append(l, ", "...)
		}
		p = append(append(append(p, '"'), s.Name...), '"')
		p = strconv.AppendInt(append(p, ";q="...), s.Quota, 10)
		p = strconv.AppendInt(append(p, ";w="...), s.Window, 10)
		switch s.Unit {
		case Bytes:
			p = append(p, `;qu="content-bytes"`...)
		case Records:
			p = append(p, `;qu="klamm-records"`...)
		case Concurrency:
			p = append(p, `;qu="concurrent-requests"`...)
		case Streams:
			p = append(p, `;qu="klamm-streams"`...)
		}
		l = append(append(append(l, '"'), s.Name...), '"')
		l = strconv.AppendInt(append(l, ";r="...), s.Remaining, 10)
		l = strconv.AppendInt(append(l, ";t="...), s.Reset, 10)
		if partitions && s.partition != (key{}) {
			var raw [16]byte
			binary.BigEndian.PutUint64(raw[:8], s.partition[0])
			binary.BigEndian.PutUint64(raw[8:], s.partition[1])
			pk := ";pk=:" + base64.StdEncoding.EncodeToString(raw[:]) + ":"
			p, l = append(p, pk...), append(l, pk...)
		}
	}
	return string(p), string(l)
}
