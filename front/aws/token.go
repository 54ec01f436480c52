package aws

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/target/webhook"
)

// proveTime bounds the first exchange with an authorization endpoint.
const proveTime = 20 * time.Second

// prove asks the authorization endpoint of a new connection once for a token, and
// notes what came of it (event-bus.md 7). Deliveries get tokens of their own.
func (a *API) prove(doc catalog.Document, c *connection) {
	if c.State != authorizing {
		return
	}
	own := *c // the caller still answers with c
	a.proving.Go(func() {
		ctx, cancel := context.WithTimeout(a.ctx, proveTime)
		defer cancel()
		// Who has changed the connection meanwhile has its own proof.
		if err := a.note(ctx, doc, &own, a.exchange(ctx, &own)); err != nil {
			a.cfg.Log.Warn("the state of a connection is not noted", "connection", doc.Name, "err", err)
		}
	})
}

// note stores a connection with the state that it has after an exchange.
func (a *API) note(ctx context.Context, doc catalog.Document, c *connection, problem error) (err error) {
	if problem != nil {
		c.State, c.StateReason = deauthorized, clip(problem.Error())
	} else {
		c.State, c.StateReason, c.Authorized = authorized, "", now()
	}
	if doc.Body, err = json.Marshal(c); err == nil {
		_, err = a.cfg.Store.Put(ctx, doc, doc.Version)
	}
	return err
}

// exchange gets a token, as deliveries do.
func (a *API) exchange(ctx context.Context, c *connection) error {
	config := map[string]any{}
	if err := a.authorize(ctx, c, config); err != nil {
		return err
	}
	raw, err := json.Marshal(config["auth"].(map[string]any)["oauth"])
	if err != nil {
		return err
	}
	return webhook.LogIn(ctx, raw, target.Env{Transport: a.cfg.Transport, Egress: a.cfg.Egress})
}

// LoggedIn notes what came of an exchange that deliveries have made for a connection:
// after one that fails it is DEAUTHORIZED, until one succeeds (event-bus.md 7). login is
// what the connection's login was called; one that it does not have any more says
// nothing. It blocks until that is stored or ctx ends.
func (a *API) LoggedIn(ctx context.Context, login string, problem error) {
	name, _, _ := strings.Cut(login, "/")
	doc, ok := a.cfg.Store.Look(catalog.KindConnection, name)
	var err error
	for attempt := 1; ok; attempt++ {
		c, wrong := readConnection(doc)
		if wrong != nil || c.login() != login || c.Revoked || c.State != authorized && c.State != deauthorized || (c.State == authorized) == (problem == nil) {
			return
		}
		err = a.note(ctx, doc, c, problem)
		if attempt == attempts || !errors.Is(err, catalog.ErrConflict) {
			break
		}
		doc, err = a.cfg.Store.Get(ctx, catalog.KindConnection, name)
		ok = err == nil
	}
	if err != nil && !errors.Is(err, catalog.ErrNotFound) {
		a.cfg.Log.Warn("the state of a connection is not noted", "connection", name, "err", err)
	}
}
