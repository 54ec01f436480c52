package pipe

import (
	"context"
	"log/slog"

	"github.com/klamm-gateway/klamm/catalog"
)

// mappingLog is the log of an event source mapping, with the level that it asks for
// (event-source-mapping.md 17).
func mappingLog(log *slog.Logger, e catalog.Envelope) *slog.Logger {
	switch e.LogLevel {
	case "DEBUG":
		log = slog.New(leveled{log.Handler(), slog.LevelDebug})
	case "WARN":
		log = slog.New(leveled{log.Handler(), slog.LevelWarn})
	}
	return log.With("mapping", e.Mapping)
}

// leveled is a handler with a level of its own. What the other handler would leave out
// because of its level is passed on as information.
type leveled struct {
	slog.Handler
	least slog.Level
}

// Enabled says whether a level is written.
func (l leveled) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= l.least && l.Handler.Enabled(ctx, max(level, slog.LevelInfo))
}

// Handle writes a record.
func (l leveled) Handle(ctx context.Context, r slog.Record) error {
	if !l.Handler.Enabled(ctx, r.Level) {
		r.Level = slog.LevelInfo
	}
	return l.Handler.Handle(ctx, r)
}

// WithAttrs returns a handler that writes attributes with every record.
func (l leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return leveled{l.Handler.WithAttrs(attrs), l.least}
}

// WithGroup returns a handler that puts attributes into a group.
func (l leveled) WithGroup(name string) slog.Handler {
	return leveled{l.Handler.WithGroup(name), l.least}
}
