package auth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// renewedWithin is how old an answer of others may be that a renewal goes by. Open
// streams ask every half a minute.
const renewedWithin = 20 * time.Second

// renewable makes who a request was let in as somebody who is asked for again while
// it lasts: keys are revoked, groups change and people leave while streams are open.
func (c *Chain) renewable(r *http.Request, s *scheme, who gate.Principal) gate.Principal {
	return who.Renewable(func(ctx context.Context) (gate.Principal, error) {
		if err := c.stillOpen(); err != nil {
			return gate.Principal{}, err
		}
		now, err := s.renew(r.WithContext(ctx))
		if err == nil {
			now, err = c.complete(r, s, now)
		}
		if errors.Is(err, front.ErrNotMine) { // the certificate that came with the connection is not good any more
			err = s.challenge(r)
		}
		if err != nil {
			return gate.Principal{}, c.refused(r, s.name, err)
		}
		return now, front.Scoped(r, now)
	})
}

// stillOpen is an error once the chain is closed: others decide who may come in.
func (c *Chain) stillOpen() error {
	if c.ctx.Err() == nil {
		return nil
	}
	return &front.Refusal{Kind: gate.Unauthenticated, Message: "the ways in were configured anew; show your credentials again"}
}

// renew says whether the key of a request is still taken. Clock, signature and body
// were checked when it came.
func (s *sigv4) renew(r *http.Request) (gate.Principal, error) {
	sig, err := parseSignature(r)
	if err != nil {
		return gate.Principal{}, err
	}
	if err := s.checkScope(sig); err != nil {
		return gate.Principal{}, err
	}
	now := s.now().UTC()
	key, known := s.find(sig, now)
	if !known {
		return gate.Principal{}, refuseIAM(unrecognizedClient, "The security token included in the request is invalid.")
	}
	if !key.expires.IsZero() && !now.Before(key.expires) {
		return gate.Principal{}, refuseIAM(expiredToken, "The security token included in the request is expired")
	}
	return key.who, nil
}
