package auth

import (
	"errors"
	"net/http"
	"strings"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// pass has Kafka decide on a user name and a password (gateway-policies.md 1.9). Who
// fails often is slowed down, as with a file.
func (b *basic) pass(r *http.Request, name, password string) (gate.Principal, error) {
	if b.env.Login == nil {
		return gate.Principal{}, &front.Refusal{Kind: gate.Internal, Message: "there is no Kafka that could be asked"}
	}
	who := gate.Principal{Name: "User:" + name, Scheme: gate.SchemeBasic}
	caller := kafka.Caller{Principal: who.Name, Username: name, Password: password}
	limits, err := b.slow(r, name)
	if err != nil {
		return gate.Principal{}, err
	}
	switch err := b.env.Login(r.Context(), caller); {
	case errors.Is(err, gate.ErrBadLogin):
		for _, l := range limits {
			l.Allow()
		}
		return gate.Principal{}, refuseBasic()
	case err != nil && r.Context().Err() != nil:
		return gate.Principal{}, r.Context().Err()
	case err != nil:
		b.env.Log.Warn("cannot ask Kafka about a login", "err", err)
		return gate.Principal{}, &front.Refusal{Kind: gate.Unavailable, Message: "Kafka cannot be asked about these credentials now"}
	}
	return who.WithCaller(&caller), nil
}

// passable gives a caller who came with a bearer token what can be shown to Kafka.
func (c *Chain) passable(r *http.Request, who gate.Principal) gate.Principal {
	if !who.ByToken() || c.env.Login == nil {
		return who
	}
	word, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(word, "Bearer") {
		return who
	}
	return who.WithCaller(&kafka.Caller{Principal: who.Name, Token: strings.TrimSpace(token), Expires: who.Expires})
}
