package catalog

// KindConnector is the kind of connectors of Kafka Connect's API: sinks, each of which
// runs as a pipe (event-bus.md 13).
const KindConnector = "connector"

// ConnectorPipe returns the name of the pipe that a connector runs as.
func ConnectorPipe(connector string) string { return "klamm.connector." + connector }

// A Connector makes a pipe a sink connector. Keys and values that are framed for a
// schema registry become JSON as Kafka Connect makes it.
type Connector struct {
	// Name is that of the connector.
	Name string
	// Key and Value say which of both a converter with schemas reads.
	Key, Value bool
	// Enveloped says that values are JSON of Kafka Connect, an object of schema and
	// payload, of which the payload is delivered.
	Enveloped bool
	// Headers gives dead letters the headers of Kafka Connect (__connect.errors.*),
	// beside those of every pipe.
	Headers bool
	// Attempts is how often a batch is put before the connector's tasks fail: the pipe
	// halts, and nothing is given up. 0 means without end.
	Attempts int
}
