package acmetest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// route answers a request (RFC 8555, 7).
func (a *Authority) route(w http.ResponseWriter, r *http.Request) *problem {
	path, ok := strings.CutPrefix(r.URL.Path, a.path+"/")
	what, id, _ := strings.Cut(path, "/")
	switch {
	case !ok:
		return refuse(404, "malformed", "no such path")
	case what == "directory" && r.Method == http.MethodGet:
		return a.directory(w)
	case what == "nonce":
		return nil // its header is all
	case what == "renewal" && r.Method == http.MethodGet:
		return a.renewal(w, id)
	case r.Method != http.MethodPost:
		return refuse(405, "malformed", "want POST")
	}
	c, bad := a.verify(r, what == "new-account")
	if bad != nil {
		return bad
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch what {
	case "new-account":
		return a.newAccount(w, c)
	case "account":
		return a.changeAccount(w, c)
	case "new-order":
		return a.newOrder(w, c)
	case "order":
		return a.showOrder(w, c, id, 200)
	case "authz":
		return a.showAuthz(w, c, id)
	case "challenge":
		return a.tryChallenge(w, c, id)
	case "finalize":
		return a.finalize(w, c, id)
	case "certificate":
		chain, ok := a.issued[id]
		if !ok {
			return refuse(404, "malformed", "no such certificate")
		}
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		_, _ = w.Write(chain)
		return nil
	}
	return refuse(404, "malformed", "no such path")
}

func (a *Authority) directory(w http.ResponseWriter) *problem {
	d := map[string]any{
		"newNonce": a.at("nonce"), "newAccount": a.at("new-account"), "newOrder": a.at("new-order"),
		"meta": map[string]any{"externalAccountRequired": a.EAB != nil, "profiles": map[string]string{"classic": "as ever"}},
	}
	if a.Window != nil {
		d["renewalInfo"] = a.at("renewal")
	}
	return write(w, 200, d)
}

func (a *Authority) newAccount(w http.ResponseWriter, c call) *problem {
	var want struct {
		Contact                []string
		TermsOfServiceAgreed   bool
		ExternalAccountBinding json.RawMessage
	}
	if err := json.Unmarshal(c.payload, &want); err != nil {
		return refuse(400, "malformed", "%v", err)
	}
	mine, _ := c.key.Thumbprint(crypto.SHA256)
	for url, one := range a.accounts {
		if theirs, _ := one.key.Thumbprint(crypto.SHA256); bytes.Equal(mine, theirs) {
			w.Header().Set("Location", url)
			return write(w, 200, map[string]any{"status": "valid", "contact": one.contacts})
		}
	}
	if !want.TermsOfServiceAgreed {
		return refuse(403, "userActionRequired", "want agreement")
	}
	if bad := a.bound(c, want.ExternalAccountBinding); bad != nil {
		return bad
	}
	url := a.at("account", rand.Text())
	a.accounts[url] = &account{key: c.key, contacts: want.Contact}
	w.Header().Set("Location", url)
	return write(w, 201, map[string]any{"status": "valid", "contact": want.Contact})
}

// bound checks an external account binding (RFC 8555, 7.3.4).
func (a *Authority) bound(c call, binding json.RawMessage) *problem {
	if a.EAB == nil {
		return nil
	}
	if len(binding) == 0 {
		return refuse(403, "externalAccountRequired", "want an external account")
	}
	signed, err := jose.ParseSignedJSON(string(binding), []jose.SignatureAlgorithm{jose.HS256})
	if err != nil {
		return refuse(400, "malformed", "external account: %v", err)
	}
	head := signed.Signatures[0].Protected
	payload, err := signed.Verify(a.EAB[head.KeyID])
	if err != nil || head.ExtraHeaders["url"] != a.at("new-account") || head.Nonce != "" {
		return refuse(403, "unauthorized", "the external account is not yours")
	}
	var inner jose.JSONWebKey
	if err := inner.UnmarshalJSON(payload); err != nil {
		return refuse(400, "malformed", "external account: %v", err)
	}
	x, _ := inner.Thumbprint(crypto.SHA256)
	y, _ := c.key.Thumbprint(crypto.SHA256)
	if !bytes.Equal(x, y) {
		return refuse(400, "malformed", "the external account is bound to another key")
	}
	return nil
}

func (a *Authority) changeAccount(w http.ResponseWriter, c call) *problem {
	var want struct{ Contact []string }
	if err := json.Unmarshal(c.payload, &want); err != nil {
		return refuse(400, "malformed", "%v", err)
	}
	a.accounts[c.account].contacts = want.Contact
	return write(w, 200, map[string]any{"status": "valid", "contact": want.Contact})
}

func (a *Authority) newOrder(w http.ResponseWriter, c call) *problem {
	var want struct {
		Identifiers []identifier
		Replaces    string
	}
	if err := json.Unmarshal(c.payload, &want); err != nil || len(want.Identifiers) == 0 {
		return refuse(400, "malformed", "want identifiers: %v", err)
	}
	o, id := &order{account: c.account, identifiers: want.Identifiers}, rand.Text()
	for _, i := range want.Identifiers {
		z := &authz{account: c.account, id: i, status: "pending", token: rand.Text(), challenges: a.Offer}
		if base, wild := strings.CutPrefix(i.Value, "*."); wild {
			z.id.Value, z.wildcard, z.challenges = base, true, []string{"dns-01"}
		}
		name := rand.Text()
		a.authzs[name] = z
		o.authzs = append(o.authzs, name)
	}
	a.orders[id] = o
	if want.Replaces != "" {
		a.renewals = append(a.renewals, want.Replaces)
	}
	w.Header().Set("Location", a.at("order", id))
	return a.showOrder(w, c, id, 201)
}

func (a *Authority) statusOf(o *order) string {
	status := "ready"
	for _, id := range o.authzs {
		switch a.authzs[id].status {
		case "valid":
		case "pending":
			status = "pending"
		default:
			return "invalid"
		}
	}
	if o.certificate != "" {
		return "valid"
	}
	return status
}

func (a *Authority) showOrder(w http.ResponseWriter, c call, id string, status int) *problem {
	o := a.orders[id]
	if o == nil || o.account != c.account {
		return refuse(404, "malformed", "no such order")
	}
	v := map[string]any{"status": a.statusOf(o), "identifiers": o.identifiers, "finalize": a.at("finalize", id)}
	urls := []string{}
	for _, z := range o.authzs {
		urls = append(urls, a.at("authz", z))
	}
	v["authorizations"] = urls
	if o.certificate != "" {
		v["certificate"] = a.at("certificate", o.certificate)
	}
	return write(w, status, v)
}

func (a *Authority) showAuthz(w http.ResponseWriter, c call, id string) *problem {
	z := a.authzs[id]
	if z == nil || z.account != c.account {
		return refuse(404, "malformed", "no such authorization")
	}
	if len(c.payload) > 0 {
		var want struct{ Status string }
		if json.Unmarshal(c.payload, &want) == nil && want.Status == "deactivated" {
			z.status = "deactivated"
		}
	}
	var all []map[string]any
	for _, kind := range z.challenges {
		all = append(all, a.showChallenge(z, id, kind))
	}
	return write(w, 200, map[string]any{"status": z.status, "identifier": z.id, "wildcard": z.wildcard, "challenges": all})
}

func (a *Authority) showChallenge(z *authz, id, kind string) map[string]any {
	v := map[string]any{"type": kind, "url": a.at("challenge", id, kind), "token": z.token, "status": "pending"}
	switch {
	case z.by != kind:
	case z.status == "pending":
		v["status"] = "processing"
	case z.problem != nil:
		v["status"], v["error"] = z.status, z.problem
	default:
		v["status"] = z.status
	}
	return v
}

func (a *Authority) tryChallenge(w http.ResponseWriter, c call, id string) *problem {
	id, kind, _ := strings.Cut(id, "/")
	z := a.authzs[id]
	if z == nil || z.account != c.account || !slices.Contains(z.challenges, kind) || z.by != "" && z.by != kind {
		return refuse(404, "malformed", "no such challenge to be met")
	}
	if z.by == kind { // it was asked to look before, and the answer lost
		return write(w, 200, a.showChallenge(z, id, kind))
	}
	thumb, _ := c.key.Thumbprint(crypto.SHA256)
	answer := z.token + "." + base64.RawURLEncoding.EncodeToString(thumb)
	z.by = kind
	a.looking.Go(func() { // as long as it takes; clients ask again
		bad := a.look(kind, z.id, z.token, answer)
		a.mu.Lock()
		defer a.mu.Unlock()
		if z.problem, z.status = bad, "valid"; bad != nil {
			z.status = "invalid"
		}
	})
	return write(w, 200, a.showChallenge(z, id, kind))
}

func (a *Authority) finalize(w http.ResponseWriter, c call, id string) *problem {
	o := a.orders[id]
	if o == nil || o.account != c.account {
		return refuse(404, "malformed", "no such order")
	}
	if status := a.statusOf(o); status != "ready" {
		return refuse(403, "orderNotReady", "the order is %s", status)
	}
	var want struct{ CSR string }
	if err := json.Unmarshal(c.payload, &want); err != nil {
		return refuse(400, "malformed", "%v", err)
	}
	der, err := base64.RawURLEncoding.DecodeString(want.CSR)
	if err != nil {
		return refuse(400, "badCSR", "%v", err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return refuse(400, "badCSR", "%v", err)
	}
	var names, asked []string
	for _, i := range o.identifiers {
		names = append(names, i.Value)
	}
	asked = append(asked, csr.DNSNames...)
	for _, ip := range csr.IPAddresses {
		asked = append(asked, ip.String())
	}
	slices.Sort(names)
	slices.Sort(asked)
	if !slices.Equal(names, asked) {
		return refuse(400, "badCSR", "the request is for %v, the order for %v", asked, names)
	}
	o.certificate = rand.Text()
	a.issued[o.certificate] = a.issue(csr)
	return a.showOrder(w, c, id, 200)
}

// renewal says when a certificate is to be renewed (RFC 9773, 4).
func (a *Authority) renewal(w http.ResponseWriter, id string) *problem {
	key, serial, _ := strings.Cut(id, ".")
	for _, leaf := range a.Issued() {
		number := leaf.SerialNumber.Bytes()
		if number[0]&0x80 != 0 {
			number = append([]byte{0}, number...)
		}
		if key == base64.RawURLEncoding.EncodeToString(leaf.AuthorityKeyId) && serial == base64.RawURLEncoding.EncodeToString(number) {
			start, end := a.Window(leaf)
			w.Header().Set("Retry-After", "60")
			return write(w, 200, map[string]any{"suggestedWindow": map[string]any{"start": start.Format(time.RFC3339), "end": end.Format(time.RFC3339)}})
		}
	}
	return refuse(404, "malformed", "no such certificate")
}

// hostOf is how a name stands in a Host field.
func hostOf(name string) string {
	if ip := net.ParseIP(name); ip != nil && ip.To4() == nil {
		return "[" + name + "]"
	}
	return name
}
