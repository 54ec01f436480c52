// Package kafka is the only package that talks to brokers.
//
// A Cluster is one Kafka cluster as klamm sees it: producing for the front
// door, stateless fetching, metadata and administration, and memberships of
// consumer groups for the back door. Records are *kgo.Record throughout, and
// errors from brokers pass through as *kerr.Error.
//
// A Cluster keeps two clients. Producing may create a topic where the broker
// allows it; reading never may, and a client that is allowed to create topics
// creates them by asking for their metadata, so reads go through the other one.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-gateway/klamm/secret"
)

// Config is the kafka section of the configuration file.
type Config struct {
	// Brokers are the bootstrap servers, each HOST:PORT.
	Brokers []string `yaml:"brokers"`
	// Auth is how klamm logs in: auto (the default: of what is configured the
	// strongest), mtls, scram-512, scram-256, plain, oauth, iam, tls or none. Another
	// way is never tried.
	Auth string `yaml:"auth"`
	// Credentials are what klamm shows.
	Credentials *Credentials `yaml:"credentials"`
	// RootCA holds the authorities of the brokers' certificates, PEM; only these are
	// trusted then. The default is the system's.
	RootCA *Source `yaml:"root_ca"`
	// OAuth is where the tokens of auth: oauth come from.
	OAuth *OAuth `yaml:"oauth"`
	// AllowInsecure does without TLS where there is no root_ca: passwords are then sent
	// in clear text, or can be guessed by who listens.
	AllowInsecure bool `yaml:"allow_insecure"`
	// Identity says as whom calls of the front door are made: gateway (the default: as
	// klamm itself), mapped (as Mapped says) or passthrough (as the caller, by the
	// caller's own credentials).
	Identity string `yaml:"identity"`
	// Mapped are the credentials of identity: mapped. The first entry that names the
	// caller counts; without one the call is refused.
	Mapped []Mapped `yaml:"mapped"`
	// StampPrincipal writes the caller's name into the header klamm-principal of each record;
	// a stage or route may say otherwise. Callers cannot write that header then.
	StampPrincipal bool `yaml:"stamp_principal"`
	// Clusters are further clusters, which targets and stages name.
	Clusters []Further `yaml:"clusters"`

	// Producing is given beside this section, as are Secrets, which finds secrets that
	// have a name, and Region, that of AWS.
	Producing Producing     `yaml:"-"`
	Secrets   *secret.Store `yaml:"-"`
	Region    string        `yaml:"-"`
	// Reach says whether an address may be connected to; nil: all may.
	Reach func(netip.Addr) error `yaml:"-"`
}

// login is how the section says to log in.
func (c Config) login() Login {
	return Login{Auth: c.Auth, Credentials: c.Credentials, RootCA: c.RootCA, OAuth: c.OAuth, AllowInsecure: c.AllowInsecure}
}

// Producing is the rest.produce section of the configuration file.
type Producing struct {
	// MetadataTimeoutMs is how long a record may wait for its topic to be known
	// and for its acknowledgement, in milliseconds, 100 to 60000; the default is
	// 10000.
	MetadataTimeoutMs int `yaml:"metadata_timeout_ms"`
}

// Validate reports each problem with the field it lies in.
func (p Producing) Validate(report func(path, problem string)) {
	if t := p.MetadataTimeoutMs; t != 0 && (t < 100 || t > 60_000) {
		report("metadata_timeout_ms", "want a number from 100 to 60000")
	}
}

// timeout is how long a record may wait.
func (p Producing) timeout() time.Duration {
	if p.MetadataTimeoutMs == 0 {
		return 10 * time.Second
	}
	return time.Duration(p.MetadataTimeoutMs) * time.Millisecond
}

// A Further is a cluster beside klamm's own.
type Further struct {
	// Name is unique; letters, digits, ".", "_" and "-", at most 64.
	Name string `yaml:"name"`
	// ARNs are names of it, as of an MSK cluster or a VPC connection to one.
	ARNs []string `yaml:"arns"`
	// Brokers are its bootstrap servers, each HOST:PORT.
	Brokers []string `yaml:"brokers"`
	// Auth is how klamm logs in, as for its own cluster.
	Auth string `yaml:"auth"`
	// Credentials are what klamm shows.
	Credentials *Credentials `yaml:"credentials"`
	// RootCA holds the authorities of the brokers' certificates.
	RootCA *Source `yaml:"root_ca"`
	// OAuth is where tokens come from.
	OAuth *OAuth `yaml:"oauth"`
	// AllowInsecure does without TLS where there is no root_ca.
	AllowInsecure bool `yaml:"allow_insecure"`
}

// Config returns the section of a further cluster as one of its own; the rest comes
// from the section that it stands in.
func (f Further) Config(of Config) Config {
	return Config{Brokers: f.Brokers, Auth: f.Auth, Credentials: f.Credentials, RootCA: f.RootCA, OAuth: f.OAuth, AllowInsecure: f.AllowInsecure,
		Producing: of.Producing, Secrets: of.Secrets, Region: of.Region}
}

func (f Further) login() Login { return f.Config(Config{}).login() }

// arnForm is that of the resources of MSK that stand for a cluster, and maxARN how long
// one may be, in bytes.
var arnForm = regexp.MustCompile(`^arn:[a-z0-9-]+:kafka:[a-z0-9-]*:[0-9]*:(cluster|vpc-connection)/[^\s]+$`)

const maxARN = 1100

// Validate reports each problem with the field it lies in.
func (c Config) Validate(report func(path, problem string)) {
	validateBrokers(c.Brokers, report)
	c.login().validate(report)
	c.validateIdentity(report)
	arns := map[string]bool{}
	names := map[string]bool{}
	for i, f := range c.Clusters {
		at := func(path, problem string) { report(fmt.Sprintf("clusters[%d].%s", i, path), problem) }
		if !clusterName.MatchString(f.Name) {
			at("name", "a cluster needs a name of 1 to 64 letters, digits, '.', '_' and '-'")
		} else if names[f.Name] {
			at("name", fmt.Sprintf("there is another cluster %q", f.Name))
		}
		names[f.Name] = true
		if len(f.Brokers) == 0 {
			at("brokers", "a cluster needs bootstrap servers")
		}
		validateBrokers(f.Brokers, at)
		f.login().validate(at)
		for j, arn := range f.ARNs {
			switch path := fmt.Sprintf("arns[%d]", j); {
			case len(arn) > maxARN, !arnForm.MatchString(arn):
				at(path, fmt.Sprintf("%.200q is not the ARN of a cluster or of a VPC connection", arn))
			case arns[arn]:
				at(path, fmt.Sprintf("another cluster has the ARN %s already", arn))
			}
			arns[arn] = true
		}
	}
}

// Names are those of the further clusters.
func (c Config) Names() (names []string) {
	for _, f := range c.Clusters {
		names = append(names, f.Name)
	}
	return names
}

var clusterName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func validateBrokers(brokers []string, report func(path, problem string)) {
	for i, b := range brokers {
		host, port, err := net.SplitHostPort(b)
		if n, bad := strconv.Atoi(port); err != nil || host == "" || bad != nil || n < 1 || n > 65535 {
			report(fmt.Sprintf("brokers[%d]", i), fmt.Sprintf("%q is not HOST:PORT", b))
		}
	}
}

const (
	// clientID is how klamm calls itself, and how ids of its members begin.
	clientID = "klamm"
	// probeTimeout bounds one readiness probe.
	probeTimeout = 3 * time.Second
	// adminTimeout bounds an administrative request whose caller has no
	// earlier deadline.
	adminTimeout = 12 * time.Second
	// recordBytes is the largest record klamm hands to a broker; whether the
	// broker takes it is the broker's decision (max.message.bytes).
	recordBytes = 96 << 20
	// bufferedBytes bounds the records that wait for their acknowledgement.
	bufferedBytes = 256 << 20
)

// A Cluster is a Kafka cluster. It is safe for concurrent use.
type Cluster struct {
	cfg      Config
	log      *slog.Logger
	producer *kgo.Client
	reader   *kgo.Client
	admin    *kadm.Client
	login    *login
	tails    func() *Tails // of Identities.As
	listed   *topicList
	limit    deadline // of records that are being produced
	pauses   pauses
	large    *kgo.Client
	crowd    crowd         // of callers that produce at once
	alone    chan struct{} // held while a large record is written
	anew     anew          // topics that producers have forgotten

	instances atomic.Int64 // that are open

	ready struct {
		sync.Mutex
		at  time.Time
		err error
	}
}

// Open makes the clients of a cluster. It does not wait for a broker, and fails
// only on a configuration that can never work.
func Open(cfg Config, log *slog.Logger) (*Cluster, error) {
	if len(cfg.Brokers) == 0 {
		return nil, errors.New("no brokers: give --brokers HOST:PORT or kafka.brokers")
	}
	var problems []error
	cfg.Validate(func(path, problem string) { problems = append(problems, fmt.Errorf("kafka.%s: %s", path, problem)) })
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	login, err := newLogin(context.Background(), cfg.login(), cfg.Secrets, cfg.Region)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	login.reach = cfg.Reach
	login.warn = func(ends time.Time) {
		log.Warn("klamm's certificate for Kafka ends soon", "not_after", ends)
	}
	return open(cfg, login, log)
}

// open makes the clients of a cluster that is logged in to as login says.
func open(cfg Config, login *login, log *slog.Logger) (*Cluster, error) {
	c := &Cluster{cfg: cfg, log: log, login: login, listed: newTopicList(), alone: make(chan struct{}, 1), limit: deadline{longest: cfg.Producing.timeout()}}
	c.tails = sync.OnceValue(func() *Tails { return NewTails(c) })
	var err error
	if c.producer, err = c.newProducer(batchBytes, 0); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	if c.large, err = c.newProducer(recordBytes, 0); err != nil {
		c.producer.Close()
		return nil, fmt.Errorf("kafka: %w", err)
	}
	c.reader, err = kgo.NewClient(append(c.options(), kgo.BrokerMaxReadBytes(recordBytes+(16<<20)))...)
	if err != nil {
		c.producer.Close()
		c.large.Close()
		return nil, fmt.Errorf("kafka: %w", err)
	}
	c.admin = kadm.NewClient(c.reader)
	c.admin.SetTimeoutMillis(int32(adminTimeout / time.Millisecond))
	return c, nil
}

// newProducer makes a producer whose batches have at most so many bytes, and wait so long
// for more records.
func (c *Cluster) newProducer(batch int32, linger time.Duration) (*kgo.Client, error) {
	return kgo.NewClient(append(c.options(),
		kgo.AllowAutoTopicCreation(),
		kgo.RecordPartitioner(newPartitioner()),
		// kgo's default of 10 ms would cost a synchronous HTTP caller most of its
		// throughput; 0 is no wait at all.
		kgo.ProducerLinger(linger),
		kgo.ProducerBatchMaxBytes(batch),
		kgo.BrokerMaxWriteBytes(recordBytes+(4<<20)),
		kgo.MaxBufferedRecords(200_000),
		kgo.MaxBufferedBytes(bufferedBytes),
		// A caller who was told that a record failed must not see it appear
		// when the broker comes back an hour later.
		kgo.AllowIdempotentProduceCancellation(),
		kgo.UnknownTopicRetries(8),
	)...)
}

// options are common to all clients of the cluster.
func (c *Cluster) options() []kgo.Opt {
	return append(c.login.options(),
		kgo.SeedBrokers(c.cfg.Brokers...),
		kgo.ClientID(clientID),
		kgo.WithHooks(pauseHook{c}),
		kgo.SoftwareNameAndVersion("klamm", "1"),
		kgo.RetryTimeout(adminTimeout),
		kgo.MetadataMinAge(250*time.Millisecond),
		kgo.MetadataMaxAge(time.Minute),
		// Pushing telemetry to the brokers would cost a thousand idle groups
		// half a gigabyte of compressors.
		kgo.DisableClientMetrics(),
	)
}

// Brokers returns the bootstrap servers, each HOST:PORT.
func (c *Cluster) Brokers() []string { return c.cfg.Brokers }

// Admin returns the administrative client. It never creates topics by asking
// for them.
func (c *Cluster) Admin() *kadm.Client { return c.admin }

// Close ends all connections. Records that are still waiting fail.
func (c *Cluster) Close() {
	c.crowd.close()
	c.producer.Close()
	c.large.Close()
	c.reader.Close()
}

// Ready returns nil if the cluster answers now and has a leader to produce to
// and a coordinator to poll with, and otherwise an error that names the
// bootstrap servers and what is wrong. Answers are shared for a second, so that
// a health check cannot load the brokers.
func (c *Cluster) Ready(ctx context.Context) error {
	c.ready.Lock()
	defer c.ready.Unlock()
	if !c.ready.at.IsZero() && time.Since(c.ready.at) < time.Second {
		return c.ready.err
	}
	probing, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := c.probe(probing)
	if err != nil {
		err = fmt.Errorf("kafka broker %s: %w", strings.Join(c.cfg.Brokers, ","), err)
	}
	if err != nil && ctx.Err() != nil {
		return err // a caller who has gone away says nothing about the brokers
	}
	c.ready.at, c.ready.err = time.Now(), err
	return err
}

// probe asks for the brokers and the coordinator of a group.
func (c *Cluster) probe(ctx context.Context) error {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	resp, err := req.RequestWith(ctx, c.reader)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			if cause := c.login.cause(); cause != nil {
				return cause
			}
			return fmt.Errorf("no answer within %s%s", probeTimeout, c.dialError(ctx))
		}
		return c.login.explain(err)
	}
	if len(resp.Brokers) == 0 {
		return errors.New("the cluster reports no live broker")
	}
	return nil
}

// dialError says why no bootstrap server can be reached, since kgo reports only
// that time ran out while it retries.
func (c *Cluster) dialError(ctx context.Context) string {
	d := c.login.dialer()
	d.Timeout = time.Second
	for _, b := range c.cfg.Brokers {
		conn, err := d.DialContext(context.WithoutCancel(ctx), "tcp", b)
		if err != nil {
			var op *net.OpError
			if errors.As(err, &op) {
				err = op.Err
			}
			return ": " + err.Error()
		}
		_ = conn.Close()
	}
	return ""
}
