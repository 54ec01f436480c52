package kafka

import (
	"strings"

	"github.com/klamm-gateway/klamm/certificate"
)

// ErrUnusable says that a certificate or its private key cannot be used: it is not PEM,
// the two do not belong together, or the key's password is wrong.
var ErrUnusable = certificate.ErrUnusable

// IsOwn says whether a member of a group with this client id is a process of klamm.
func IsOwn(client string) bool { return strings.HasPrefix(client, clientID) }
