package peer_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/app"
	"github.com/klamm-gateway/klamm/broker"
	"github.com/klamm-gateway/klamm/certificate"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/waittest"
)

// Whole klamm processes are started from the test's own binary, so that they can be
// killed and stopped as processes are.

const (
	brokersEnv = "KLAMM_TEST_PEER_BROKERS"
	idleEnv    = "KLAMM_TEST_PEER_IDLE"
	tlsEnv     = "KLAMM_TEST_PEER_TLS" // a directory with files of writeCertificates
)

func TestMain(m *testing.M) {
	if brokers := os.Getenv(brokersEnv); brokers != "" {
		serve(strings.Split(brokers, ","))
		return
	}
	os.Exit(m.Run())
}

// serve is what a process of a test does.
func serve(brokers []string) {
	cfg := config.Default()
	cfg.Listen, cfg.Kafka.Brokers = "127.0.0.1:0", brokers
	cfg.Rest.V2.ConsumerInstanceTimeoutMs, _ = strconv.Atoi(os.Getenv(idleEnv))
	if dir := os.Getenv(tlsEnv); dir != "" {
		cfg.TLS = &certificate.Config{
			Certificate: filepath.Join(dir, "server.pem"), Key: filepath.Join(dir, "server.key"), ClientCA: filepath.Join(dir, "ca.pem"), ClientAuth: "required",
		}
		cfg.Rules = []gate.Rule{{Who: []string{"User:CN=alice"}, Can: []string{"all"}, Topics: []string{"*"}, Groups: []string{"*"}}}
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	a, err := app.New(ctx, cfg, app.Options{
		Log:   slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Ready: func(http string, _ []string) { fmt.Println("ready", http) },
	})
	if err == nil {
		err = a.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A process is a klamm of a test.
type process struct {
	url  string
	cmd  *exec.Cmd
	done chan struct{}
}

// A house is several processes on one cluster.
type house struct {
	t       testing.TB
	brokers []string
	cluster *kafka.Cluster
	idle    time.Duration
	tls     string // the directory of certificates; "": plain HTTP
	client  *http.Client
	all     []*process
	turn    atomic.Int64
}

func newHouse(t testing.TB, n int, idle time.Duration) *house {
	t.Helper()
	return newHouseWith(t, n, idle, "", &http.Client{Timeout: time.Minute})
}

// newHouseWith is newHouse for processes that speak TLS, with the certificates of a
// directory.
func newHouseWith(t testing.TB, n int, idle time.Duration, certificates string, client *http.Client) *house {
	t.Helper()
	h := &house{t: t, idle: idle, tls: certificates, client: client, brokers: strings.Split(os.Getenv("KLAMM_TEST_BROKERS"), ",")}
	if h.brokers[0] == "" {
		b, err := broker.Start(t.Context(), broker.Config{Listen: "127.0.0.1:0", Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		h.brokers = b.Addrs()
	}
	var err error
	if h.cluster, err = kafka.Open(kafka.Config{Brokers: h.brokers}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.cluster.Close)
	for range n {
		h.all = append(h.all, h.start())
	}
	return h
}

// start starts one more process, which ends with the test.
func (h *house) start() *process {
	h.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), brokersEnv+"="+strings.Join(h.brokers, ","), idleEnv+"="+strconv.Itoa(int(h.idle.Milliseconds())), tlsEnv+"="+h.tls)
	if testing.Verbose() {
		cmd.Stderr = os.Stderr
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		h.t.Fatalf("a process does not start: %v", err)
	}
	p.url = "http://"
	if h.tls != "" {
		p.url = "https://"
	}
	p.url += strings.TrimSpace(strings.TrimPrefix(line, "ready "))
	go func() { _ = cmd.Wait(); close(p.done) }()
	h.t.Cleanup(func() { p.signal(syscall.SIGKILL); <-p.done })
	return p
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// kill ends a process without a word.
func (h *house) kill(p *process) {
	p.signal(syscall.SIGKILL)
	<-p.done
	h.leave(p)
}

func (h *house) leave(p *process) {
	h.all = slices.DeleteFunc(h.all, func(q *process) bool { return p == q })
}

// next is what a balancer without affinity would choose.
func (h *house) next() *process { return h.all[int(h.turn.Add(1))%len(h.all)] }

// topic creates a topic with values 0, 1, 2... spread over its partitions.
func (h *house) topic(partitions int32, values int) string {
	h.t.Helper()
	name := fmt.Sprintf("%s-%d", strings.ReplaceAll(h.t.Name(), "/", "-"), time.Now().UnixNano())
	if err := h.cluster.CreateTopic(h.t.Context(), kafka.NewTopic{Name: name, Partitions: partitions, Replication: 1}); err != nil {
		h.t.Fatal(err)
	}
	waittest.Until(h.t, "the topic can be read", func() bool {
		_, err := h.cluster.Ranges(h.t.Context(), name)
		return err == nil
	})
	h.put(name, partitions, 0, values)
	return name
}

// big creates a topic with one partition of JSON numbers, each with many spaces behind it.
func (h *house) big(name string, records, spaces int) {
	h.t.Helper()
	if err := h.cluster.CreateTopic(h.t.Context(), kafka.NewTopic{Name: name, Partitions: 1, Replication: 1}); err != nil {
		h.t.Fatal(err)
	}
	for i := range records {
		r := &kgo.Record{Topic: name, Value: []byte(strconv.Itoa(i) + strings.Repeat(" ", spaces))}
		if err := h.cluster.Produce(h.t.Context(), r).FirstErr(); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *house) put(topic string, partitions int32, from, to int) {
	h.t.Helper()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(i) % partitions, Value: []byte(strconv.Itoa(i))})
	}
	if err := h.cluster.Produce(h.t.Context(), records...).FirstErr(); err != nil {
		h.t.Fatal(err)
	}
}

// An instance is a consumer instance; its calls go to one process after the other.
type instance struct {
	h     *house
	group string
	path  string
}

const (
	mediaV2   = "application/vnd.kafka.v2+json"
	mediaJSON = "application/vnd.kafka.json.v2+json"
)

// create makes an instance in a process.
func (h *house) create(p *process, group, name, more string) *instance {
	h.t.Helper()
	body := fmt.Sprintf(`{"name":%q,"format":"json","auto.commit.enable":"false","consumer.request.timeout.ms":1000%s}`, name, more)
	status, said := h.call(p, "POST", "/consumers/"+group, body, "")
	if status != http.StatusOK {
		h.t.Fatalf("create: %d %s", status, said)
	}
	return &instance{h, group, "/consumers/" + group + "/instances/" + name}
}

// call makes a call; a process that does not answer has the status 0.
func (h *house) call(p *process, method, path, body, token string) (int, string) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, p.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Accept", mediaV2)
	if body != "" {
		req.Header.Set("Content-Type", mediaV2)
	}
	if strings.Contains(path, "/records") {
		req.Header.Set("Accept", mediaJSON)
	}
	if token != "" {
		req.Header.Set("Klamm-Read", token)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	if strings.HasPrefix(path, "/consumers/") && resp.StatusCode/100 == 2 && resp.Header.Get("Klamm-Lease") == "" {
		h.t.Errorf("%s %s: no Klamm-Lease", method, path)
	}
	return resp.StatusCode, string(said)
}

// must is a call to the next process, which has to answer with a status.
func (i *instance) must(want int, method, what, body string) string {
	i.h.t.Helper()
	status, said := i.h.call(i.h.next(), method, i.path+what, body, "")
	if status != want {
		i.h.t.Fatalf("%s %s%s: got %d %s, want %d", method, i.path, what, status, said, want)
	}
	return said
}

type record struct {
	Partition int32
	Offset    int64
	Value     int
}

// read reads from the next process.
func (i *instance) read(query, token string) []record {
	i.h.t.Helper()
	status, said := i.h.call(i.h.next(), "GET", i.path+"/records"+query, "", token)
	if status != http.StatusOK {
		i.h.t.Fatalf("read: %d %s", status, said)
	}
	return i.h.records(said)
}

func (h *house) records(said string) []record {
	h.t.Helper()
	var got []record
	if err := json.Unmarshal([]byte(said), &got); err != nil {
		h.t.Fatalf("%s: %v", said, err)
	}
	return got
}

// some reads until there are records.
func (i *instance) some(query, token string) []record {
	i.h.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if got := i.read(query, token); len(got) > 0 {
			return got
		}
	}
	i.h.t.Fatal("no record within a minute")
	return nil
}

// committed returns what the group has committed.
func (i *instance) committed(topic string, partitions int32) map[int32]int64 {
	i.h.t.Helper()
	var all []kafka.TopicPartition
	for p := range partitions {
		all = append(all, kafka.TopicPartition{Topic: topic, Partition: p})
	}
	at, err := i.h.cluster.CommittedOffsets(i.h.t.Context(), i.group, all)
	if err != nil {
		i.h.t.Fatal(err)
	}
	offsets := map[int32]int64{}
	for _, o := range at {
		offsets[o.Partition] = o.Offset
	}
	return offsets
}

func (i *instance) subscribe(topic string) {
	i.h.t.Helper()
	i.must(204, "POST", "/subscription", fmt.Sprintf(`{"topics":[%q]}`, topic))
}
