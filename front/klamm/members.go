package klamm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/peer"
)

const (
	// memberTime is how long another process may take to say what it runs.
	memberTime = 3 * time.Second
	// memberCalls bounds how many are asked at the same time.
	memberCalls = 16
	// largestMember bounds what one of them says, in bytes.
	largestMember = 8 << 20
)

// A memberDoc is a klamm process of the cluster.
type memberDoc struct {
	ID      string    `json:"id"` // empty: the process has not announced itself yet
	Address string    `json:"address"`
	Self    bool      `json:"self,omitempty"` // it is the one that answers
	Version string    `json:"version,omitempty"`
	Started time.Time `json:"started,omitzero"`
	// Pipes are those that it runs, by name: it is a member of their groups.
	Pipes []string `json:"pipes"`
	// Problem is why nothing more is known of it; empty: nothing is wrong.
	Problem string `json:"problem,omitempty"`
}

// listMembers serves GET /klamm/v1/members: {"members": [memberDoc]}, the klamm
// processes of the cluster and who runs what. ?here=true asks for the one that
// answers alone, which is how processes ask each other; ?brief=true leaves out what they run,
// which may be thousands of names.
func (a api) listMembers(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if peer.Forwarded(r) && a.cfg.Peers != nil {
		_, release, err := front.ReadBody(r)
		if errors.Is(err, peer.ErrForged) {
			return &gate.Error{Kind: gate.Unauthenticated, Message: err.Error()}
		}
		if err != nil {
			return err
		}
		release()
		peer.Answer(w, r)
	}
	if err := a.allow(r, who, gate.AdminRead, ""); err != nil {
		return err
	}
	q, err := queryOf(r, "here", "brief")
	if err != nil {
		return err
	}
	here, err := q.flag("here")
	if err != nil {
		return err
	}
	brief, err := q.flag("brief")
	if err != nil {
		return err
	}
	members := []memberDoc{a.here()}
	if !here {
		if members, err = a.members(r, who); err != nil {
			return err
		}
	}
	if brief {
		for i := range members {
			members[i].Pipes = []string{}
		}
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"members": members})
}

// here describes this process.
func (a api) here() memberDoc {
	m := memberDoc{Self: true, Version: a.cfg.Version, Started: a.cfg.Started, Pipes: []string{}}
	if a.cfg.Peers != nil {
		for _, p := range a.cfg.Peers.Members() {
			if p.Self {
				m.ID, m.Address = p.ID, p.Address
			}
		}
	}
	if a.cfg.Pipes == nil {
		return m
	}
	for _, name := range a.cfg.Pipes.Names() {
		if local, err := a.cfg.Pipes.Local(name); err == nil && local.Running {
			m.Pipes = append(m.Pipes, name)
		}
	}
	return m
}

// members asks all processes what they run, each by the name of the caller.
func (a api) members(r *http.Request, who gate.Principal) ([]memberDoc, error) {
	self := a.here()
	if a.cfg.Peers == nil {
		return []memberDoc{self}, nil
	}
	caller, err := json.Marshal(who)
	if err != nil {
		return nil, err
	}
	there := a.cfg.Peers.Members()
	all := make([]memberDoc, len(there))
	free := make(chan struct{}, memberCalls)
	var asking sync.WaitGroup
	for i, p := range there {
		if p.Self {
			all[i] = self
			continue
		}
		free <- struct{}{}
		asking.Go(func() {
			defer func() { <-free }()
			all[i] = a.ask(r, p, caller)
		})
	}
	asking.Wait()
	if self.ID == "" { // not announced yet
		all = append(all, self)
	}
	return all, nil
}

// ask asks another process what it runs.
func (a api) ask(r *http.Request, p peer.Member, caller []byte) memberDoc {
	unknown := memberDoc{ID: p.ID, Address: p.Address, Pipes: []string{}, Problem: "it has not answered"}
	ctx, cancel := context.WithTimeout(r.Context(), memberTime)
	defer cancel()
	said := &reply{header: http.Header{}}
	err := a.cfg.Peers.Forward(ctx, said, peer.Call{
		To: p.ID, Method: http.MethodGet, URI: "/klamm/v1/members?here=true", Host: r.Host, Header: http.Header{"Accept": {"application/json"}}, Caller: caller,
	})
	if err != nil {
		return unknown
	}
	var answer struct {
		Members []memberDoc `json:"members"`
	}
	if said.status != http.StatusOK || json.Unmarshal(said.body.Bytes(), &answer) != nil || len(answer.Members) != 1 {
		unknown.Problem = "it does not say what it runs"
		return unknown
	}
	m := answer.Members[0]
	m.ID, m.Address, m.Self = p.ID, p.Address, false
	return m
}

// A reply keeps what another process answers.
type reply struct {
	header http.Header
	status int
	body   bytes.Buffer
}

var errLargeReply = errors.New("the answer of another process is too large")

func (p *reply) Header() http.Header { return p.header }

func (p *reply) WriteHeader(status int) {
	if p.status == 0 {
		p.status = status
	}
}

func (p *reply) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	if p.body.Len()+len(b) > largestMember {
		return 0, errLargeReply
	}
	return p.body.Write(b)
}
