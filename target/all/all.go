// Package all lists the targets that klamm has. A new kind is one folder and one
// line here.
package all

import (
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/function"
	"github.com/klamm-gateway/klamm/target/log"
	"github.com/klamm-gateway/klamm/target/objectstore"
	"github.com/klamm-gateway/klamm/target/queue"
	"github.com/klamm-gateway/klamm/target/topic"
	"github.com/klamm-gateway/klamm/target/webhook"
)

// Kinds returns all target kinds.
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
