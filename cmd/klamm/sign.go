package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// The headers of Standard Webhooks.
const (
	webhookID        = "webhook-id"
	webhookTimestamp = "webhook-timestamp"
	webhookSignature = "webhook-signature"
)

// webhookKey decodes a secret of Standard Webhooks. The error does not show it.
func webhookKey(secret string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(strings.TrimSpace(secret), "whsec_"))
	if err != nil || len(key) < 24 || len(key) > 64 {
		return nil, usage("--secret: want whsec_ and 24 to 64 bytes in base64")
	}
	return key, nil
}

// webhookSign is the signature of a message.
func webhookSign(key []byte, id, seconds string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + seconds + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// webhookVerify says what is wrong with the signature of a message; nil: nothing is.
func webhookVerify(key []byte, h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	id, seconds, signatures := h.Get(webhookID), h.Get(webhookTimestamp), h.Get(webhookSignature)
	for name, value := range map[string]string{webhookID: id, webhookTimestamp: seconds, webhookSignature: signatures} {
		if value == "" {
			return fmt.Errorf("there is no %s", name)
		}
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return fmt.Errorf("%s is no number of seconds", webhookTimestamp)
	}
	want := webhookSign(key, id, seconds, body)
	right := false
	for one := range strings.FieldsSeq(signatures) {
		right = hmac.Equal([]byte(one), []byte(want)) || right
	}
	if !right {
		return errors.New("no signature is of this secret, id, time and body")
	}
	if age := now.Sub(time.Unix(n, 0)); tolerance > 0 && (age > tolerance || age < -tolerance) {
		return fmt.Errorf("the signature is right, but its time %s is more than %s away", time.Unix(n, 0).UTC().Format(time.RFC3339), tolerance)
	}
	return nil
}

// A signing is one call of klamm sign or klamm verify.
type signing struct {
	flags                clientFlags
	secret, body, id, at string
	headers              []string
	tolerance            time.Duration
}

// key reads --secret.
func (s *signing) key(c *client) ([]byte, error) {
	if s.secret == "" {
		return nil, usage("give the secret with --secret")
	}
	if s.secret == "-" && s.body == "-" {
		return nil, usage("only one of the flags can read standard input (-)")
	}
	where, err := c.referenceOf("--secret", s.secret)
	if err != nil {
		return nil, err
	}
	text, err := where.resolve()
	if err != nil {
		return nil, &exitError{2, fmt.Errorf("--secret: %w", err)}
	}
	return webhookKey(text)
}

// text reads --body.
func (s *signing) text(cmd *cobra.Command) ([]byte, error) {
	if !cmd.Flags().Changed("body") {
		return nil, usage("give the body with --body: DOC, @FILE, or - for standard input")
	}
	body, err := documentFlag(cmd, "--body", s.body)
	if err != nil {
		return nil, &exitError{2, err}
	}
	return body, nil
}

// local makes a command of one that asks nobody.
func local(cmd *cobra.Command, f *clientFlags, run func(c *client, args []string) error) *cobra.Command {
	f.addOutput(cmd, true)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c := &client{cmd: cmd, out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr()}
		if err := f.shape(c); err != nil {
			return err
		}
		return failed(run(c, args))
	}
	return cmd
}

const secretHelp = "the secret, whsec_...: env:NAME, file:PATH, or - for standard input"

func signCommand() *cobra.Command {
	var s signing
	cmd := local(&cobra.Command{
		Use:   "sign --secret SECRET --body DOC",
		Short: "Sign a message as Standard Webhooks has it",
		Long: "Prints the headers that a receiver of Standard Webhooks verifies: webhook-id, webhook-timestamp and webhook-signature. It is what klamm's\n" +
			"webhook targets do, and what its ingress routes with scheme: standard want. A document (DOC) is given inline, as @FILE, or as -.",
		Example: "  klamm sign --secret env:HOOK_SECRET --body '{\"id\":17}'\n" +
			"  curl $(klamm sign --secret file:secret --body @order.json -o json | jq -r 'to_entries[]|\"-H \\(.key):\\(.value)\"' | tr '\\n' ' ') --data-binary @order.json http://127.0.0.1:8082/hooks/orders",
		Args: cobra.NoArgs,
	}, &s.flags, func(c *client, _ []string) error {
		key, err := s.key(c)
		if err != nil {
			return err
		}
		body, err := s.text(c.cmd)
		if err != nil {
			return err
		}
		at := time.Now()
		if s.at != "" {
			if at, err = time.Parse(time.RFC3339, s.at); err != nil {
				return usage("--at %q: want a time such as 2026-01-31T12:00:00Z", printable(s.at))
			}
		}
		if s.id == "" {
			random := make([]byte, 12)
			_, _ = rand.Read(random) // never fails
			s.id = "msg_" + hex.EncodeToString(random)
		}
		if strings.ContainsAny(s.id, ". \r\n\t") {
			return usage("--id %q: want a text without dots and spaces", printable(s.id))
		}
		seconds := strconv.FormatInt(at.Unix(), 10)
		signature := webhookSign(key, s.id, seconds, body)
		if c.output == "json" {
			return c.json(struct {
				ID        string `json:"webhook-id"`
				Timestamp string `json:"webhook-timestamp"`
				Signature string `json:"webhook-signature"`
			}{s.id, seconds, signature})
		}
		_, err = fmt.Fprintf(c.out, "%s: %s\n%s: %s\n%s: %s\n", webhookID, s.id, webhookTimestamp, seconds, webhookSignature, signature)
		return err
	})
	flags := cmd.Flags()
	flags.StringVar(&s.secret, "secret", "", secretHelp)
	flags.StringVar(&s.body, "body", "", "DOC: the body of the message, byte by byte")
	flags.StringVar(&s.id, "id", "", "the message's id; the default is a new one")
	flags.StringVar(&s.at, "at", "", "the time, in RFC 3339; the default is now")
	return cmd
}

func verifyCommand() *cobra.Command {
	var s signing
	cmd := local(&cobra.Command{
		Use:   "verify --secret SECRET --body DOC -H HEADER...",
		Short: "Say whether a message's signature of Standard Webhooks is right",
		Long: "Prints valid and exits 0, or prints invalid with what is wrong and exits 1. The headers are those of the message: webhook-id,\n" +
			"webhook-timestamp and webhook-signature, as NAME: VALUE. The body must be the message's, byte by byte.",
		Example: "  klamm verify --secret env:HOOK_SECRET --body @body.json -H \"webhook-id: $ID\" -H \"webhook-timestamp: $AT\" -H \"webhook-signature: $SIGNATURE\"\n" +
			"  klamm verify --secret file:secret --body @body.json --tolerance 0s -H 'webhook-id: m1' -H 'webhook-timestamp: 1767225600' -H 'webhook-signature: v1,K5oZ...'",
		Args: cobra.NoArgs,
	}, &s.flags, func(c *client, _ []string) error {
		if s.tolerance < 0 {
			return usage("--tolerance %s: want a time such as 5m, or 0s for any time", s.tolerance)
		}
		key, err := s.key(c)
		if err != nil {
			return err
		}
		body, err := s.text(c.cmd)
		if err != nil {
			return err
		}
		h := http.Header{}
		for _, line := range s.headers {
			name, value, ok := strings.Cut(line, ":")
			if !ok {
				return usage("-H %q: want NAME: VALUE", printable(line))
			}
			h.Set(strings.TrimSpace(name), strings.TrimSpace(value))
		}
		wrong := webhookVerify(key, h, body, time.Now(), s.tolerance)
		answer := map[string]any{"valid": wrong == nil}
		if wrong == nil {
			return c.show(answer, "valid")
		}
		answer["reason"] = wrong.Error()
		if err := c.show(answer, "invalid: %s", printable(wrong.Error())); err != nil {
			return err
		}
		return &exitError{code: 1}
	})
	flags := cmd.Flags()
	flags.StringVar(&s.secret, "secret", "", secretHelp)
	flags.StringVar(&s.body, "body", "", "DOC: the body of the message, byte by byte")
	flags.StringArrayVarP(&s.headers, "header", "H", nil, "a header of the message, NAME: VALUE; may be given again")
	flags.DurationVar(&s.tolerance, "tolerance", 5*time.Minute, "how far its time may be from now; 0s: as far as it likes")
	return cmd
}
