// Package bench is klamm bench: it measures klamm on this machine and beside a
// bare Go program that does the same work, so that a figure means something on
// any machine.
//
// # How a measurement is made
//
// Run plays the conductor and does no work while something is measured. Every
// part is a process of its own, started from the same executable:
//
//	load ---HTTP---> klamm serve | yardstick ---Kafka---> broker     front door
//	load <--HTTP---- klamm serve | yardstick <--Kafka---- broker     front door, read
//	broker --Kafka-> klamm serve | yardstick ---HTTP----> sink       back door
//
// The parts other than klamm itself are called roles; Role runs one. A role is
// given its configuration as one JSON document and prints JSON lines. The load
// and the sink read the server's CPU time themselves at the two ends of the
// measured stretch, so start and stop cost nobody anything.
//
// Sides are measured in turn (A B A B ...), and a share is the median of the
// shares of the rounds: what else the machine does then hits both alike.
//
// # Where things are
//
// front*.go and pipe.go hold what is measured at each door; process.go starts
// and ends processes; load*.go, sink.go, yardstick_*.go and roles.go are the
// roles; document.go is the data; stats.go and report.go are arithmetic and
// layout. Limits, in limits*.go, measures memory instead of speed: what is the
// largest that klamm is asked for, each time a klamm of its own. There the
// conductor asks by itself.
package bench
