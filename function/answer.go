package function

import (
	"encoding/base64"
	"encoding/json"
	"strings"
)

// errorBody returns the document by which the Lambda API describes a failure.
func errorBody(kind, message string) []byte {
	body, _ := json.Marshal(struct {
		Message string `json:"errorMessage"`
		Type    string `json:"errorType"`
	}{strings.ToValidUTF8(message, "\uFFFD"), kind})
	return body
}

// trailingError returns the failure that came after the beginning of an answer.
func trailingError(kind, encoded string) []byte {
	if body, err := base64.StdEncoding.DecodeString(encoded); err == nil && len(body) > 0 && json.Valid(body) {
		return body
	}
	return errorBody(errorType(kind), "the function failed after the beginning of its response")
}
