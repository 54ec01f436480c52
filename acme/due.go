package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"time"

	protocol "github.com/mholt/acmez/v3/acme"
)

const (
	// askedOften and askedSeldom bound the time between two questions about when to
	// renew (RFC 9773, 4.3.2), and askedUntold is that time where the authority does not
	// say.
	askedOften  = time.Minute
	askedSeldom = 24 * time.Hour
	askedUntold = 6 * time.Hour
	// longestPause bounds the time between two attempts, and longestTold the one that
	// an authority may ask for.
	longestPause = time.Hour
	longestTold  = 24 * time.Hour
)

// thirds is when two thirds of a certificate's life are over, and up to a fiftieth of
// its life before or after that; where says which, from -1 to 1.
func thirds(leaf *x509.Certificate, where float64) time.Time {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return leaf.NotBefore.Add(life*2/3 + time.Duration(where*float64(life)/50))
}

// pause is how long nothing is ordered after some failures in a row: first, doubled with
// each, up to longestPause, and up to a fifth more by chance; and at least what the
// authority has asked for.
func pause(first time.Duration, failures int, told time.Duration) time.Duration {
	wait := first
	for i := 1; i < failures && wait < longestPause; i++ {
		wait *= 2
	}
	wait = max(min(wait, longestPause), min(told, longestTold))
	return wait + time.Duration(rand.Float64()*float64(wait)/5)
}

// respite is how long nothing is ordered after a success, so that a clock that is wrong,
// or an authority that wants everything renewed at once, makes no endless loop.
func respite(leaf *x509.Certificate) time.Duration {
	return min(max(leaf.NotAfter.Sub(leaf.NotBefore)/10, 10*time.Second), time.Hour)
}

// advice is what the authority says about when to renew (ARI, RFC 9773).
type advice struct {
	of     string // the serial number of the certificate
	window protocol.RenewalInfo
	again  time.Time // when to ask next
	failed bool      // the last question was not answered
}

// due is when a certificate is to be renewed.
func (k *Keeper) due(ctx context.Context, leaf *x509.Certificate) time.Time {
	if of := leaf.SerialNumber.String(); k.advice.of != of {
		k.advice = advice{of: of}
	}
	if !k.now().Before(k.advice.again) {
		k.ask(ctx, leaf)
	}
	if !k.advice.window.HasWindow() {
		return thirds(leaf, k.where)
	}
	at, last := k.advice.window.SelectedTime, leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore)/20)
	if at.After(last) { // whoever says so is wrong
		return last
	}
	return at
}

// ask asks the authority when to renew. An answer that there was holds until there is
// another.
func (k *Keeper) ask(ctx context.Context, leaf *x509.Certificate) {
	a := &k.advice
	if len(leaf.AuthorityKeyId) == 0 { // such a certificate cannot be named
		a.again = k.now().Add(askedSeldom)
		return
	}
	c, err := k.client()
	if err != nil {
		a.again = k.now().Add(askedUntold)
		return
	}
	defer c.close()
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	said, err := c.acme.GetRenewalInfo(ctx, leaf)
	now := k.now()
	switch {
	case errors.Is(err, protocol.ErrUnsupported):
		a.again = now.Add(askedSeldom)
	case err != nil:
		a.again = now.Add(min(askedUntold, pause(k.pace.retry, 1, c.transport.told())))
		if !a.failed && ctx.Err() == nil {
			k.log.Warn("the authority does not say when to renew a certificate", "names", k.cfg.Names, "err", bounded(err.Error()))
		}
		a.failed = true
	default:
		again := now.Add(askedUntold)
		if said.RetryAfter != nil {
			again = now.Add(min(max(time.Until(*said.RetryAfter), askedOften), askedSeldom))
		}
		if a.window.HasWindow() && a.window.SameWindow(said) {
			said.SelectedTime = a.window.SelectedTime // chosen once
		} else {
			k.log.Info("the authority says when to renew a certificate", "names", k.cfg.Names, "at", said.SelectedTime, "because", bounded(said.ExplanationURL))
		}
		a.window, a.again, a.failed = said, again, false
	}
}
