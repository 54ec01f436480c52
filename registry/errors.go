package registry

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/schema"
	"github.com/klamm-gateway/klamm/table"
)

// The codes of refusals, as Confluent's registry gives them; the first three digits
// are the HTTP status.
const (
	codeSubjectNotFound   = 40401
	codeVersionNotFound   = 40402
	codeSchemaNotFound    = 40403
	codeSubjectDeleted    = 40404
	codeSubjectNotDeleted = 40405
	codeVersionDeleted    = 40406
	codeVersionNotDeleted = 40407
	codeNoConfig          = 40408
	codeNoMode            = 40409
	codeIncompatible      = 409
	codeInvalidSchema     = 42201
	codeInvalidLevel      = 42203
	codeInvalidMode       = 42204
	codeNotPermitted      = 42205
	codeReferenceExists   = 42206
	codeTooLarge          = 42209
	codeStore             = 50001
)

// refuse makes the error for a code.
func refuse(code int, form string, args ...any) error {
	status := code
	if status >= 1000 {
		status /= 100
	}
	return &schema.RegistryError{Status: status, Code: code, Message: fmt.Sprintf(form, args...)}
}

func noSubject(subject string) error {
	return refuse(codeSubjectNotFound, "Subject '%s' not found.", clip(subject))
}

// noVersion names the latest version by its number, -1.
func noVersion(version int) error {
	return refuse(codeVersionNotFound, "Version %d not found.", version)
}

// unavailable is the error of a registry that cannot read or write its topic.
func unavailable(err error) error {
	var own *schema.RegistryError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return own
	case errors.Is(err, table.ErrUnknown):
		return &schema.RegistryError{Status: http.StatusInternalServerError, Code: codeStore,
			Message: "Error in the backend data store: the change may or may not have been made; ask what is there before trying again"}
	}
	return &schema.RegistryError{Status: http.StatusInternalServerError, Code: codeStore, Message: "Error in the backend data store: " + kafka.Message(err)}
}
