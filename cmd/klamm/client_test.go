package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/app"
	"github.com/klamm-gateway/klamm/broker"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/target/all"
)

// operate carries out a client command and returns both outputs and its exit
// status, with the error's line as main prints it.
func operate(t *testing.T, args ...string) (out, errs string, status int) {
	t.Helper()
	root := rootCommand()
	var o, e bytes.Buffer
	root.SetOut(&o)
	root.SetErr(&e)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		status = exit.code
		if exit.err != nil {
			e.WriteString(exit.err.Error() + "\n")
		}
	case err != nil:
		status = 2
		e.WriteString(err.Error() + "\n")
	}
	return o.String(), e.String(), status
}

// An apiServer stands in for klamm's API.
type apiServer struct {
	url   string
	asked string // the last request: method, path with query, body
}

// serveAPI answers every request with a status, a media type and a body.
func serveAPI(t *testing.T, status int, media, body string) *apiServer {
	t.Helper()
	a := &apiServer{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "1")
		text, _ := io.ReadAll(r.Body)
		a.asked = strings.TrimSpace(r.Method + " " + r.RequestURI + " " + string(text))
		w.Header().Set("Content-Type", media)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	a.url = s.URL
	return a
}

const (
	onePipeJSON = `{"pipe":"p","topics":["a","b"],"group":"g","target":"webhook","state":"halted","reason":"offsets\nvanished","since":"2026-01-31T12:00:00Z","members":0,"lag":5,` +
		`"partitions":[{"topic":"a","partition":0,"committed":-1,"start":0,"end":3,"lag":3},{"topic":"b","partition":1,"committed":7,"start":0,"end":9,"lag":2,"member":"m"}]}`
	oneMemberJSON   = `{"id":"x","address":"h:1","self":true,"version":"v1","started":"2026-01-31T12:00:00Z","pipes":["p","q"]}`
	oneLetterJSON   = `{"id":"0-7","pipe":"p","topic":"a","partition":2,"offset":17,"attempts":3,"status":422,"reason":"HTTP status 422","response":"<no>","key":"k\u001b[31m","bytes":12,"at":"2026-01-31T12:00:00.5Z"}`
	oneDeliveryJSON = `{"delivery_id":"p:a:2:17:x","pipe":"p","topic":"a","partition":2,"offset":17,"attempts":2,"status":0,"last_offset":17,"count":1,"outcome":"failed","next":"2026-01-31T12:00:09Z","at":"2026-01-31T12:00:00Z"}`
	shownJSON       = `{"delivery_id":"p:a:2:17:x","pipe":"p","topic":"a","partition":2,"offset":17,"status":200,"last_offset":19,"count":3,"outcome":"delivered","at":"2026-01-31T12:00:00Z",` +
		`"attempts":[{"attempt":1,"at":"2026-01-31T12:00:00Z","status":0,"error":"connection refused","took_ms":1.25,"next":"2026-01-31T12:00:01Z"},{"attempt":2,"at":"2026-01-31T12:00:01Z","status":200,"response":"ok","took_ms":3,"wait_ms":2.5}]}`
	loggedJSON = `{"delivery_id":"p:a:2:17:x","pipe":"p","topic":"a","partition":2,"offset":17,"attempts":1,"status":503,"last_offset":17,"count":1,"outcome":"failed","at":"2026-01-31T12:00:00Z","attempt":{"attempt":1,"at":"2026-01-31T12:00:00Z","status":503,"error":"HTTP status 503","took_ms":4}}`
	movesJSON  = `{"moves":[{"topic":"a","partition":0,"from":-1,"to":3,"records":-3},{"topic":"b","partition":1,"from":9,"to":7,"records":2}]}`
)

// lines joins lines, each with its end.
func lines(text ...string) string { return strings.Join(text, "\n") + "\n" }

func TestClientCommands(t *testing.T) {
	for _, c := range []struct {
		name, args, answer string
		asked, out, errs   string
		status             int
	}{
		{"pipes", "pipe list", `{"pipes":[` + onePipeJSON + `]}`, "GET /klamm/v1/pipes",
			lines("PIPE  STATE   LAG  MEMBERS  TARGET   TOPICS  REASON", "p     halted  5    0        webhook  a,b     offsets\ufffdvanished"), "", 0},
		{"pipes in JSON", "pipe list -o json", `{"pipes":[` + onePipeJSON + `,` + onePipeJSON + `]}`, "GET /klamm/v1/pipes", lines(onePipeJSON, onePipeJSON), "", 0},
		{"no pipes in JSON", "pipe list -o json", `{"pipes":[]}`, "GET /klamm/v1/pipes", "", "", 0},
		{"a pipe", "pipe show p", onePipeJSON, "GET /klamm/v1/pipes/p", lines("pipe     p", "state    halted", "reason   offsets\ufffdvanished", "since    2026-01-31T12:00:00.000Z", "topics   a,b", "group    g", "target   webhook", "members  0", "lag      5", "",
			"TOPIC  PARTITION  COMMITTED  START  END  LAG  MEMBER", "a      0          -          0      3    3    -", "b      1          7          0      9    2    m"), "", 0},
		{"a pipe in JSON", "pipe show --pipe p -o json", onePipeJSON, "GET /klamm/v1/pipes/p", lines(onePipeJSON), "", 0},
		{"lag of one", "pipe lag p -o json", onePipeJSON, "GET /klamm/v1/pipes/p",
			lines(`{"pipe":"p","topic":"a","partition":0,"committed":-1,"start":0,"end":3,"lag":3}`, `{"pipe":"p","topic":"b","partition":1,"committed":7,"start":0,"end":9,"lag":2,"member":"m"}`), "", 0},
		{"lag of all", "pipe lag", `{"pipes":[` + onePipeJSON + `]}`, "GET /klamm/v1/pipes",
			lines("PIPE  TOPIC  PARTITION  COMMITTED  END  LAG  MEMBER", "p     a      0          -          3    3    -", "p     b      1          7          9    2    m"), "", 0},
		{"a pause", "pipe pause p --reason moved", onePipeJSON, `POST /klamm/v1/pipes/p/pause {"reason":"moved"}`, "pipe p is halted: offsets\ufffdvanished\n", "", 0},
		{"a resume", "pipe resume p", onePipeJSON, `POST /klamm/v1/pipes/p/resume`, "pipe p is halted\n", "", 0},
		{"a seek that is tried", "pipe seek p --to earliest --dry-run", movesJSON, `POST /klamm/v1/pipes/p/seek {"dry_run":true,"to":"earliest"}`,
			lines("TOPIC  PARTITION  FROM  TO  RECORDS", "a      0          -     3   -3", "b      1          9     7   +2", "", "Records are offsets that are delivered again, below zero passed over. Nothing was moved: this was a dry run."), "", 0},
		{"a seek in the words of groups", "pipe seek p --to end --execute -o name", movesJSON, `POST /klamm/v1/pipes/p/seek {"dry_run":false,"to":"latest"}`, "a\nb\n", "", 0},
		{"a seek", "pipe seek p --to a/0=3 --execute -o json", movesJSON, `POST /klamm/v1/pipes/p/seek {"dry_run":false,"to":"a/0=3"}`,
			lines(`{"topic":"a","partition":0,"from":-1,"to":3,"records":-3}`, `{"topic":"b","partition":1,"from":9,"to":7,"records":2}`), "", 0},
		{"letters", "dlq list --pipe p", `{"dead_letters":[` + oneLetterJSON + `],"more":true}`, "GET /klamm/v1/pipes/p/dead-letters?limit=1000",
			lines("LETTER  TOPIC  PARTITION  OFFSET  ATTEMPTS  STATUS  GIVEN UP                  KEY     REASON", "0-7     a      2          17      3         422     2026-01-31T12:00:00.500Z  k\ufffd[31m  HTTP status 422"),
			"klamm: there are more than these 1; --limit shows up to 10000\n", 0},
		{"letters in JSON", "dlq list --pipe p -o json --limit 5", `{"dead_letters":[` + oneLetterJSON + `],"more":false}`, "GET /klamm/v1/pipes/p/dead-letters?limit=5",
			lines(`{"pipe":"p","topic":"a","partition":2,"offset":17,"attempts":3,"status":422,"reason":"HTTP status 422","id":"0-7","key":"k\u001b[31m","bytes":12,"at":"2026-01-31T12:00:00.5Z","response":"<no>"}`), "", 0},
		{"letters of a reason", "dlq list --pipe p --reason timed-out -o name", `{"dead_letters":[` + oneLetterJSON + `],"more":false}`, "GET /klamm/v1/pipes/p/dead-letters?limit=1000&reason=timed-out", "0-7\n", "", 0},
		{"pipes with letters", "dlq pipes --limit 1", `{"pipes":[{"pipe":"p","state":"halted","target":"webhook","counts":{"dead_lettered":7}}],"total":3}`, "GET /klamm/v1/pipes?brief=true&limit=1&sort=dead_lettered",
			lines("PIPE  STATE   TARGET   GIVEN UP", "p     halted  webhook  7"), "klamm: these are 1 of 3; --limit shows up to 1000\n", 0},
		{"pipes with letters in JSON", "dlq pipes -o json", `{"pipes":[{"pipe":"p","state":"halted","target":"webhook","counts":{"dead_lettered":7}}],"total":1}`, "GET /klamm/v1/pipes?brief=true&limit=100&sort=dead_lettered",
			lines(`{"pipe":"p","state":"halted","target":"webhook","counts":{"dead_lettered":7}}`), "", 0},
		{"a redrive", "dlq redrive --pipe p", lines(`{"read":1,"records":1,"delivered":0,"dead_lettered":0}`, ``, `{"finished":true,"read":2,"records":2,"delivered":2,"dead_lettered":0}`),
			"POST /klamm/v1/pipes/p/dead-letters/redrive {}", "2 letters delivered, 0 given up again\n", "", 0},
		{"a redrive that fails again", "dlq redrive --pipe p -o json --all", `{"finished":true,"read":2,"records":2,"delivered":1,"dead_lettered":1}`,
			"POST /klamm/v1/pipes/p/dead-letters/redrive {}", lines(`{"read":2,"records":2,"delivered":1,"dead_lettered":1,"finished":true}`), "1 of 2 letters were given up again; klamm dlq list --pipe p says why\n", 1},
		{"a redrive of letters, one unknown", "dlq redrive --pipe p --letter 0-1,0-2 --letter 0-2", `{"finished":true,"read":2,"records":1,"delivered":1,"dead_lettered":0}`,
			`POST /klamm/v1/pipes/p/dead-letters/redrive {"letters":["0-1","0-2","0-2"]}`, "1 letters delivered, 0 given up again\n", "1 of the letters are not on the list; klamm dlq list --pipe p shows those that are\n", 1},
		{"a redrive that klamm breaks off", "dlq redrive --pipe p", lines(`{"read":3,"records":3,"delivered":1,"dead_lettered":0}`, `{"error":"klamm is stopping"}`), "POST /klamm/v1/pipes/p/dead-letters/redrive {}", "",
			"URL: klamm is stopping; 1 of 3 letters were delivered and 0 given up when last heard of, and what was under way is still finished; the others stay on the list\n", 1},
		{"a redrive whose answer breaks off", "dlq redrive --pipe p -o json", `{"read":3,"records":3,"delivered":1,"dead_lettered":0}`, "POST /klamm/v1/pipes/p/dead-letters/redrive {}", lines(`{"read":3,"records":3,"delivered":1,"dead_lettered":0,"finished":false}`),
			"the answer of URL breaks off: unexpected EOF; 1 of 3 letters were delivered and 0 given up when last heard of, and what was under way is still finished; the others stay on the list\n", 1},
		{"a discard", "dlq discard --pipe p --letter 0-1", `{"discarded":1}`, `POST /klamm/v1/pipes/p/dead-letters/discard {"letters":["0-1"]}`, "1 letters discarded\n", "", 0},
		{"a discard of all", "dlq discard --pipe p --all -o json", `{"discarded":9}`, `POST /klamm/v1/pipes/p/dead-letters/discard {"all":true}`, lines(`{"discarded":9}`), "", 0},
		{"deliveries", "delivery list --pipe p --since 2026-01-31T00:00:00Z --limit 5", `{"deliveries":[` + oneDeliveryJSON + `]}`, "GET /klamm/v1/deliveries?limit=5&pipe=p&since=2026-01-31T00%3A00%3A00Z",
			lines("DELIVERY    TOPIC  PARTITION  OFFSET  ATTEMPTS  STATUS  OUTCOME  LAST ATTEMPT              NEXT", "p:a:2:17:x  a      2          17      2         -       failed   2026-01-31T12:00:00.000Z  2026-01-31T12:00:09.000Z"), "", 0},
		{"deliveries of an outcome", "delivery list --pipe p --since 2026-01-31T00:00:00Z --outcome failed -o name", `{"deliveries":[` + oneDeliveryJSON + `]}`,
			"GET /klamm/v1/deliveries?limit=100&outcome=failed&pipe=p&since=2026-01-31T00%3A00%3A00Z", "p:a:2:17:x\n", "", 0},
		{"targets of a state", "target list example.com --state down -o name", `{"targets":[{"endpoint":"http://example.com:80","state":"open"}]}`, "GET /klamm/v1/targets?limit=500&search=example.com&state=down", "http://example.com:80\n", "", 0},
		{"keys with a text", "key list sens -o name", `{"keys":[{"id":"k-1","name":"sensors"}]}`, "GET /klamm/v1/keys?limit=1000&search=sens", "k-1\n", "", 0},
		{"policies with a text", "policy list group:a -o name", `{"policies":[{"name":"readers","kind":"identity"}]}`, "GET /klamm/v1/policies?limit=1000&search=group%3Aa", "readers\n", "", 0},
		{"deliveries in JSON", "delivery list --pipe p --since 2026-01-31T00:00:00Z -o json", `{"deliveries":[` + oneDeliveryJSON + `]}`, "GET /klamm/v1/deliveries?limit=100&pipe=p&since=2026-01-31T00%3A00%3A00Z", lines(oneDeliveryJSON), "", 0},
		{"a delivery", "delivery show p:a:2:17:x", shownJSON, "GET /klamm/v1/deliveries/p:a:2:17:x", lines("delivery  p:a:2:17:x", "pipe      p", "record    a/2 at offset 17", "batch     3 records up to offset 19", "outcome   delivered", "",
			"ATTEMPT  TIME                      STATUS  TOOK   DNS  CONNECT  TLS  WAIT   ERROR               RESPONSE", "1        2026-01-31T12:00:00.000Z  -       1.2ms  -    -        -    -      connection refused  -",
			"2        2026-01-31T12:00:01.000Z  200     3.0ms  -    -        -    2.5ms  -                   ok"), "", 0},
		{"a delivery in JSON", "delivery show p:a:2:17:x -o json", shownJSON, "GET /klamm/v1/deliveries/p:a:2:17:x", lines(shownJSON), "", 0},
		{"an id with a slash", "delivery show a/b?c", shownJSON, "GET /klamm/v1/deliveries/a%2Fb%3Fc", "", "", 0},
		{"a retry", "delivery retry p:a:2:17:x", `{"read":1,"records":1,"delivered":1,"dead_lettered":0}`, "POST /klamm/v1/deliveries/p:a:2:17:x/retry", "1 records delivered, 0 given up\n", "", 0},
		{"a retry that is given up", "delivery retry p:a:2:17:x -o json", `{"read":1,"records":1,"delivered":0,"dead_lettered":1}`, "POST /klamm/v1/deliveries/p:a:2:17:x/retry",
			lines(`{"read":1,"records":1,"delivered":0,"dead_lettered":1,"finished":true}`), "1 of 1 records were given up; klamm delivery show p:a:2:17:x says why\n", 1},
		{"a tail", "delivery tail --pipe p", lines(loggedJSON, `{"error":"klamm is stopping"}`), "GET /klamm/v1/deliveries/tail?pipe=p",
			"2026-01-31T12:00:00.000Z  p:a:2:17:x  #1  503  failed  4.0ms  HTTP status 503\n", "URL: klamm is stopping\n", 1},
		{"a tail in JSON", "delivery tail -o json", lines(loggedJSON), "GET /klamm/v1/deliveries/tail", lines(loggedJSON), "URL has ended the stream\n", 1},
		{"a replay that is counted", "replay --pipe p --from 2026-01-31T12:00:00Z --to 2026-01-31T13:00:00+01:00 --dry-run -o json", "", "", "", "--from must be before --to\n", 2},
		{"a replay in JSON that is counted", "replay --pipe p --from 2026-01-31T12:00:00Z --to 2026-01-31T14:00:00+01:00 --dry-run -o json", `{"records":5}`,
			`POST /klamm/v1/pipes/p/replay {"dry_run":true,"from":"2026-01-31T12:00:00Z","rate":0,"to":"2026-01-31T13:00:00Z"}`, lines(`{"records":5}`), "", 0},
		{"a replay", `replay --pipe p --from 2026-01-31T12:00:00Z --to 2026-01-31T13:00:00Z --where {"value":{"n":[1]}} --rate 7 --execute`, `{"finished":true,"read":9,"records":5,"delivered":5,"dead_lettered":0,"total":9}`,
			`POST /klamm/v1/pipes/p/replay {"dry_run":false,"from":"2026-01-31T12:00:00Z","rate":7,"to":"2026-01-31T13:00:00Z","where":{"value":{"n":[1]}}}`, "5 records delivered, 0 given up\n", "", 0},
		{"a replay that gives up", `replay --pipe p --from 2026-01-31T12:00:00Z --to 2026-01-31T13:00:00Z --execute -o json`, `{"finished":true,"read":9,"records":5,"delivered":4,"dead_lettered":1,"total":9}`,
			`POST /klamm/v1/pipes/p/replay {"dry_run":false,"from":"2026-01-31T12:00:00Z","rate":0,"to":"2026-01-31T13:00:00Z"}`, lines(`{"read":9,"records":5,"delivered":4,"dead_lettered":1,"total":9,"finished":true}`),
			"1 of 5 records were given up; klamm dlq list --pipe p says why\n", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			media := "application/json"
			if strings.Contains(c.args, "redrive") || strings.Contains(c.args, "replay") || strings.Contains(c.args, "tail") {
				media = "application/x-ndjson"
			}
			s := serveAPI(t, http.StatusOK, media, c.answer)
			out, errs, status := operate(t, append(strings.Fields(c.args), "--server", s.url)...)
			errs = strings.ReplaceAll(errs, s.url, "URL")
			if s.asked != c.asked {
				t.Errorf("asked %s, want %s", s.asked, c.asked)
			}
			if c.name == "an id with a slash" {
				return
			}
			if diff := cmp.Diff(c.out, out); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
			if errs != c.errs || status != c.status {
				t.Errorf("exit %d, %q; want %d, %q", status, errs, c.status, c.errs)
			}
		})
	}
}

// What the flags' library finds is said with the command whose help helps.
func TestMistakesNameTheHelpThatHelps(t *testing.T) {
	for args, want := range map[string]string{
		"pipes":             "klamm: unknown command \"pipes\" for \"klamm\"  Did you mean this?  pipe; see klamm --help\n",
		"dlq purge":         "klamm: unknown command \"purge\" for \"klamm dlq\"; see klamm dlq --help\n",
		"dlq list --pip p":  "klamm: unknown flag: --pip; see klamm dlq list --help\n",
		"dlq purge -o json": "klamm: unknown command \"purge\" for \"klamm dlq\"; see klamm dlq --help\n",
		"pipe create":       "klamm: required flag(s) \"definition\" not set; see klamm pipe create --help\n",
	} {
		if out, errs, status := typed(t, "", strings.Fields(args)...); status != 2 || out != "" || strings.ReplaceAll(errs, "\t", " ") != want {
			t.Errorf("%s: exit %d, output %q, %q; want 2 and %q", args, status, out, errs, want)
		}
	}
}

func TestClientCallsThatAreWrong(t *testing.T) {
	t.Setenv("KLAMM_SERVER", "http://127.0.0.1:1") // nothing may be asked
	for _, c := range []struct{ name, args, want string }{
		{"no subcommand of pipe", "pipe", "klamm pipe needs a subcommand: create, delete, edit, lag, list, pause, resume, seek, show or tail\n"},
		{"no subcommand of dlq", "dlq", "klamm dlq needs a subcommand: discard, list, pipes or redrive\n"},
		{"no subcommand but a flag", "dlq -o json", "klamm dlq needs a subcommand: discard, list, pipes or redrive\n"},
		{"the only subcommand", "access", "klamm access needs a subcommand: explain\n"},
		{"an unknown subcommand", "dlq purge", "unknown command"},
		{"an unknown flag", "dlq list --pip p", "unknown flag"},
		{"another output", "pipe list -o xml", "want table, wide, json, yaml or name"},
		{"no URL", "pipe list --server localhost:8082", `--server "localhost:8082" is no URL`},
		{"a URL with a query", "pipe list --server http://h/?x", "is no URL"},
		{"no pipe", "dlq list", "--pipe"},
		{"an empty pipe", "delivery tail --pipe=", "--pipe"},
		{"two pipes", "pipe show p --pipe q", "either"},
		{"a pipe that cannot be", "pipe show ../x", "no pipe's name"},
		{"a limit of nothing", "dlq list --pipe p --limit 0", "1 to 10000"},
		{"no letters", "dlq redrive --pipe p --letter=", "names no letter"},
		{"letters and all", "dlq discard --pipe p --letter 0-1 --all", "either --letter or --all"},
		{"a discard of nothing", "dlq discard --pipe p", "--all"},
		{"a time that is none", "delivery list --pipe p --since yesterday", "7d"},
		{"no id", "delivery show", "accepts 1 arg"},
		{"an empty id", "delivery retry .", "no delivery id"},
		{"a seek to nowhere", "pipe seek p --execute", "--to"},
		{"a seek that says nothing", "pipe seek p --to latest", "--dry-run, to see what would happen, or --execute"},
		{"a seek that says both", "pipe seek p --to latest --dry-run --execute", "either --dry-run"},
		{"a replay that says nothing", "replay --pipe p --from 2h --to 1h", "either --dry-run, to see what would happen, or --execute"},
		{"a replay without a pipe", "replay --from 2h --to 1h --dry-run", "--pipe"},
		{"a replay without times", "replay --pipe p --dry-run", "--from and --to"},
		{"a rate below zero", "replay --pipe p --from 2h --to 1h --dry-run --rate -1", "--rate -1"},
		{"a pattern that is none", "replay --pipe p --from 2h --to 1h --dry-run --where []", "--where: "},
		{"a file that is not there", "replay --pipe p --from 2h --to 1h --dry-run --where @/no/such", "--where: open /no/such"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errs, status := operate(t, strings.Fields(c.args)...)
			if status != 2 || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("exit %d, output %q, %q; want 2 and %q", status, out, errs, c.want)
			}
		})
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	problem := func(status int, detail string) string {
		return fmt.Sprintf(`{"type":"about:blank","title":"x","status":%d,"detail":%q}`, status, detail)
	}
	const problems = "application/problem+json"
	for _, c := range []struct {
		name        string
		status      int
		media, body string
		want        string
		exit        int
	}{
		{"no such pipe", 404, problems, problem(404, `no such pipe: "p"`), `no such pipe: "p" at URL; klamm pipe list shows the pipes there are`, 1},
		{"an older klamm", 404, problems, problem(404, "there is nothing at this path"), "URL: there is nothing at this path", 1},
		{"a call that is wrong", 400, problems, problem(400, "limit: no"), "limit: no", 2},
		{"no credentials", 401, problems, problem(401, "credentials are required"), "URL does not let you do that: credentials are required; KLAMM_KEY can hold an API key that may", 1},
		{"no right", 403, problems, problem(403, "not you"), "URL does not let you do that: not you; KLAMM_KEY can hold an API key that may", 1},
		{"brokers that are gone", 503, problems, problem(503, "no broker\nanswers"), "URL: no broker\ufffdanswers", 1},
		{"a web server", 404, "text/html", "<html>", "URL answers, but not as klamm does (HTTP status 404); check --server and KLAMM_SERVER", 1},
		{"a web server that likes everything", 200, "text/html", "<html>", "URL answers, but not as klamm does (HTTP status 200); check --server and KLAMM_SERVER", 1},
		{"another API", 200, "application/json", "{}", "URL answers, but not as klamm does (HTTP status 200); check --server and KLAMM_SERVER", 1},
		{"another form", 200, "application/json", `{"pipes":5,"dead_letters":{},"deliveries":""}`, "URL answers, but not as klamm does (HTTP status 200); check --server and KLAMM_SERVER", 1},
		{"a redirect", 302, "text/html", "", "URL answers, but not as klamm does (HTTP status 302); check --server and KLAMM_SERVER", 1},
		{"a problem that says nothing", 500, problems, "{}", "URL answers, but not as klamm does (HTTP status 500); check --server and KLAMM_SERVER", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serveAPI(t, c.status, c.media, c.body)
			t.Setenv("KLAMM_SERVER", s.url)
			for _, args := range []string{"pipe list", "dlq list --pipe p", "delivery list --pipe p"} {
				out, errs, exit := operate(t, strings.Fields(args)...)
				if errs = strings.ReplaceAll(errs, s.url, "URL"); exit != c.exit || out != "" || errs != c.want+"\n" {
					t.Errorf("%s: exit %d, output %q, %q; want %d, %q", args, exit, out, errs, c.exit, c.want)
				}
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		_, errs, exit := operate(t, "status", "--server", "http://127.0.0.1:1")
		if exit != 1 || !strings.HasPrefix(errs, "no klamm answers at http://127.0.0.1:1: ") || !strings.Contains(errs, "klamm dev") || strings.Count(errs, "\n") != 1 {
			t.Errorf("exit %d, %q", exit, errs)
		}
	})
}

func TestStatusCommand(t *testing.T) {
	mux := http.NewServeMux()
	ready := atomic.Bool{}
	mux.HandleFunc("GET /prefix/klamm/v1/status", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key") != "secret" {
			t.Error("no key")
		}
		if ready.Load() {
			_, _ = io.WriteString(w, `{"ready":true,"problems":[],"version":"v1","brokers":["a:1","b:2"],"states":{"halted":1},"wrong":[{"pipe":"p","state":"halted","reason":"offsets\nvanished"}]}`)
		} else {
			_, _ = io.WriteString(w, `{"ready":false,"problems":["a:1 is gone","b:2 is gone"],"brokers":["a:1","b:2"]}`)
		}
	})
	mux.HandleFunc("GET /prefix/klamm/v1/members", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"members":[`+oneMemberJSON+`,{"id":"y","address":"h:2","pipes":[],"problem":"it has not answered"}]}`)
	})
	mux.HandleFunc("GET /prefix/klamm/v1/pipes", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"pipes":[`+onePipeJSON+`]}`)
	})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "1")
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	t.Setenv("KLAMM_SERVER", s.URL+"/prefix/")
	t.Setenv("KLAMM_KEY", "secret")
	out, errs, exit := operate(t, "status")
	want := lines("server   URL/prefix/", "ready    no", "problem  a:1 is gone", "problem  b:2 is gone", "brokers  a:1,b:2")
	if diff := cmp.Diff(want, strings.ReplaceAll(out, s.URL, "URL")); diff != "" || exit != 1 || errs != "klamm is not ready\n" {
		t.Errorf("exit %d %q (-want +got):\n%s", exit, errs, diff)
	}
	ready.Store(true)
	out, errs, exit = operate(t, "status")
	want = lines("server   URL/prefix/", "ready    yes", "wrong    pipe p is halted: offsets\ufffdvanished", "version  v1", "brokers  a:1,b:2", "pipes    1 halted", "lag      5", "",
		"MEMBER  VERSION  STARTED               RUNS  PIPES", "h:1     v1       2026-01-31T12:00:00Z  2     p,q", "h:2     -        -                     -     it has not answered", "",
		"PIPE  STATE   LAG  MEMBERS  TARGET   TOPICS  REASON", "p     halted  5    0        webhook  a,b     offsets\ufffdvanished")
	if diff := cmp.Diff(want, strings.ReplaceAll(out, s.URL, "URL")); diff != "" || exit != 0 || errs != "" {
		t.Errorf("exit %d %q (-want +got):\n%s", exit, errs, diff)
	}
	out, _, _ = operate(t, "status", "-o", "json")
	want = `{"server":"URL/prefix/","ready":true,"problems":[],"version":"v1","brokers":["a:1","b:2"],"states":{"halted":1},"wrong":[{"pipe":"p","state":"halted","reason":"offsets\nvanished"}],"lag":5,"members":[` +
		oneMemberJSON + `,{"id":"y","address":"h:2","pipes":[],"problem":"it has not answered"}],"pipes":[` + onePipeJSON + "]}\n"
	if diff := cmp.Diff(want, strings.ReplaceAll(out, s.URL, "URL")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// openClient returns a client of a server, as a command has it.
func openClient(t *testing.T, url string) (*client, *bytes.Buffer) {
	t.Helper()
	f := clientFlags{server: url, output: "table"}
	cmd := &cobra.Command{}
	cmd.SetContext(t.Context())
	var out bytes.Buffer
	cmd.SetOut(&out)
	c, _, err := f.open(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return c, &out
}

func TestAServerThatIsSlowOrLeft(t *testing.T) {
	var came, left atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "1")
		came.Add(1)
		defer left.Add(1)
		if r.Method == http.MethodPost {
			w.Header().Set("Content-Type", "application/x-ndjson")
			_, _ = io.WriteString(w, `{"read":3,"records":3,"delivered":1,"dead_lettered":0}`+"\n")
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	c, _ := openClient(t, s.URL)
	err := c.call(t.Context(), request{method: http.MethodGet, path: []string{"pipes"}, within: 20 * time.Millisecond}, "pipes", &struct{}{})
	if err == nil || !strings.Contains(err.Error(), "has not answered within 20ms") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	err = c.call(ctx, request{method: http.MethodGet, path: []string{"pipes"}}, "pipes", &struct{}{})
	if !errors.Is(err, errInterrupted) {
		t.Error(err)
	}
	// How soon the first line is here depends on the machine.
	for after := 100 * time.Millisecond; ; after *= 4 {
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(after, cancel)
		err = c.redrive(ctx, "p", nil)
		if errors.Is(err, errInterrupted) && strings.Contains(err.Error(), "1 of 3 letters were delivered") {
			break
		}
		if after > 10*time.Second {
			t.Fatal(err)
		}
	}
	within(t, "the server is not at it any more", func() bool { return came.Load() == left.Load() })
}

func TestTablesHaveColoursOnlyOnTerminals(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = null.Close() })
	var b bytes.Buffer
	if isTerminal(&b) || !isTerminal(null) { // a character device, as terminals are
		t.Error("terminals are not told apart")
	}
	table := newTable("A", "STATE")
	table.paint = paintColumn(1)
	table.add("x", "halted")
	if err := table.write(&b); err != nil || strings.Contains(b.String(), "\x1b") {
		t.Errorf("%q, %v", b.String(), err)
	}
}

func TestPipesAreCompleted(t *testing.T) {
	s := serveAPI(t, http.StatusOK, "application/json", `{"pipes":[`+onePipeJSON+`]}`)
	t.Setenv("KLAMM_SERVER", s.url)
	for _, args := range []string{"pipe show", "dlq list --pipe", "replay --pipe"} {
		out, _, _ := operate(t, append(append([]string{"__complete"}, strings.Fields(args)...), "")...)
		if !strings.HasPrefix(out, "p\n") {
			t.Errorf("%s: %q", args, out)
		}
	}
}

// TestOperatingAPipe runs the commands against a klamm with a pipe.
func TestOperatingAPipe(t *testing.T) {
	var well atomic.Bool
	var calls atomic.Int64
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		calls.Add(1)
		if !well.Load() && strings.Contains(string(body), "bad") {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	}))
	t.Cleanup(hook.Close)
	name := fmt.Sprintf("operated-%d", time.Now().UnixNano())
	server := startWith(t, fmt.Sprintf(`{pipes: [{name: %[1]s, topics: [%[1]s], start: earliest, target: {webhook: {url: %q}}, delivery: {log: all}}], egress: {allow: [127.0.0.0/8]}}`, name, hook.URL))
	t.Setenv("KLAMM_SERVER", server)
	from := time.Now().Add(-time.Second).UTC().Format(time.RFC3339)
	for _, v := range []string{`"good"`, `"bad"`} {
		ask(t, http.MethodPost, server+"/topics/"+name+"/partitions/0?key=k", "application/json", []byte(v))
	}
	letters := func() (ids []string) {
		out, errs, status := operate(t, "dlq", "list", "--pipe", name, "-o", "json")
		if status != 0 {
			t.Fatal(errs)
		}
		for line := range strings.Lines(out) {
			var l letterDoc
			if err := json.Unmarshal([]byte(line), &l); err != nil || l.Topic != name || l.Offset != 1 || l.Status != http.StatusUnprocessableEntity {
				t.Fatalf("%s: %v", line, err)
			}
			ids = append(ids, l.ID)
		}
		return ids
	}
	within(t, "a letter", func() bool { return len(letters()) == 1 })
	must := func(want int, args ...string) string {
		t.Helper()
		out, errs, status := operate(t, args...)
		if status != want {
			t.Fatalf("klamm %v: exit %d, %s%s", args, status, out, errs)
		}
		return out
	}
	must(1, "dlq", "redrive", "--pipe", name)
	well.Store(true)
	must(0, "dlq", "redrive", "--pipe", name)
	if left := letters(); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
	within(t, "the delivery log", func() bool {
		return strings.Count(must(0, "delivery", "list", "--pipe", name, "-o", "json"), "\n") >= 2
	})
	var d deliveryDoc
	if err := json.Unmarshal([]byte(strings.SplitN(must(0, "delivery", "list", "--pipe", name, "-o", "json"), "\n", 2)[0]), &d); err != nil {
		t.Fatal(err)
	}
	must(0, "delivery", "show", d.ID)
	before := calls.Load()
	must(0, "delivery", "retry", d.ID)
	if n := calls.Load() - before; n != 1 {
		t.Errorf("%d requests by a retry", n)
	}
	to := time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
	if out := must(0, "replay", "--pipe", name, "--from", from, "--to", to, "--dry-run", "-o", "json"); out != `{"records":2}`+"\n" {
		t.Error(out)
	}
	must(0, "replay", "--pipe", name, "--from", from, "--to", to, "--execute")
	must(1, "pipe", "seek", name, "--to", "earliest", "--execute")
	must(0, "pipe", "pause", name)
	must(0, "pipe", "seek", name, "--to", "earliest", "--execute")
	must(0, "pipe", "resume", name)
	within(t, "everything again", func() bool { return calls.Load() == before+5 })
	if out := must(0, "status"); !strings.Contains(out, name) {
		t.Error(out)
	}
	must(2, "pipe", "seek", name, "--to", "nowhere", "--dry-run")
	must(1, "pipe", "show", "nobody")
}

// startWith runs klamm with the text of a configuration until the test ends.
func startWith(t *testing.T, text string) string {
	t.Helper()
	cfg, problems := config.Load([]byte(text), all.Kinds())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return "http://" + startConfigured(t, cfg).Addr()
}

// startConfigured runs klamm until the test ends, on the embedded broker or on the
// brokers that KLAMM_TEST_BROKERS names.
func startConfigured(t *testing.T, cfg *config.Config) *app.App {
	t.Helper()
	a, _ := startReady(t, cfg)
	return a
}

// startReady is startConfigured, and tells of the brokers.
func startReady(t *testing.T, cfg *config.Config) (a *app.App, brokers []string) {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	log := slog.New(slog.DiscardHandler)
	ready := make(chan struct{})
	opts := app.Options{Log: log, Ready: func(_ string, names []string) { brokers = names; close(ready) }}
	if names := os.Getenv("KLAMM_TEST_BROKERS"); names != "" {
		cfg.Kafka.Brokers = strings.Split(names, ",")
	} else {
		opts.Broker = &broker.Config{Listen: "127.0.0.1:0", Dir: t.TempDir(), Log: log}
	}
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.New(ctx, cfg, opts)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	select {
	case <-ready:
	case <-time.After(2 * time.Minute):
		t.Fatal("klamm is not ready within two minutes")
	}
	return a, brokers
}

// within polls a condition.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within two minutes: %s", what)
		}
	}
}
