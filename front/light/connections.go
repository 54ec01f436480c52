package light

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/peer"
)

const (
	// connectionHeader tells a client the id of its WebSocket.
	connectionHeader = "Klamm-Connection"
	// maxWritten bounds how many messages of others may wait to be written to one
	// WebSocket.
	maxWritten = 16
	// findTime bounds how long it may take to find out that the process of a connection
	// is no more.
	findTime = 5 * time.Second
	// alone stands for the process in ids where there are no others.
	alone = "0"
)

// Connections are the open WebSockets of this process, by their ids. An id names the
// process, so that any process of the cluster can be asked for any connection. It is safe
// for concurrent use.
type Connections struct {
	peers   *peer.Peers // nil: there are no other processes
	process string

	mu   sync.Mutex // guards open
	open map[string]*client
}

// NewConnections returns those of a process that has opened none yet; with nil, it is the
// only one.
func NewConnections(peers *peer.Peers) *Connections {
	c := &Connections{peers: peers, process: alone, open: map[string]*client{}}
	if peers != nil {
		c.process = peers.ID()
	}
	return c
}

// newID makes an id that nobody can guess.
func (c *Connections) newID() string { return c.process + "." + rand.Text() }

func (c *Connections) add(p *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[p.id] = p
}

func (c *Connections) remove(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, id)
}

// get returns an open connection. A caller who came in by a stage finds only those of
// clients who came in by the same one.
func (c *Connections) get(id string, who *gate.Principal) (*client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one, ok := c.open[id]
	if !ok || one.who.Stage != who.Stage {
		return nil, errGone
	}
	return one, nil
}

// aws makes an error as the clients of API Gateway know it.
func aws(kind gate.Kind, status int, name, message string) error {
	return front.RefuseAWS(kind, status, name, "message", &message)
}

// The answers about connections that can do nothing.
var (
	errGone         = aws(gate.NotFound, http.StatusGone, "GoneException", "the connection is not open, or never was")
	errFull         = aws(gate.Throttled, http.StatusTooManyRequests, "LimitExceededException", "the client does not take its messages as fast as they come")
	errLong         = aws(gate.TooLarge, http.StatusRequestEntityTooLarge, "PayloadTooLargeException", "a message has at most 1 MiB")
	errNotConnected = &gate.Error{Kind: gate.Unavailable, Message: "the klamm process that has the connection cannot be reached"}
)

// postConnection serves POST /@connections/{connection}, as API Gateway does for its
// WebSockets (gateway-policies.md 6.3): the body goes to the client as one message, a text
// where it is UTF-8 and otherwise binary. 200 says that it was written.
func (a *api) postConnection(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	return a.connection(w, r, who, func(p *client, body []byte) error {
		if len(body) > maxMessage {
			return errLong
		}
		if err := p.deliver(body); err != nil {
			return err
		}
		w.WriteHeader(http.StatusOK)
		return nil
	})
}

// getConnection serves GET /@connections/{connection}: since when it is open, when a
// message came or went last, and where it comes from.
func (a *api) getConnection(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	return a.connection(w, r, who, func(p *client, _ []byte) error {
		var doc struct {
			ConnectedAt  time.Time `json:"connectedAt"`
			LastActiveAt time.Time `json:"lastActiveAt"`
			Identity     struct {
				SourceIP  string `json:"sourceIp"`
				UserAgent string `json:"userAgent"`
			} `json:"identity"`
		}
		doc.ConnectedAt, doc.LastActiveAt = p.began.UTC(), time.Unix(0, p.active.Load()).UTC()
		if p.who.Source.IsValid() {
			doc.Identity.SourceIP = p.who.Source.String()
		}
		doc.Identity.UserAgent = p.userAgent
		text, err := json.Marshal(doc)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text)
		return nil
	})
}

// deleteConnection serves DELETE /@connections/{connection}: it is closed, with code 1000.
func (a *api) deleteConnection(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	return a.connection(w, r, who, func(p *client, _ []byte) error {
		a.connections.remove(p.id)
		go p.close(websocket.StatusNormalClosure, "closed by the server's side") // waits for the client to agree; ends with the connection at the latest
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
}

// connection has a call about a connection answered by the process that has it.
func (a *api) connection(w http.ResponseWriter, r *http.Request, who gate.Principal, serve func(p *client, body []byte) error) error {
	body, release, err := front.ReadBody(r)
	if errors.Is(err, peer.ErrForged) {
		return &gate.Error{Kind: gate.Unauthenticated, Message: err.Error()}
	}
	if err != nil {
		return err
	}
	defer release()
	c, id := a.connections, r.PathValue("connection")
	process, _, _ := strings.Cut(id, ".")
	passedOn := c.peers != nil && peer.Forwarded(r)
	if passedOn {
		peer.Answer(w, r)
	}
	if process != c.process && c.peers != nil && !passedOn {
		return c.passOn(w, r, who, process, body)
	}
	one, err := c.get(id, &who)
	if err != nil {
		return err
	}
	return serve(one, body)
}

// passOn has another process answer a call. The connections of a process that is no more
// are gone.
func (c *Connections) passOn(w http.ResponseWriter, r *http.Request, who gate.Principal, process string, body []byte) error {
	caller, err := json.Marshal(who)
	if err != nil {
		return err
	}
	err = c.peers.Forward(r.Context(), w, peer.Call{
		To: process, Method: r.Method, URI: r.URL.RequestURI(), Host: r.Host, Header: peer.Header(r), Body: body, Caller: caller,
	})
	if !errors.Is(err, peer.ErrAgain) {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), findTime)
	defer cancel()
	if err := c.peers.Open(ctx); err != nil { // this process does not know the others yet
		return errNotConnected
	}
	if lives, err := c.peers.Alive(ctx, process); lives || err != nil {
		return errNotConnected
	}
	return errGone
}

// deliver writes a message of somebody else's. Who calls may be gone before it is
// written: to break off within a message would end the connection.
func (p *client) deliver(body []byte) error {
	if p.written.Add(1) > maxWritten {
		p.written.Add(-1)
		return errFull
	}
	defer p.written.Add(-1)
	kind := websocket.MessageText
	if !utf8.Valid(body) {
		kind = websocket.MessageBinary
	}
	if p.push(kind, body) != nil {
		return errGone
	}
	return nil
}
