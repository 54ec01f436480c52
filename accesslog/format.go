package accesslog

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxTemplate bounds a format's text, in bytes, as API Gateway does.
const maxTemplate = 3 << 10

// longestValue bounds one value in a line, in bytes: clients choose some of them.
const longestValue = 4 << 10

// prefix begins every variable.
const prefix = "$context."

// Templates are the formats that have a name, each with the way in which values are
// escaped in it (gateway-policies.md 5.7).
var templates = map[string]string{
	"json": `{"event":"$context.event","requestId":"$context.requestId","requestTime":"$context.requestTime","requestTimeEpoch":$context.requestTimeEpoch,` +
		`"sourceIp":"$context.identity.sourceIp","principal":"$context.identity.principal","scheme":"$context.identity.scheme","apiKeyId":"$context.identity.apiKeyId",` +
		`"userAgent":"$context.identity.userAgent","stage":"$context.stage","httpMethod":"$context.httpMethod","path":"$context.path","query":"$context.query",` +
		`"resourcePath":"$context.resourcePath","protocol":"$context.protocol","status":$context.status,"responseLength":$context.responseLength,` +
		`"responseLatency":$context.responseLatency,"integrationLatency":"$context.integrationLatency","errorType":"$context.error.responseType","error":"$context.error.message",` +
		`"topic":"$context.kafka.topic","partition":"$context.kafka.partition","offset":"$context.kafka.offset","records":"$context.kafka.records","bytes":"$context.kafka.bytes",` +
		`"kafkaError":"$context.kafka.error","policy":"$context.policy.decision","statement":"$context.policy.statement","limit":"$context.limit.rule","wafRule":"$context.waf.rule",` +
		`"traceId":"$context.traceId"}`,
	"clf": `$context.identity.sourceIp $context.identity.caller $context.identity.user [$context.requestTime] "$context.httpMethod $context.path $context.protocol" ` +
		`$context.status $context.responseLength $context.requestId $context.extendedRequestId`,
	"csv": `$context.identity.sourceIp,$context.identity.caller,$context.identity.user,$context.requestTime,$context.httpMethod,$context.path,$context.protocol,` +
		`$context.status,$context.responseLength,$context.requestId,$context.extendedRequestId`,
	"xml": `<request id="$context.requestId"><ip>$context.identity.sourceIp</ip><caller>$context.identity.caller</caller><user>$context.identity.user</user>` +
		`<requestTime>$context.requestTime</requestTime><httpMethod>$context.httpMethod</httpMethod><path>$context.path</path><protocol>$context.protocol</protocol>` +
		`<status>$context.status</status><responseLength>$context.responseLength</responseLength><extendedRequestId>$context.extendedRequestId</extendedRequestId></request>`,
}

// names are the formats, for messages.
var names = []string{"json", "clf", "csv", "xml", formatEMF, formatEMFDetailed}

// A Format makes lines of entries. It is safe for concurrent use.
type Format struct {
	lead   func(b []byte, e *Entry) []byte // what stands before the parts; nil: nothing
	parts  []part
	escape func(b []byte, from int) []byte
}

// A part is a variable and the text before it.
type part struct {
	text  string
	value variable // nil: the end of the template
	whole bool     // the value is JSON itself
}

// messageString is the variable whose value has quotes of its own: where a template of
// JSON has none around it, it is a string as it is.
const messageString = "error.messageString"

// Compile returns the format of a name (json, clf, csv, xml, emf or emf_detailed), or,
// where template is not empty, of the template, whose values are escaped as in the format
// of that name; there is none of emf. The error says what is wrong with the one or the other.
func Compile(name, template string) (*Format, error) {
	if name == "" {
		name = "json"
	}
	if !slices.Contains(names, name) {
		return nil, fmt.Errorf("want one of %s", strings.Join(names, ", "))
	}
	var lead func(b []byte, e *Entry) []byte
	if name == formatEMF || name == formatEMFDetailed {
		if template != "" {
			return nil, fmt.Errorf("the format %s has no template", name)
		}
		lead, name, template = emf(name == formatEMFDetailed), "json", templates["json"][1:]
	}
	if template == "" {
		template = templates[name]
	}
	switch {
	case len(template) > maxTemplate:
		return nil, fmt.Errorf("the template has %d bytes; at most %d are allowed", len(template), maxTemplate)
	case strings.ContainsAny(template, "\r\n"):
		return nil, fmt.Errorf("the template must be one line")
	}
	f := &Format{lead: lead, escape: map[string]func([]byte, int) []byte{"json": escapeJSON, "clf": escapeCLF, "csv": escapeCSV, "xml": escapeXML}[name]}
	for rest := template; ; {
		text, after, found := strings.Cut(rest, prefix)
		if !found {
			f.parts = append(f.parts, part{text: rest})
			return f, nil
		}
		n := 0
		for n < len(after) && (after[n] == '.' || after[n] == '_' || after[n] == '-' && n > 0 || isAlphanumeric(after[n])) {
			n++
		}
		variableName := strings.TrimRight(after[:n], ".-")
		value, ok := variables[variableName]
		if !ok {
			value, ok = named(variableName)
		}
		if !ok {
			return nil, fmt.Errorf("there is no variable %s%s", prefix, variableName)
		}
		f.parts = append(f.parts, part{text, value, variableName == messageString && name == "json" && !strings.HasSuffix(text, `"`)})
		rest = after[len(variableName):]
	}
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// Append appends an entry's line with its newline. The line has no other.
func (f *Format) Append(b []byte, e *Entry) []byte {
	if f.lead != nil {
		b = f.lead(b, e)
	}
	for _, p := range f.parts {
		b = append(b, p.text...)
		if p.value == nil {
			continue
		}
		from := len(b)
		b = p.value(b, e)
		switch {
		case len(b) == from && p.whole:
			b = append(b, `"-"`...)
			continue
		case len(b) == from:
			b = append(b, '-')
			continue
		case p.whole && len(b)-from <= longestValue:
			continue
		case p.whole:
			b = append(b[:from], `"..."`...)
			continue
		}
		if len(b)-from > longestValue {
			cut := from + longestValue
			for cut > from && !utf8.RuneStart(b[cut]) {
				cut--
			}
			b = append(b[:cut], "..."...)
		}
		b = f.escape(b, from)
	}
	return append(b, '\n')
}

const hexDigits = "0123456789abcdef"

// rewrite replaces what is in b behind from, rune by rune, if it holds anything that
// is to be replaced. replace appends what a rune becomes.
func rewrite(b []byte, from int, special func(c byte) bool, replace func(b []byte, r rune, size int, raw byte) []byte) []byte {
	clean := true
	for _, c := range b[from:] {
		if c < ' ' || c >= 0x7f || special(c) {
			clean = false
			break
		}
	}
	if clean {
		return b
	}
	value := string(b[from:])
	b = b[:from]
	for i := 0; i < len(value); {
		r, size := utf8.DecodeRuneInString(value[i:])
		b = replace(b, r, size, value[i])
		i += size
	}
	return b
}

// breaks says whether a rune ends a line for some reader, or is no character.
func breaks(r rune, size int) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == utf8.RuneError && size == 1
}

func escapeJSON(b []byte, from int) []byte {
	return rewrite(b, from, func(c byte) bool { return c == '"' || c == '\\' }, func(b []byte, r rune, size int, _ byte) []byte {
		switch {
		case r == '"' || r == '\\':
			return append(b, '\\', byte(r))
		case r == utf8.RuneError && size == 1:
			return append(b, `\ufffd`...)
		case breaks(r, size):
			return append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
		}
		return utf8.AppendRune(b, r)
	})
}

// escapeCLF writes what could end a field as Apache's httpd does.
func escapeCLF(b []byte, from int) []byte {
	return rewrite(b, from, func(c byte) bool { return c == '"' || c == '\\' }, func(b []byte, r rune, size int, raw byte) []byte {
		switch {
		case r == '"' || r == '\\':
			return append(b, '\\', byte(r))
		case r == utf8.RuneError && size == 1:
			return append(b, '\\', 'x', hexDigits[raw>>4], hexDigits[raw&15])
		case breaks(r, size):
			for _, c := range string(r) {
				b = append(b, '\\', 'x', hexDigits[c>>4&15], hexDigits[c&15])
			}
			return b
		}
		return utf8.AppendRune(b, r)
	})
}

// escapeCSV puts a value that needs it in quotes (RFC 4180), and takes out what
// would end the line for some reader.
func escapeCSV(b []byte, from int) []byte {
	quoted := false
	for _, c := range b[from:] {
		quoted = quoted || c == '"' || c == ',' || c == ';' || c == ' ' || c < ' ' || c >= 0x7f
	}
	if !quoted {
		return b
	}
	value := string(b[from:])
	b = append(b[:from], '"')
	for i := 0; i < len(value); {
		r, size := utf8.DecodeRuneInString(value[i:])
		switch {
		case r == '"':
			b = append(b, '"', '"')
		case breaks(r, size):
			b = append(b, ' ')
		default:
			b = utf8.AppendRune(b, r)
		}
		i += size
	}
	return append(b, '"')
}

var entities = map[rune]string{'<': "&lt;", '>': "&gt;", '&': "&amp;", '"': "&quot;", '\'': "&apos;"}

func escapeXML(b []byte, from int) []byte {
	return rewrite(b, from, func(c byte) bool { return strings.IndexByte(`<>&"'`, c) >= 0 }, func(b []byte, r rune, size int, _ byte) []byte {
		if e, ok := entities[r]; ok {
			return append(b, e...)
		}
		if breaks(r, size) || r == 0xfffe || r == 0xffff { // XML has no way to write them
			return utf8.AppendRune(b, utf8.RuneError)
		}
		return utf8.AppendRune(b, r)
	})
}
