package klamm

import (
	"net/http"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/auth"
	"github.com/klamm-gateway/klamm/gate"
)

// sessionRoutes are the routes by which people sign in to the web console and out of
// it. The session is a cookie that only the console's own pages can use.
func (a api) sessionRoutes() []front.Route {
	return []front.Route{
		{Name: "session.get", Pattern: "GET /klamm/v1/session", Serve: a.getSession},
		{Name: "session.ways", Pattern: "GET /klamm/v1/session/ways", Serve: a.waysIn, Public: true},
		{Name: "session.begin", Pattern: "POST /klamm/v1/session", Serve: a.signIn, Public: true},
		{Name: "session.end", Pattern: "DELETE /klamm/v1/session", Serve: a.signOut, Public: true},
		{Name: "session.oidc", Pattern: "GET /klamm/v1/session/oidc", Serve: a.beginOIDC, Public: true},
		{Name: "credentials.issue", Pattern: "POST /_klamm/sts", Serve: a.issueCredentials},
		{Name: "session.callback", Pattern: "GET /klamm/v1/session/oidc/callback", Serve: a.endOIDC, Public: true},
	}
}

// A sessionDoc says who is calling, and what is called.
type sessionDoc struct {
	Principal string   `json:"principal"`
	Groups    []string `json:"groups"`
	Scheme    string   `json:"scheme,omitempty"`
	Account   string   `json:"account,omitempty"`
	// Cookie says that the caller has signed in to the console, and can sign out.
	Cookie bool `json:"cookie"`
	// Expires is when the credentials or the session end.
	Expires *time.Time `json:"expires,omitempty"`
	Version string     `json:"version,omitempty"`
	// Cluster is the first of the bootstrap servers, and Process this process.
	Cluster string `json:"cluster,omitempty"`
	Process string `json:"process,omitempty"`
	// Ways are the ways to sign in.
	Ways []string `json:"ways"`
}

// getSession serves GET /klamm/v1/session: who is calling. Everybody may know that of
// themselves.
func (a api) getSession(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	if _, err := queryOf(r); err != nil {
		return err
	}
	doc := sessionDoc{
		Principal: who.Name, Groups: who.Groups, Scheme: who.Scheme, Account: who.AccountID, Cookie: a.cfg.Auth.HasSession(r), Version: a.cfg.Version,
		Process: a.process(), Ways: a.cfg.Auth.Ways(),
	}
	if doc.Groups == nil {
		doc.Groups = []string{}
	}
	if doc.Account == "" {
		doc.Account = a.cfg.Account
	}
	if !who.Expires.IsZero() {
		at := who.Expires.UTC()
		doc.Expires = &at
	}
	if a.cfg.Brokers != nil {
		if all := a.cfg.Brokers(); len(all) > 0 {
			doc.Cluster = all[0]
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, http.StatusOK, "application/json", doc)
}

// process is the id of this klamm process among those of the cluster; empty: it is not
// known.
func (a api) process() string {
	if a.cfg.Peers == nil {
		return ""
	}
	return a.cfg.Peers.ID()
}

// issueCredentials serves POST /_klamm/sts (gateway-policies.md 1.3.1), whose body is
// nothing or {"DurationSeconds": N}: gives the caller temporary credentials, in the form that
// a credential_process of AWS's SDKs answers with.
func (a api) issueCredentials(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	var body struct {
		DurationSeconds int64 `json:"DurationSeconds"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	if body.DurationSeconds < 0 || body.DurationSeconds > int64(24*time.Hour/time.Second) {
		return invalid("DurationSeconds must be a number of seconds, up to those of a day")
	}
	t, err := a.cfg.Auth.Issue(who, time.Duration(body.DurationSeconds)*time.Second)
	if err != nil {
		return err
	}
	if a.cfg.Gate != nil {
		a.cfg.Gate.Issued(who, t.AccessKeyID)
	}
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, http.StatusOK, "application/json", struct {
		Version         int
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		SessionToken    string
		Expiration      time.Time
	}{1, t.AccessKeyID, t.SecretAccessKey, t.SessionToken, t.Expires.UTC()})
}

// waysIn serves GET /klamm/v1/session/ways: how one can sign in.
func (a api) waysIn(w http.ResponseWriter, _ *http.Request, _ gate.Principal) error {
	return writeJSON(w, http.StatusOK, "application/json", map[string]any{"ways": a.cfg.Auth.Ways()})
}

// signIn serves POST /klamm/v1/session, whose body is {"key": K} or {"user": U,
// "password": P}: begins a session.
func (a api) signIn(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
	var body struct {
		Key      string `json:"key"`
		User     string `json:"user"`
		Password string `json:"password"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	who, cookie, err := a.cfg.Auth.SignIn(r, auth.Credentials(body))
	a.noteSignIn(w, r, who, err)
	if err != nil {
		return err
	}
	return noContent(w, cookie)
}

// signOut serves DELETE /klamm/v1/session.
func (a api) signOut(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
	cookie, ok := a.cfg.Auth.SignOut(r)
	if !ok {
		return noContent(w)
	}
	return noContent(w, cookie)
}

func noContent(w http.ResponseWriter, cookies ...*http.Cookie) error {
	for _, c := range cookies {
		http.SetCookie(w, c)
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// beginOIDC serves GET /klamm/v1/session/oidc ?back=: sends a browser to the identity
// provider. Back is the fragment of the console to come back to.
func (a api) beginOIDC(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
	q, err := queryOf(r, "back")
	if err != nil {
		return err
	}
	to, cookie, err := a.cfg.Auth.BeginOIDC(r, q.text("back"))
	if err != nil {
		return err
	}
	return redirect(w, to, cookie)
}

// endOIDC serves GET /klamm/v1/session/oidc/callback: a browser comes back from the
// identity provider. Whatever has happened, it goes on to the console, which says so.
func (a api) endOIDC(w http.ResponseWriter, r *http.Request, _ gate.Principal) error {
	back, err := a.cfg.Auth.EndOIDC(r)
	a.noteSignIn(w, r, back.Who, err)
	to := "/" + back.Back
	if err != nil {
		a.cfg.Log.Info("sign-in refused", "way", "oidc", "reason", err)
		to = "/#/overview?signin=refused"
	}
	return redirect(w, to, back.Cookies...)
}

func redirect(w http.ResponseWriter, to string, cookies ...*http.Cookie) error {
	for _, c := range cookies {
		http.SetCookie(w, c)
	}
	h := w.Header()
	h.Set("Location", to)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer") // the address has a code in it
	w.WriteHeader(http.StatusFound)
	return nil
}

// noteSignIn puts an attempt to sign in into the audit log.
func (a api) noteSignIn(w http.ResponseWriter, r *http.Request, who gate.Principal, err error) {
	if a.cfg.Gate == nil {
		return
	}
	q := &gate.Request{ID: w.Header().Get("X-Request-Id"), Method: r.Method, Path: r.URL.Path, Time: time.Now()}
	if err != nil {
		source := ""
		if addr := a.cfg.Auth.Source(r); addr.IsValid() {
			source = addr.String()
		}
		_, reason := explain(err)
		a.cfg.Gate.TurnedAway(q, source, "sign-in: "+reason)
		return
	}
	if !who.Source.IsValid() {
		who.Source = a.cfg.Auth.Source(r)
	}
	a.cfg.Gate.SignedIn(who.Within(q))
}
