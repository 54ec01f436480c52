package schema

import (
	"encoding/json"
	"fmt"
)

// FileOf returns the name of the file that a schema of the configuration stands
// in: {file: NAME}. It is empty where the schema itself is given.
func FileOf(given json.RawMessage) string {
	var ref map[string]json.RawMessage
	if json.Unmarshal(given, &ref) != nil || len(ref) != 1 {
		return ""
	}
	var name string
	if json.Unmarshal(ref["file"], &name) != nil {
		return ""
	}
	return name
}

// Source returns the text of a schema of the configuration, which is given itself
// or as {file: NAME}. More than most bytes are an error.
func Source(given json.RawMessage, read func(name string) ([]byte, error), most int) ([]byte, error) {
	name := FileOf(given)
	if name == "" {
		return given, nil
	}
	text, err := read(name)
	if err == nil && len(text) > most {
		err = fmt.Errorf("%s is larger than %d bytes", name, most)
	}
	return text, err
}
