package gate

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// renewAfter is for how long it counts who a caller is. Streams ask every half a
// minute, so what ends a key or a membership acts on them within a minute.
const renewAfter = 25 * time.Second

// A standing is how it is found out again who a caller is, for requests that last.
type standing struct {
	ask   func(ctx context.Context) (Principal, error)
	begun time.Time

	mu  sync.Mutex // guards what follows
	at  time.Time  // of the last answer; zero: there was none yet
	who *Principal // where err is nil
	err error
}

// Renewable returns the principal as one who is asked for again by each call that is
// made for them later than 25 seconds after the last time: who they are, and their
// groups, may be different then. An error of ask is the call's, and nothing is done.
// Ask has to say at once what it knows to be true now, is called by one goroutine at
// a time, and must return a principal of the same name.
func (p Principal) Renewable(ask func(ctx context.Context) (Principal, error)) Principal {
	p.standing = &standing{ask: ask, begun: time.Now()}
	return p
}

// renew replaces a caller by who they are now, if that was found out long ago.
func (p *Principal) renew(ctx context.Context) error {
	s := p.standing
	if s == nil || time.Since(s.begun) < renewAfter {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() || time.Since(s.at) >= renewAfter {
		who, err := s.ask(ctx)
		if err != nil && ctx.Err() != nil {
			return ctx.Err() // that says nothing of the caller
		}
		if err == nil && who.Name != p.Name {
			err = &Error{Unauthenticated, "the credentials are somebody else's now"}
		}
		s.at, s.who, s.err = time.Now(), &who, err
	}
	if s.err != nil {
		return s.err
	}
	now := s.who
	p.Groups, p.GroupsUnknown, p.GroupsFailed, p.Tags, p.Roles, p.Scopes, p.Claims = now.Groups, now.GroupsUnknown, now.GroupsFailed, now.Tags, now.Roles, now.Scopes, now.Claims
	p.Policy, p.Context, p.AccountID, p.ARN, p.RoleARN = now.Policy, now.Context, now.AccountID, now.ARN, now.RoleARN
	return nil
}

// still asks again whether a caller may read what a read has waited for: in the
// meantime that may have ended.
func (u *Consumer) still(ctx context.Context, since time.Time, records []*kgo.Record) error {
	if time.Since(since) < renewAfter || !u.gate.Guarded() {
		return nil
	}
	if err := u.gate.allowGroup(ctx, u.who, u.definition().Group); err != nil {
		return err
	}
	topics := map[string]bool{}
	for _, r := range records {
		topics[r.Topic] = true
	}
	for t := range topics {
		if err := u.allowTopics(ctx, []string{t}); err != nil {
			return err
		}
	}
	return nil
}
