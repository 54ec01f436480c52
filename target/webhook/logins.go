package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
)

// logins are the tokens that targets share which belong to one connection, so that there
// is one exchange under way for it (event-bus.md 7). They are safe for concurrent use.
type logins struct {
	mu     sync.Mutex         // guards everything below
	tokens map[string]*tokens // by the configuration that they are asked for with
	users  map[*tokens]int    // how many targets have them open
}

// of returns the tokens for the OAuth part of a webhook's configuration, raw as a whole.
// Who gets them closes them.
func (l *logins) of(config *OAuth, raw json.RawMessage, env target.Env) (*tokens, error) {
	if config.Connection == "" {
		return newTokens(config, env)
	}
	var part struct {
		Auth struct {
			OAuth json.RawMessage `json:"oauth"`
		} `json:"auth"`
	}
	if err := json.Unmarshal(raw, &part); err != nil {
		return nil, err
	}
	key := string(part.Auth.OAuth)
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.tokens[key]
	if o == nil {
		var err error
		if o, err = newTokens(config, env); err != nil {
			return nil, err
		}
		o.left = func() bool { return l.leave(key, o) }
		if env.LoggedIn != nil {
			o.told = func(ctx context.Context, err error) { env.LoggedIn(ctx, config.Connection, err) }
		}
		l.tokens[key] = o
	}
	l.users[o]++
	return o, nil
}

// leave says whether the last target has closed its tokens.
func (l *logins) leave(key string, o *tokens) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users[o]--; l.users[o] > 0 {
		return false
	}
	delete(l.users, o)
	delete(l.tokens, key)
	return true
}

// LogIn asks for one token as the OAuth part of a webhook's configuration says, and
// forgets it; its secrets are looked up here, whatever env has. The error says why there
// is none.
func LogIn(ctx context.Context, oauth json.RawMessage, env target.Env) error {
	c := &OAuth{}
	if err := json.Unmarshal(oauth, c); err != nil {
		return err
	}
	var problem error
	c.validate(func(path, text string) {
		if problem == nil {
			problem = fmt.Errorf("oauth: %s: %s", path, text)
		}
	})
	if problem != nil {
		return problem
	}
	env.Secret = secret.Local
	o, err := newTokens(c, env)
	if err != nil {
		return err
	}
	defer o.close()
	_, _, err = o.fetch(ctx)
	return err
}
