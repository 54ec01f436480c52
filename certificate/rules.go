package certificate

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Rules make a caller's name of a subject, in the syntax of Kafka's
// ssl.principal.mapping.rules. The zero value keeps the subject as it is.
type Rules struct{ rules []nameRule }

type nameRule struct {
	pattern     *regexp.Regexp // nil: DEFAULT
	replacement string
	change      byte // 'L', 'U' or 0
}

// mostRules bounds a list of rules, in bytes.
const mostRules = 16 << 10

// parseRules reads RULE:PATTERN/REPLACEMENT/[LU] and DEFAULT, with commas between
// them. A slash within a pattern or a replacement stands behind a backslash.
func parseRules(text string) (Rules, error) {
	var r Rules
	if len(text) > mostRules {
		return r, errors.New("the rules are too long")
	}
	rest := strings.TrimSpace(text)
	for rest != "" {
		var one nameRule
		var err error
		if after, ok := strings.CutPrefix(rest, "DEFAULT"); ok {
			rest = after
		} else if after, ok := strings.CutPrefix(rest, "RULE:"); ok {
			if one, rest, err = parseRule(after); err != nil {
				return Rules{}, err
			}
		} else {
			return Rules{}, fmt.Errorf("want RULE:PATTERN/REPLACEMENT/[LU] or DEFAULT at %q", shorten(rest))
		}
		r.rules = append(r.rules, one)
		if rest = strings.TrimLeft(rest, " \t\r\n"); rest == "" {
			break
		}
		if rest[0] != ',' {
			return Rules{}, fmt.Errorf("want a comma at %q", shorten(rest))
		}
		if rest = strings.TrimSpace(rest[1:]); rest == "" {
			return Rules{}, errors.New("there is nothing behind the last comma")
		}
	}
	return r, nil
}

func parseRule(text string) (one nameRule, rest string, err error) {
	pattern, rest, ok := cutSlash(text)
	if !ok {
		return one, "", fmt.Errorf("want a slash behind the pattern %q", shorten(text))
	}
	if one.replacement, rest, ok = cutSlash(rest); !ok {
		return one, "", fmt.Errorf("want a slash behind the replacement of %q", shorten(pattern))
	}
	if rest != "" && (rest[0] == 'L' || rest[0] == 'U') {
		one.change, rest = rest[0], rest[1:]
	}
	if one.pattern, err = regexp.Compile(`^(?:` + pattern + `)$`); err != nil {
		return one, "", fmt.Errorf("pattern %q: %w", shorten(pattern), err)
	}
	// $1a would be a group of the name 1a.
	one.replacement = group.ReplaceAllString(one.replacement, "$${$1}")
	return one, rest, nil
}

var group = regexp.MustCompile(`\$([0-9]+)`)

// cutSlash cuts at the first slash that has no backslash before it.
func cutSlash(s string) (before, after string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == '/':
			b.WriteByte('/')
			i++
		case s[i] == '\\' && i+1 < len(s):
			b.WriteString(s[i : i+2])
			i++
		case s[i] == '/':
			return b.String(), s[i+1:], true
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}

func shorten(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

// Apply returns the name that the first matching rule makes of a subject; false
// means that none matches.
func (r Rules) Apply(subject string) (string, bool) {
	if len(r.rules) == 0 {
		return subject, true
	}
	for _, one := range r.rules {
		if one.pattern == nil {
			return subject, true
		}
		m := one.pattern.FindStringSubmatchIndex(subject)
		if m == nil {
			continue
		}
		name := string(one.pattern.ExpandString(nil, one.replacement, subject, m))
		switch one.change {
		case 'L':
			name = strings.ToLower(name)
		case 'U':
			name = strings.ToUpper(name)
		}
		return name, true
	}
	return "", false
}
