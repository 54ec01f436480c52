package klamm

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/gate"
)

// An instanceDoc is a consumer instance.
type instanceDoc struct {
	Group    string   `json:"group"`
	Instance string   `json:"instance"`
	Owner    string   `json:"owner,omitempty"` // who made it, and alone may use it
	Format   string   `json:"format,omitempty"`
	Topics   []string `json:"topics"`
	Pattern  string   `json:"pattern,omitempty"`
	// ByHand says that its partitions were assigned by hand, and not by its group.
	ByHand     bool        `json:"by_hand,omitempty"`
	Partitions []placeText `json:"partitions"`
	// Process is the one that answers for it, and Address where that is reached;
	// empty: the next one that is asked.
	Process string `json:"process,omitempty"`
	Address string `json:"address,omitempty"`
	Here    bool   `json:"here,omitempty"`
	// Alive says that the process was seen lately; where it was not, another one goes
	// on with the instance as soon as it is called.
	Alive bool `json:"alive"`
	// IdleSeconds is for how long it lives without a call, Used when it was last
	// called, and Expires when it will be gone if it is not called; the latter two
	// where this process knows.
	IdleSeconds float64   `json:"idle_seconds"`
	Used        time.Time `json:"used,omitzero"`
	Expires     time.Time `json:"expires,omitzero"`
}

// listInstances serves GET /klamm/v1/instances ?prefix= &after= &limit=:
// {"instances": [instanceDoc], "next"?}: the consumer instances of all processes
// whose groups the caller may describe, by group and name. Prefix is of the group.
func (a api) listInstances(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	g, l, err := a.listing(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTime)
	defer cancel()
	all, err := g.ConsumerList(ctx, who)
	if err != nil {
		return err
	}
	address := map[string]string{}
	if a.cfg.Peers != nil {
		for _, m := range a.cfg.Peers.Members() {
			address[m.ID] = m.Address
		}
	}
	out := struct {
		Instances []instanceDoc `json:"instances"`
		Next      string        `json:"next,omitempty"`
	}{Instances: []instanceDoc{}}
	afterGroup, afterName, _ := strings.Cut(l.after, "/")
	last := ""
	for _, one := range all {
		if !strings.HasPrefix(one.Group, l.prefix) || l.after != "" && (one.Group < afterGroup || one.Group == afterGroup && one.Name <= afterName) {
			continue
		}
		if len(out.Instances) == l.limit {
			out.Next = last
			break
		}
		last = one.Group + "/" + one.Name
		d := instanceDoc{
			Group: one.Group, Instance: one.Name, Owner: one.Owner, Format: one.Config.Format, Topics: one.Topics, Pattern: one.Pattern,
			ByHand: len(one.Assigned) > 0, Partitions: placesOf(one.Holds), Process: one.Holder, Address: address[one.Holder],
			Here: one.Here, Alive: one.Alive, IdleSeconds: one.Config.Idle.Seconds(), Used: one.Used,
		}
		if d.Topics == nil {
			d.Topics = []string{}
		}
		if !one.Used.IsZero() {
			d.Expires = one.Used.Add(one.Config.Idle)
		}
		out.Instances = append(out.Instances, d)
	}
	return writeJSON(w, http.StatusOK, "application/json", out)
}
