package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The levels of findings.
const (
	FoundWell    = "ok"
	FoundWarning = "warning" // klamm works, but not everything, or not for long
	FoundProblem = "problem"
)

// A Finding is one thing that somebody who looked at the ways out of klamm has found.
type Finding struct {
	Level string `json:"level"`         // FoundWell, FoundWarning or FoundProblem
	Check string `json:"check"`         // what was looked at: config, dns, tcp, tls, login, metadata, advertised, rights, clock
	At    string `json:"at"`            // whose or which: a cluster, a pipe, an address
	Found string `json:"found"`         // what there is
	Try   string `json:"try,omitempty"` // what may help
}

// Needs are what klamm does with a cluster, for Diagnose to ask whether it may.
type Needs struct {
	Read   []string // topics that are read
	Write  []string // topics that are written
	Create []string // topics that klamm makes where they are missing
	Groups []string // consumer groups that klamm joins
}

// stepTime bounds each step towards one address.
const stepTime = 5 * time.Second

// Diagnose goes the way to a cluster step by step and tells what it finds: names,
// connections, TLS, the login, what the brokers advertise, and what klamm may do. Each
// step is tried only where those before it went well. It changes nothing.
func Diagnose(ctx context.Context, name string, cfg Config, needs Needs, report func(Finding)) {
	d := &diagnosis{name: name, cfg: cfg, report: report}
	var err error
	if d.login, err = newLogin(ctx, cfg.login(), cfg.Secrets, cfg.Region); err != nil {
		d.problem("login", name, err.Error(), "put the credentials right; klamm check says the same")
		return
	}
	d.login.reach = cfg.Reach
	if len(cfg.Brokers) == 0 {
		d.problem("config", name, "no brokers", "give kafka.brokers, or --brokers HOST:PORT")
		return
	}
	var reached []string
	for _, address := range cfg.Brokers {
		if d.connects(ctx, address, "") {
			reached = append(reached, address)
		}
	}
	for _, address := range reached {
		meta, ok := d.asks(ctx, address)
		if !ok {
			continue
		}
		d.advertised(ctx, address, meta)
		d.rights(ctx, needs)
		return
	}
}

type diagnosis struct {
	name   string
	cfg    Config
	login  *login
	report func(Finding)
}

func (d *diagnosis) well(check, at, found string) {
	d.report(Finding{Level: FoundWell, Check: check, At: at, Found: found})
}

func (d *diagnosis) problem(check, at, found, try string) {
	d.report(Finding{FoundProblem, check, at, found, try})
}

// connects goes as far as the handshake of TLS. Who says what named the address; empty:
// the configuration did.
func (d *diagnosis) connects(ctx context.Context, address, who string) bool {
	at := d.name + " " + address
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		d.problem("dns", at, who+"no address of the form HOST:PORT", "write HOST:PORT")
		return false
	}
	if _, err := netip.ParseAddr(host); err != nil {
		looking, cancel := context.WithTimeout(ctx, stepTime)
		addrs, err := net.DefaultResolver.LookupHost(looking, host)
		cancel()
		if err != nil {
			d.problem("dns", at, fmt.Sprintf("%s%s has no address: %v", who, host, err), adviceOnNames(who))
			return false
		}
		d.well("dns", at, host+" is "+strings.Join(addrs, ", "))
	}
	dialing, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	conn, err := d.login.dialer().DialContext(dialing, "tcp", address)
	if err != nil {
		d.problem("tcp", at, fmt.Sprintf("%sno connection to port %s: %v", who, port, err), adviceOnConnections(who, err))
		return false
	}
	defer conn.Close()
	d.well("tcp", at, "connected to "+conn.RemoteAddr().String())
	if !d.login.tls {
		return d.clear(ctx, conn, at, address)
	}
	return d.handshake(ctx, conn, at, host)
}

func adviceOnNames(who string) string {
	if who != "" {
		return "let advertised.listeners of the broker name an address that this machine knows, or give this machine the name (DNS, /etc/hosts)"
	}
	return "check the spelling in kafka.brokers, and the name servers of this machine"
}

func adviceOnConnections(who string, err error) string {
	var timeout net.Error
	switch {
	case who != "":
		return "let advertised.listeners of the broker name an address that this machine reaches"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "nobody answers: look at firewalls, security groups and routes between here and there"
	}
	return "is a broker listening on that port? check the port, and whether the broker runs"
}

// handshake tries TLS and says what is the matter with it.
func (d *diagnosis) handshake(ctx context.Context, conn net.Conn, at, host string) bool {
	m, err := d.login.load(ctx)
	if err != nil {
		d.problem("tls", at, err.Error(), "put root_ca and credentials right")
		return false
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: m.roots}
	if m.own != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return m.own, nil }
		if left := time.Until(m.ends); left < warnBefore {
			d.report(Finding{FoundWarning, "tls", at, "klamm's own certificate ends " + m.ends.UTC().Format(time.RFC3339), "renew it; klamm takes the new one without a restart"})
		}
	}
	shaking, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	session := tls.Client(conn, cfg)
	if err := session.HandshakeContext(shaking); err != nil {
		found, try := explainHandshake(err)
		d.problem("tls", at, "no TLS: "+found, try)
		return false
	}
	state := session.ConnectionState()
	leaf := state.PeerCertificates[0]
	d.well("tls", at, fmt.Sprintf("%s, %s, until %s", tls.VersionName(state.Version), leaf.Subject, leaf.NotAfter.UTC().Format(time.RFC3339)))
	if time.Until(leaf.NotAfter) < warnBefore {
		d.report(Finding{FoundWarning, "tls", at, "the broker's certificate ends " + leaf.NotAfter.UTC().Format(time.RFC3339), "have it renewed before then: nobody reaches the broker afterwards"})
	}
	return true
}

// explainHandshake says what is wrong and what to try when a handshake fails.
func explainHandshake(err error) (found, try string) {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
		op      *net.OpError
	)
	switch {
	case errors.As(err, &unknown):
		return "the server's certificate is signed by an authority that is not trusted: " + err.Error(), "give the authority's certificate in root_ca (PEM)"
	case errors.As(err, &name):
		return err.Error(), "use a name that the certificate has, in kafka.brokers and in advertised.listeners of the broker, or have the certificate made for this one"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil && time.Now().Before(invalid.Cert.NotBefore):
		return fmt.Sprintf("the server's certificate is not valid before %s, and it is %s here", invalid.Cert.NotBefore.UTC().Format(time.RFC3339), time.Now().UTC().Format(time.RFC3339)), "set the clock of this machine"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate has expired: " + err.Error(), "have the certificate renewed, or set the clock of this machine if it is wrong"
	case errors.As(err, &record):
		return "the server does not speak TLS on this port", "use the port of the TLS listener, or, for clear text, auth: none with allow_insecure: true"
	case errors.As(err, &op) && op.Op == "remote error":
		return "the server refuses the handshake or klamm's certificate: " + err.Error(), "is klamm's certificate signed by an authority that the broker's trust store has, and is it not expired?"
	case errors.Is(err, io.EOF), errors.Is(err, context.DeadlineExceeded), errors.As(err, &op):
		return "the server ends the connection in the middle of the TLS handshake: " + err.Error(), "it probably does not speak TLS on this port: use the port of the TLS listener"
	}
	return err.Error(), "look at what the server's log says about the handshake"
}

// clear looks whether a server that is to be spoken to in clear text expects TLS.
func (d *diagnosis) clear(ctx context.Context, conn net.Conn, at, address string) bool {
	_ = conn.SetDeadline(time.Now().Add(stepTime))
	// ApiVersions, version 0, in the shortest form: what every broker since 0.10 answers.
	if _, err := conn.Write([]byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff}); err == nil {
		head := make([]byte, 8)
		if _, err = io.ReadFull(conn, head); err == nil && string(head[4:]) == "\x00\x00\x00\x01" {
			return true
		}
	}
	dialing, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	probe, err := (&tls.Dialer{NetDialer: d.login.dialer(), Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(dialing, "tcp", address) //nolint:gosec // nothing is sent; it only shows what the port speaks
	if err == nil {
		_ = probe.Close()
		d.problem("tls", at, "the server expects TLS on this port, and klamm speaks clear text (plaintext)", "say how to log in: auth: tls, scram-512 or mtls, with root_ca where the authority is your own")
		return false
	}
	d.problem("login", at, "the server does not answer as a Kafka broker does", "is this the port of a Kafka listener? a listener may also have too many connections")
	return false
}

// asks logs in and asks one broker who there is.
func (d *diagnosis) asks(ctx context.Context, address string) (*kmsg.MetadataResponse, bool) {
	at := d.name + " " + address
	client, err := kgo.NewClient(append(d.login.options(), kgo.SeedBrokers(address), kgo.ClientID(clientID), kgo.SoftwareNameAndVersion("klamm", "1"),
		kgo.RequestRetries(0), kgo.RetryTimeout(stepTime), kgo.RequestTimeoutOverhead(stepTime))...)
	if err != nil {
		d.problem("login", at, err.Error(), "")
		return nil, false
	}
	defer client.Close()
	asking, cancel := context.WithTimeout(ctx, 2*stepTime)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	meta, err := req.RequestWith(asking, client)
	if err != nil {
		found, try := d.explainLogin(err)
		d.problem("login", at, found, try)
		return nil, false
	}
	d.well("login", at, "logged in with "+d.login.describe())
	return meta, true
}

// describe names the way to log in.
func (l *login) describe() string {
	if l.method == authNone {
		return "nothing: no TLS, no login"
	}
	return l.method
}

// explainLogin says why a broker does not answer, and what to try.
func (d *diagnosis) explainLogin(err error) (found, try string) {
	err = d.login.explain(err)
	found = err.Error()
	switch {
	case errors.Is(err, kerr.UnsupportedSaslMechanism), strings.Contains(found, "mechanism"):
		return "the broker does not offer the SASL mechanism of auth: " + d.login.method + ": " + found, "choose a mechanism in auth that the listener has (sasl.enabled.mechanisms)"
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return "the broker refuses the credentials (authentication failed): " + found, "check the user name and the password, and that the user has a credential for this mechanism"
	case errors.Is(err, kerr.IllegalSaslState), errors.Is(err, ErrLogin) && d.login.method == authMTLS:
		return found, "is klamm's certificate signed by an authority that the broker trusts, and is this the listener for clients with certificates?"
	case errors.Is(err, ErrLogin):
		return found, "check the credentials, and that this is the listener for auth: " + d.login.method
	case errors.Is(err, io.EOF) && d.login.mechanism() != nil:
		return fmt.Sprintf("the broker ends the connection while klamm logs in: it does not take the credentials or has no mechanism for %s (%s)", d.login.method, found), "check the user name and the password, and that this is the listener for auth: " + d.login.method
	case d.login.method == authNone || d.login.method == authTLS:
		return "the broker does not answer: " + found, "the listener probably wants a login (SASL) or a certificate: see auth"
	}
	return "the broker does not answer: " + found, "is this the listener for auth: " + d.login.method + "?"
}

// advertised tries the addresses at which the brokers say they are.
func (d *diagnosis) advertised(ctx context.Context, asked string, meta *kmsg.MetadataResponse) {
	cluster := "?"
	if meta.ClusterID != nil {
		cluster = *meta.ClusterID
	}
	found := fmt.Sprintf("cluster %s with %d brokers", cluster, len(meta.Brokers))
	if meta.ControllerID < 0 {
		d.report(Finding{FoundWarning, "metadata", d.name, found + ", and no controller", "the cluster is electing one, or has lost its quorum"})
	} else {
		d.well("metadata", d.name, found)
	}
	bad := 0
	for _, b := range meta.Brokers {
		address := net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
		if address == asked || slices.Contains(d.cfg.Brokers, address) {
			continue // tried already
		}
		quiet := *d
		quiet.report = func(f Finding) {
			if f.Level != FoundWell {
				if f.Level == FoundProblem {
					f.Check, bad = "advertised", bad+1
				}
				d.report(f)
			}
		}
		quiet.connects(ctx, address, fmt.Sprintf("broker %d advertises %s: ", b.NodeID, address))
	}
	if bad == 0 {
		d.well("advertised", d.name, "every broker is reached where it says it is")
	}
}

// rights asks what klamm may do.
func (d *diagnosis) rights(ctx context.Context, needs Needs) {
	c, err := open(d.cfg, d.login, slog.New(slog.DiscardHandler))
	if err != nil {
		d.problem("rights", d.name, err.Error(), "")
		return
	}
	defer c.Close()
	asking, cancel := context.WithTimeout(ctx, 4*stepTime)
	defer cancel()
	all := slices.Concat(needs.Read, needs.Write, needs.Create)
	slices.Sort(all)
	all = slices.Compact(all)
	missing := map[string]bool{}
	if len(all) > 0 {
		if missing, err = d.topics(asking, c, needs, all); err != nil {
			d.problem("rights", d.name, err.Error(), "")
			return
		}
	}
	for _, name := range needs.Create {
		if missing[name] {
			d.mayCreate(asking, c, name)
		}
	}
	for _, group := range needs.Groups {
		d.group(asking, c, group)
	}
}

// topics looks at those that klamm reads and writes, and returns which are missing.
func (d *diagnosis) topics(ctx context.Context, c *Cluster, needs Needs, all []string) (map[string]bool, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.IncludeTopicAuthorizedOperations = true
	for _, name := range all {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, rt)
	}
	meta, err := req.RequestWith(ctx, c.reader)
	if err != nil {
		return nil, c.unreachable(err)
	}
	missing := map[string]bool{}
	for _, t := range meta.Topics {
		if t.Topic == nil {
			continue
		}
		name, at := *t.Topic, d.name+" topic "+*t.Topic
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			missing[name] = true
			if !slices.Contains(needs.Create, name) {
				d.report(Finding{FoundWarning, "metadata", at, "there is no such topic", "make it; what reads it begins when it is there"})
			}
			continue
		case errors.Is(err, kerr.TopicAuthorizationFailed):
			d.problem("rights", at, "klamm may not even see it", "allow klamm's user Describe and what else it needs: kafka-acls --add --allow-principal User:NAME --operation All --topic "+name)
			continue
		case err != nil:
			d.problem("metadata", at, err.Error(), "look at the brokers' logs")
			continue
		}
		offline := 0
		for _, p := range t.Partitions {
			if p.Leader < 0 {
				offline++
			}
		}
		if offline > 0 {
			d.problem("metadata", at, fmt.Sprintf("%d of %d partitions have no leader", offline, len(t.Partitions)), "bring the brokers back that have their replicas")
		}
		operations := operationsOf(t.AuthorizedOperations)
		lacks := []string{}
		if len(operations) > 0 && slices.Contains(needs.Read, name) && !slices.Contains(operations, "READ") {
			lacks = append(lacks, "Read")
		}
		if len(operations) > 0 && (slices.Contains(needs.Write, name) || slices.Contains(needs.Create, name)) && !slices.Contains(operations, "WRITE") {
			lacks = append(lacks, "Write")
		}
		if len(lacks) > 0 {
			d.problem("rights", at, "klamm lacks the right to "+strings.Join(lacks, " and "), "kafka-acls --add --allow-principal User:NAME --operation "+strings.Join(lacks, " --operation ")+" --topic "+name)
		} else {
			d.well("rights", at, fmt.Sprintf("%d partitions, and klamm may do with it what it has to", len(t.Partitions)))
		}
	}
	return missing, nil
}

// mayCreate asks whether a topic of klamm's own could be made.
func (d *diagnosis) mayCreate(ctx context.Context, c *Cluster, name string) {
	at := d.name + " topic " + name
	_, _, err := c.CheckTopic(ctx, NewTopic{Name: name, Partitions: 1})
	switch {
	case err == nil:
		d.well("rights", at, "not there yet; klamm may make it")
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		d.problem("rights", at, "not there, and klamm may not make it", "kafka-acls --add --allow-principal User:NAME --operation All --topic __klamm --resource-pattern-type prefixed, or make the topic")
	default:
		d.problem("rights", at, "not there, and making it would fail: "+err.Error(), "look at the limits for new topics in the cluster")
	}
}

// group asks whether klamm may be a member of a group.
func (d *diagnosis) group(ctx context.Context, c *Cluster, group string) {
	at := d.name + " group " + group
	err := c.askGroup(ctx, group)
	// A cluster that is new, or moves its coordinators, needs a moment.
	for errors.Is(err, kerr.CoordinatorNotAvailable) || errors.Is(err, kerr.CoordinatorLoadInProgress) || errors.Is(err, kerr.NotCoordinator) {
		select {
		case <-ctx.Done():
			d.problem("metadata", at, err.Error(), "the coordinator of the group does not answer: look at the brokers")
			return
		case <-time.After(200 * time.Millisecond):
		}
		err = c.askGroup(ctx, group)
	}
	switch {
	case err == nil, errors.Is(err, kerr.GroupIDNotFound):
		d.well("rights", at, "klamm may use it")
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		d.problem("rights", at, "klamm may not use it", "kafka-acls --add --allow-principal User:NAME --operation Read --group "+group)
	default:
		d.problem("metadata", at, err.Error(), "the coordinator of the group does not answer: look at the brokers")
	}
}

// askGroup asks for what a group has committed.
func (c *Cluster) askGroup(ctx context.Context, group string) error {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = group
	one := kmsg.NewOffsetFetchRequestGroup()
	one.Group = group
	req.Groups = append(req.Groups, one)
	resp, err := req.RequestWith(ctx, c.reader)
	if err != nil {
		return err
	}
	err = kerr.ErrorForCode(resp.ErrorCode)
	for _, g := range resp.Groups {
		err = errors.Join(err, kerr.ErrorForCode(g.ErrorCode))
	}
	return err
}
