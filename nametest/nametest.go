// Package nametest answers the questions of a test's process for names of hosts, so that
// no test waits for, or believes, the machine's name servers: there is no host but those
// of the hosts file. A test needs only to import it.
package nametest

import (
	"context"
	"encoding/binary"
	"io"
	"net"
)

func init() {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: dial}
}

func dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	go serve(there)
	return here, nil
}

// serve answers DNS messages in the framing of TCP until the other side has enough.
func serve(c net.Conn) {
	defer c.Close()
	for {
		var length [2]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		question := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, question); err != nil {
			return
		}
		a := noSuchName(question)
		if a == nil {
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...)); err != nil { //nolint:gosec // shorter than the question
			return
		}
	}
}

// noSuchName returns the answer that the name of a question does not exist (RFC 1035,
// section 4.1); nil where it is no question.
func noSuchName(question []byte) []byte {
	const header = 12
	end := header
	for end < len(question) && question[end] != 0 {
		end += 1 + int(question[end])
	}
	end += 1 + 4 // the root, a type and a class
	if end > len(question) {
		return nil
	}
	a := append([]byte(nil), question[:end]...)
	a[2], a[3] = 0x81, 0x83                           // an answer, recursive, NXDOMAIN
	copy(a[4:header], []byte{0, 1, 0, 0, 0, 0, 0, 0}) // one question and nothing else
	return a
}
