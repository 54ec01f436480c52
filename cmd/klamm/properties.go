package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// properties reads a file of Java properties: names and values with =, : or white space
// between them, comments that begin with # or !, lines that go on after a backslash at
// their end, and the escapes \t, \n, \r, \f and \uXXXX. The last of equal names counts.
func properties(text string) (map[string]string, error) {
	all := map[string]string{}
	lines := strings.Split(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimLeft(lines[i], " \t\f")
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		first := i + 1
		for goesOn(line) && i+1 < len(lines) {
			i++
			line = line[:len(line)-1] + strings.TrimLeft(lines[i], " \t\f")
		}
		if goesOn(line) {
			line = line[:len(line)-1]
		}
		name, value := splitProperty(line)
		var err error
		if name, err = unescape(name); err == nil {
			value, err = unescape(value)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", first, err)
		}
		all[name] = value
	}
	return all, nil
}

// goesOn says whether a line ends with a backslash that is not escaped itself.
func goesOn(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

// splitProperty finds the end of the name, and the begin of the value.
func splitProperty(line string) (name, value string) {
	end := 0
	for ; end < len(line); end++ {
		if line[end] == '\\' {
			end++
			continue
		}
		if strings.IndexByte("=: \t\f", line[end]) >= 0 {
			break
		}
	}
	end = min(end, len(line))
	rest := strings.TrimLeft(line[end:], " \t\f")
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = strings.TrimLeft(rest[1:], " \t\f")
	}
	return line[:end], rest
}

func unescape(text string) (string, error) {
	if !strings.Contains(text, `\`) {
		return text, nil
	}
	var units []uint16 // pairs of \u escapes may be one character
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			from := i
			for i+1 < len(text) && text[i+1] != '\\' {
				i++
			}
			units = append(units, utf16.Encode([]rune(text[from:i+1]))...)
			continue
		}
		i++
		switch text[i] {
		case 't':
			units = append(units, '\t')
		case 'n':
			units = append(units, '\n')
		case 'r':
			units = append(units, '\r')
		case 'f':
			units = append(units, '\f')
		case 'u':
			if i+5 > len(text) {
				return "", fmt.Errorf(`\u needs four hexadecimal digits`)
			}
			n, err := strconv.ParseUint(text[i+1:i+5], 16, 16)
			if err != nil {
				return "", fmt.Errorf(`\u needs four hexadecimal digits`)
			}
			units, i = append(units, uint16(n)), i+4
		default: // the character itself, which may have several bytes
			i--
			from := i + 1
			i++
			for i+1 < len(text) && text[i+1]&0xC0 == 0x80 {
				i++
			}
			units = append(units, utf16.Encode([]rune(text[from:i+1]))...)
		}
	}
	return string(utf16.Decode(units)), nil
}
