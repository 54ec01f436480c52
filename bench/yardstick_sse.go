package bench

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// sseYardstick configures the bare program that pushes a topic's records: what one
// would write with net/http and kgo, one consumer for all clients and a channel
// for each.
type sseYardstick struct {
	Brokers []string `json:"brokers"`
	Topic   string   `json:"topic"`
}

// bareQueue is how many events wait for a client of the bare program.
const bareQueue = 1024

func runSSEYardstick(ctx context.Context, c sseYardstick, out io.Writer) error {
	client, err := newReader(c.Brokers, c.Topic)
	if err != nil {
		return err
	}
	defer client.Close()
	p := &barePush{clients: map[chan []byte]struct{}{}}
	go p.run(ctx, client) // ends with ctx or the client
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stream/{topic}", p.serve)
	return serveHTTP(ctx, mux, out)
}

// A barePush hands every event to every client.
type barePush struct {
	mu      sync.Mutex // guards what follows
	clients map[chan []byte]struct{}
}

func (p *barePush) run(ctx context.Context, client *kgo.Client) {
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			return
		}
		fetches.EachRecord(func(r *kgo.Record) {
			b := append([]byte("id: "), strconv.FormatInt(r.Offset, 10)...)
			b = append(b, "\nevent: record\ndata: {\"topic\":\""+r.Topic+"\",\"partition\":"...)
			b = strconv.AppendInt(b, int64(r.Partition), 10)
			b = append(b, `,"offset":`...)
			b = strconv.AppendInt(b, r.Offset, 10)
			b = append(b, `,"timestamp":`...)
			b = strconv.AppendInt(b, r.Timestamp.UnixMilli(), 10)
			b = append(b, `,"key":null,"value":`...)
			b = append(b, r.Value...)
			b = append(b, "}\n\n"...)
			p.mu.Lock()
			defer p.mu.Unlock()
			for queue := range p.clients {
				select {
				case queue <- b:
				default: // it will be found missing
				}
			}
		})
	}
}

func (p *barePush) serve(w http.ResponseWriter, r *http.Request) {
	queue := make(chan []byte, bareQueue)
	p.mu.Lock()
	p.clients[queue] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.clients, queue)
		p.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	flusher := http.NewResponseController(w)
	b := []byte(": ok\n\n")
	for {
		if _, err := w.Write(b); err != nil || flusher.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case b = <-queue:
		}
	}
}
