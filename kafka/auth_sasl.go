package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// mechanism is the SASL mechanism of a login; nil where there is none.
func (l *login) mechanism() sasl.Mechanism {
	var m sasl.Mechanism
	switch l.method {
	case authPlain:
		m = plain.Plain(func(ctx context.Context) (plain.Auth, error) {
			s, err := l.user(ctx)
			return plain.Auth{User: s.Username, Pass: s.Password}, err
		})
	case authSCRAM256:
		m = scram.Sha256(l.scram)
	case authSCRAM512:
		m = scram.Sha512(l.scram)
	case authOAuth:
		m = bearer{oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
			if who := l.caller.Load(); who != nil {
				return oauth.Auth{Token: who.Token, Extensions: l.tokens.cfg.Extensions}, nil
			}
			token, err := l.tokens.get(ctx)
			return oauth.Auth{Token: token, Extensions: l.tokens.cfg.Extensions}, err
		})}
	case authIAM:
		m = iamMechanism{l}
	default:
		return nil
	}
	return attempts{m, l}
}

func (l *login) scram(ctx context.Context) (scram.Auth, error) {
	s, err := l.user(ctx)
	return scram.Auth{User: s.Username, Pass: s.Password}, err
}

// user returns the user and the password that are shown now.
func (l *login) user(ctx context.Context) (shown, error) {
	s, err := l.shown(ctx)
	if err == nil {
		err = s.fits(l.method)
	}
	return s, err
}

// attempts is a mechanism that tells its login how it ends.
type attempts struct {
	sasl.Mechanism
	login *login
}

// Authenticate begins a session.
func (a attempts) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	a.login.doubt()
	session, first, err := a.Mechanism.Authenticate(ctx, host)
	if err != nil {
		return nil, nil, a.login.failed(fmt.Errorf("%w: SASL %s: %w", ErrLogin, a.Name(), err))
	}
	return &attempt{session, a}, first, nil
}

type attempt struct {
	sasl.Session
	of attempts
}

// Challenge goes one step on.
func (a *attempt) Challenge(answer []byte) (bool, []byte, error) {
	done, next, err := a.Session.Challenge(answer)
	if err != nil {
		return done, next, a.of.login.failed(fmt.Errorf("%w: SASL %s with the broker: %w", ErrLogin, a.of.Name(), err))
	}
	if done {
		a.of.login.succeeded()
	}
	return done, next, nil
}

// bearer is OAUTHBEARER with its manner to fail: a broker that does not take a token
// says why, has to be sent one byte, and then ends the session (RFC 7628, 3.2.3).
type bearer struct{ sasl.Mechanism }

// Authenticate begins a session. A token that would break out of its message is an
// error.
func (b bearer) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	session, first, err := b.Mechanism.Authenticate(ctx, host)
	if err == nil && strings.Contains(string(first[:len(first)-2]), "\x01\x01") {
		err = errors.New("the token cannot be sent")
	}
	return &bearerSession{Session: session}, first, err
}

type bearerSession struct {
	sasl.Session
	refused bool
}

func (b *bearerSession) Challenge(answer []byte) (bool, []byte, error) {
	if len(answer) == 0 {
		return true, nil, nil
	}
	if b.refused {
		return false, nil, fmt.Errorf("the broker does not take the token: %.300q", answer)
	}
	b.refused = true
	return false, []byte{1}, nil
}
