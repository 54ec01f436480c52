// Package all lists the targets that klamm has. A new kind is one folder and one
// line here.
package all

import (
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/bus"
	"github.com/klamm-gateway/klamm/target/function"
	"github.com/klamm-gateway/klamm/target/log"
	"github.com/klamm-gateway/klamm/target/nowhere"
	"github.com/klamm-gateway/klamm/target/objectstore"
	"github.com/klamm-gateway/klamm/target/queue"
	"github.com/klamm-gateway/klamm/target/sink"
	"github.com/klamm-gateway/klamm/target/topic"
	"github.com/klamm-gateway/klamm/target/webhook"
)

// All returns all target kinds.
func All() []target.Kind { return append(Kinds(), bus.Kind(), nowhere.Kind(), sink.Kind()) }

// Kinds returns the kinds that a configuration file can name. The others are made from
// definitions.
func Kinds() []target.Kind {
	return []target.Kind{
		function.Kind(),
		log.Kind(topic.Kind()),
		objectstore.Kind(),
		queue.Kind(),
		topic.Kind(),
		webhook.Kind(),
	}
}
