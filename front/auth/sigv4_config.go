package auth

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/secret"
)

var (
	keyIDForm   = regexp.MustCompile(`^[A-Z0-9]{16,128}$`)
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
	iamName     = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
)

// IAM takes signed requests.
type IAM struct {
	// Service is the service that requests are signed for, or a list of those
	// that are accepted; the default is execute-api.
	Service json.RawMessage `yaml:"service"`
	// Skew is how far the clock of a caller may be off, up to 15m; the default is
	// 5m.
	Skew time.Duration `yaml:"skew"`
	// Keys are the access keys that klamm knows.
	Keys []AccessKey `yaml:"keys"`
	// PathEncoding is double (the default), which is what AWS's SDKs sign, or
	// either, which also takes paths that were signed as they are sent.
	PathEncoding string `yaml:"path_encoding"`
	// HostFrom is x-forwarded-host where a trusted proxy puts the host that
	// callers have signed into that header; the default is the Host header.
	HostFrom string `yaml:"host_from"`
	// AllowUnsignedPayload takes requests whose signature leaves out the body.
	AllowUnsignedPayload bool `yaml:"allow_unsigned_payload"`
	// DebugMismatch answers a wrong signature with the canonical request that
	// klamm has computed. It is for finding a client's mistake, not for keeps.
	DebugMismatch bool `yaml:"debug_mismatch"`
	// ReplayCache refuses a signature that was seen before. Clients that repeat a
	// request must sign it again.
	ReplayCache bool `yaml:"replay_cache"`
	// STS gives temporary credentials to callers of any scheme (POST /_klamm/sts); the
	// default is not to.
	STS *STS `yaml:"sts"`
}

// An AccessKey is one access key.
type AccessKey struct {
	// AccessKeyID is its public id: 16 to 128 capital letters and digits, ASIA...
	// for temporary keys.
	AccessKeyID string `yaml:"access_key_id"`
	// Secret is the secret access key.
	Secret secret.Ref `yaml:"secret"`
	// SessionToken is what a temporary key must come with.
	SessionToken secret.Ref `yaml:"session_token"`
	// User is the name of the IAM user, for a key that is not temporary.
	User string `yaml:"user"`
	// Role is the role of a temporary key.
	Role string `yaml:"role"`
	// SessionName tells the sessions of a role apart.
	SessionName string `yaml:"session_name"`
	// AccountID is the AWS account of the user or role; the default is
	// aws.account.
	AccountID string `yaml:"account_id"`
	// Principal is the caller's name, such as User:alice; the default is made of
	// the user or the role.
	Principal string `yaml:"principal"`
	// Groups are what the caller is a member of.
	Groups []string `yaml:"groups"`
	// Tags are the caller's (aws:PrincipalTag/...).
	Tags map[string]string `yaml:"tags"`
	// Enabled may be false; the default is true.
	Enabled *bool `yaml:"enabled"`
	// NotAfter is the time, such as 2027-01-01T00:00:00Z, from which on the key is
	// not taken any more.
	NotAfter string `yaml:"not_after"`
	// Expires is the end of a temporary key; callers are told that it has expired.
	Expires string `yaml:"expires"`
}

// services returns the accepted services.
func (c *IAM) services() ([]string, error) {
	if len(c.Service) == 0 {
		return []string{"execute-api"}, nil
	}
	var one string
	if json.Unmarshal(c.Service, &one) == nil {
		return []string{one}, checkServices([]string{one})
	}
	var list []string
	if err := json.Unmarshal(c.Service, &list); err != nil {
		return nil, fmt.Errorf("want a service or a list of services")
	}
	return list, checkServices(list)
}

func checkServices(list []string) error {
	if len(list) == 0 {
		return fmt.Errorf("want at least one service")
	}
	for _, s := range list {
		if s == "" || len(s) > 64 || strings.ContainsAny(s, "/ ,") {
			return fmt.Errorf("%q is no service", s)
		}
	}
	return nil
}

// Validate reports each problem with the field it lies in.
func (c *IAM) Validate(report func(path, problem string)) {
	if _, err := c.services(); err != nil {
		report("service", err.Error())
	}
	if c.Skew < 0 || c.Skew > 15*time.Minute || c.Skew != 0 && c.Skew < time.Second {
		report("skew", "want a time from 1s to 15m")
	}
	if !slices.Contains([]string{"", "double", "either"}, c.PathEncoding) {
		report("path_encoding", "want double or either")
	}
	if !slices.Contains([]string{"", "host", "x-forwarded-host"}, c.HostFrom) {
		report("host_from", "want host or x-forwarded-host")
	}
	ids := map[string]bool{}
	for i, k := range c.Keys {
		if ids[k.AccessKeyID] {
			report(fmt.Sprintf("keys[%d].access_key_id", i), "this key is there twice")
		}
		ids[k.AccessKeyID] = true
	}
}

// Validate reports each problem with the field it lies in.
func (k AccessKey) Validate(report func(path, problem string)) {
	if !keyIDForm.MatchString(k.AccessKeyID) {
		report("access_key_id", "want 16 to 128 capital letters and digits")
	}
	if k.Secret.IsZero() {
		report("secret", "want {env: NAME}, {file: PATH} or {value: TEXT}")
	}
	temporary := strings.HasPrefix(k.AccessKeyID, "ASIA")
	switch {
	case temporary && k.SessionToken.IsZero():
		report("session_token", "a temporary key (ASIA...) has a session token")
	case temporary && (k.Role == "" || k.SessionName == ""):
		report("role", "a temporary key (ASIA...) has a role and a session_name")
	case !temporary && !k.SessionToken.IsZero():
		report("session_token", "only a temporary key (ASIA...) has one")
	case !temporary && k.User == "":
		report("user", "a key has a user")
	}
	for _, one := range []struct{ field, name string }{{"user", k.User}, {"role", k.Role}, {"session_name", k.SessionName}} {
		if one.name != "" && !iamName.MatchString(one.name) {
			report(one.field, "want up to 64 letters, digits and _+=,.@-")
		}
	}
	if k.AccountID != "" && !accountForm.MatchString(k.AccountID) {
		report("account_id", "want twelve digits")
	}
	checkPrincipal(report, k.Principal)
	checkTime(report, "not_after", k.NotAfter)
	checkTime(report, "expires", k.Expires)
}

func checkPrincipal(report func(path, problem string), name string) {
	if bare, ok := strings.CutPrefix(name, "User:"); name != "" && (!ok || !validName(bare)) {
		report("principal", "want User:NAME, 1 to 249 printable characters")
	}
}

func checkTime(report func(path, problem string), field, text string) {
	if text == "" {
		return
	}
	if _, err := time.Parse(time.RFC3339, text); err != nil {
		report(field, "want a time such as 2027-01-01T00:00:00Z")
	}
}

// moment is a validated time; the zero time for none.
func moment(text string) time.Time {
	t, _ := time.Parse(time.RFC3339, text)
	return t
}
