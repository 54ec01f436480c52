package catalog

// A Login is how a pipe logs in to the cluster that it reads from, where that is not
// as klamm itself does. Pipes with the same login share their connections. What its
// secrets hold is read anew for each connection.
type Login struct {
	// Brokers are bootstrap servers, each HOST:PORT, with commas between them. Empty
	// are those of Cluster.
	Brokers string
	// Cluster is the one of kafka.clusters that is logged in to, with the authorities
	// and the allow_insecure that it has there; empty and without Brokers it is
	// klamm's own.
	Cluster string
	// Auth is how: mtls, scram-512, scram-256 or plain, with Credentials, the name or
	// the ARN of a secret. Without, it is as Cluster says, and of Brokers without TLS,
	// or with it where there is a RootCA.
	Auth, Credentials string
	// RootCA is the name or the ARN of a secret with the authorities of the brokers'
	// certificates; empty are those of Cluster, or the system's.
	RootCA string
}
