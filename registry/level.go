package registry

import (
	"strings"
)

// A Level says which versions a new one must get along with, and in which direction.
type Level string

// The levels: Backward means that readers with the new schema can read what was
// written with the last one, Forward the opposite, Full both; the transitive ones ask
// for it of all versions.
const (
	None               Level = "NONE"
	Backward           Level = "BACKWARD"
	BackwardTransitive Level = "BACKWARD_TRANSITIVE"
	Forward            Level = "FORWARD"
	ForwardTransitive  Level = "FORWARD_TRANSITIVE"
	Full               Level = "FULL"
	FullTransitive     Level = "FULL_TRANSITIVE"
)

// ParseLevel reads a level in any case.
func ParseLevel(text string) (Level, error) {
	switch l := Level(strings.ToUpper(text)); l {
	case None, Backward, BackwardTransitive, Forward, ForwardTransitive, Full, FullTransitive:
		return l, nil
	}
	return "", refuse(codeInvalidLevel, "Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive")
}

func (l Level) transitive() bool { return strings.HasSuffix(string(l), "_TRANSITIVE") }
func (l Level) backward() bool {
	return strings.HasPrefix(string(l), "BACKWARD") || strings.HasPrefix(string(l), "FULL")
}
func (l Level) forward() bool {
	return strings.HasPrefix(string(l), "FORWARD") || strings.HasPrefix(string(l), "FULL")
}

// A Mode says what may be done to subjects.
type Mode string

// The modes. ReadOnlyOverride, set for all, counts whatever a subject's own mode is;
// Import lets schemas in with the ids and versions that they have elsewhere, and no
// others.
const (
	ReadWrite        Mode = "READWRITE"
	ReadOnly         Mode = "READONLY"
	ReadOnlyOverride Mode = "READONLY_OVERRIDE"
	Import           Mode = "IMPORT"
)

// ParseMode reads a mode in any case.
func ParseMode(text string) (Mode, error) {
	switch m := Mode(strings.ToUpper(text)); m {
	case ReadWrite, ReadOnly, ReadOnlyOverride, Import:
		return m, nil
	}
	return "", refuse(codeInvalidMode, "Invalid mode. Valid values are READWRITE, READONLY, READONLY_OVERRIDE, and IMPORT.")
}

func (m Mode) readOnly() bool { return m == ReadOnly || m == ReadOnlyOverride }
