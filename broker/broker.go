// Package broker runs the embedded Kafka broker behind klamm dev: one process,
// one machine, data on disk, no replication.
//
// It is franz-go's kfake with the guards that make it fit for daily use: a lock
// on the data directory, small segments and a tight garbage collector while the
// log is read at start, a timer for retention and compaction, topics that are on
// disk before their first record is acknowledged, a bound on how many partitions
// one request may make, and an end for transactions that a kill has cut off. Nobody
// else in klamm knows that it exists; everybody talks to it over its TCP port, as to
// any other broker.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// upkeep is how often retention is enforced and compacted topics are compacted.
const upkeep = time.Minute

// Config says where the broker listens and keeps its data.
type Config struct {
	// Listen is HOST:PORT; port 0 takes a free one.
	Listen string
	// Dir is the data directory. It is created if it does not exist, and only
	// one broker can use it at a time.
	Dir string
	// Partitions is how many partitions a topic gets that is created without
	// saying so; 0 means 4.
	Partitions int
	// MaxMessageBytes bounds one record batch; 0 means 64 MiB.
	MaxMessageBytes int
	// Log receives what goes wrong; nil is silent.
	Log *slog.Logger
}

var (
	// ErrLocked says that another process uses the data directory.
	ErrLocked = errors.New("another klamm uses this data directory")
	// ErrListen says that the address cannot be listened on.
	ErrListen = errors.New("cannot listen")
	// ErrData says that the data directory cannot be used.
	ErrData = errors.New("cannot use the data directory")
)

// A Broker is a running embedded broker.
type Broker struct {
	cluster *kfake.Cluster
	dir     string
	lock    *os.File
	addrs   []string
	stop    chan struct{}
	stopped sync.WaitGroup
	once    sync.Once
}

// clusterID is the id of every embedded cluster.
const clusterID = "klamm-embedded"

// Start starts a broker and returns when it answers. The error is ErrLocked,
// ErrListen or ErrData where one of them fits (errors.Is). The context is not
// used after Start has returned.
func Start(ctx context.Context, cfg Config) (*Broker, error) {
	noRack()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if cfg.Partitions == 0 {
		cfg.Partitions = 4
	}
	if cfg.MaxMessageBytes == 0 {
		cfg.MaxMessageBytes = 64 << 20
	}
	host, port, err := splitListen(cfg.Listen)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrData, err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	interrupted, err := interruptions(cfg.Dir)
	if err != nil {
		unlockDir(lock)
		return nil, fmt.Errorf("%w: %v", ErrData, err)
	}
	var listenErr error
	// Reading the log back allocates far more than it keeps, so the collector
	// is kept on a short leash until that is over.
	percent := debug.SetGCPercent(25)
	cluster, err := kfake.NewCluster(
		kfake.Ports(port),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			l, err := net.Listen(network, net.JoinHostPort(host, strconv.Itoa(port)))
			listenErr = err
			return l, err
		}),
		kfake.ClusterID(clusterID),
		kfake.DataDir(filepath.Join(cfg.Dir, "broker")),
		kfake.DefaultNumPartitions(cfg.Partitions),
		kfake.AllowAutoTopicCreation(),
		kfake.GroupMinSessionTimeout(time.Second),
		kfake.WithLogger(logger{cfg.Log}),
		kfake.BrokerConfigs(map[string]string{
			"log.segment.bytes":         strconv.Itoa(16 << 20),
			"message.max.bytes":         strconv.Itoa(cfg.MaxMessageBytes),
			"offsets.retention.minutes": strconv.Itoa(7 * 24 * 60),
			"log.cleaner.backoff.ms":    strconv.Itoa(int(upkeep / time.Millisecond)),
		}),
	)
	debug.SetGCPercent(percent)
	if err != nil {
		unlockDir(lock)
		if listenErr != nil {
			return nil, fmt.Errorf("%w: %v", ErrListen, listenErr)
		}
		return nil, fmt.Errorf("%w: %v", ErrData, err)
	}
	b := &Broker{cluster: cluster, dir: cfg.Dir, lock: lock, stop: make(chan struct{})}
	b.addrs = cluster.ListenAddrs()
	b.cluster.ControlKey(int16(kmsg.Metadata), b.metadata)
	b.cluster.ControlKey(int16(kmsg.CreateTopics), b.createTopics)
	b.cluster.ControlKey(int16(kmsg.CreatePartitions), b.createPartitions)
	if err := b.abort(ctx, interrupted); err != nil {
		cluster.Close()
		unlockDir(lock)
		return nil, fmt.Errorf("%w: %v", ErrData, err)
	}
	b.stopped.Add(1)
	go b.keepUp()
	return b, nil
}

// Addrs returns the addresses the broker listens on, each HOST:PORT.
func (b *Broker) Addrs() []string { return b.addrs }

// Close writes the broker's state to disk and ends it. It may be called more
// than once.
func (b *Broker) Close() (failed error) {
	b.once.Do(func() {
		close(b.stop)
		b.stopped.Wait()
		b.cluster.Close()
		// Without the file, the next start looks for what a kill has left.
		failed = os.WriteFile(filepath.Join(b.dir, cleanFile), nil, 0o600)
		unlockDir(b.lock)
	})
	return failed
}

// keepUp enforces broker-wide retention, which kfake never does by itself,
// until Close.
func (b *Broker) keepUp() {
	defer b.stopped.Done()
	t := time.NewTicker(upkeep)
	defer t.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-t.C:
			b.cluster.Compact()
		}
	}
}

// metadata looks at metadata requests before kfake does.
func (b *Broker) metadata(req kmsg.Request) (kmsg.Response, error, bool) {
	if m, ok := req.(*kmsg.MetadataRequest); ok && m.AllowAutoTopicCreation {
		b.createBeforeUse(m)
	}
	return nil, nil, false
}

// createBeforeUse creates the topics that a metadata request would create, in
// the way that is written to disk at once. A topic made by the metadata request
// itself is not written until the next explicit create, and a kill before then
// would lose it together with all records acknowledged in it.
func (b *Broker) createBeforeUse(m *kmsg.MetadataRequest) {
	if len(m.Topics) == 0 {
		return
	}
	b.cluster.SleepControl(func() {
		for _, t := range m.Topics {
			if t.Topic == nil || *t.Topic == "" || b.cluster.TopicInfo(*t.Topic) != nil {
				continue
			}
			// A name that is refused here is refused again, with its error
			// code, when the request itself is answered.
			_ = b.cluster.CreateTopic(*t.Topic, -1, nil)
		}
	})
}

// splitListen takes HOST:PORT apart.
func splitListen(listen string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("%w on %q: want HOST:PORT", ErrListen, listen)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%w on %q: the port must be a number from 0 to 65535", ErrListen, listen)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return host, port, nil
}

// logger passes kfake's warnings and errors on.
type logger struct{ log *slog.Logger }

func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	if l.log == nil || level > kfake.LogLevelWarn {
		return
	}
	l.log.Warn("embedded broker", "message", fmt.Sprintf(format, args...))
}
