package schema

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// A Format is how values that a schema describes are written.
type Format string

// The formats, as registries name them.
const (
	Avro     Format = "AVRO"
	Protobuf Format = "PROTOBUF"
	JSON     Format = "JSON"
)

// A Reference is a schema that another one builds on, by the name under which it
// does: an Avro full name, the import of a .proto file, the URL of a $ref.
type Reference struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	Version int    `json:"version"`
}

// A Definition is a schema as text.
type Definition struct {
	// Format is Avro where it is empty.
	Format     Format
	Text       string
	References []Reference
}

// A Registered is a schema of a registry. What the question did not ask for may be
// empty: the answer to ByID has neither subject nor version.
type Registered struct {
	Definition
	Subject string
	Version int
	ID      int
}

// Latest stands for the newest version of a subject.
const Latest = -1

// A Registry keeps schemas: the embedded one, or one that is reached over HTTP. Its
// methods are safe for concurrent use, may block, and answer with a *RegistryError
// what the registry refuses or cannot do.
type Registry interface {
	// ByID returns the schema of an id.
	ByID(ctx context.Context, id int) (Registered, error)
	// ByVersion returns a version of a subject, or its Latest.
	ByVersion(ctx context.Context, subject string, version int) (Registered, error)
	// Referred returns the version of a subject that a schema refers to, also a deleted
	// one: what was written with the schema can still be read.
	Referred(ctx context.Context, subject string, version int) (Registered, error)
	// Find returns the version of a subject that has this schema.
	Find(ctx context.Context, subject string, d Definition) (Registered, error)
	// Versions returns the subjects and versions that have the schema of an id. Of
	// each only Subject and Version are set.
	Versions(ctx context.Context, id int) ([]Registered, error)
	// Register makes a schema the newest version of a subject, unless the subject
	// has it already, and returns its id.
	Register(ctx context.Context, subject string, d Definition) (id int, err error)
}

// A RegistryError is a registry's refusal, or that it cannot be reached.
type RegistryError struct {
	// Status is the HTTP status of the answer; zero if there was none.
	Status int
	// Code is the registry's own code, such as 40403; zero if there was none.
	Code int
	// Message is what the registry says.
	Message string
	// After is how long to wait before asking again; zero if the registry does not
	// say.
	After time.Duration
}

func (e *RegistryError) Error() string {
	if e.Code != 0 {
		return fmt.Sprintf("schema registry: %s (%d)", e.Message, e.Code)
	}
	return "schema registry: " + e.Message
}

// NotFound says whether the registry does not know the schema, version or subject.
func (e *RegistryError) NotFound() bool {
	return e.Status == http.StatusNotFound && (e.Code == 40401 || e.Code == 40402 || e.Code == 40403 || e.Code == 40406)
}

// Denied says whether the registry does not let klamm in.
func (e *RegistryError) Denied() bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
}

// Invalid says whether the registry cannot read the schema.
func (e *RegistryError) Invalid() bool { return e.Code == 42201 }

// Unavailable says whether asking again later may help: where there was no answer, or
// one that is not a registry's verdict on the question.
func (e *RegistryError) Unavailable() bool {
	return e.Status < 400 || e.Status == http.StatusRequestTimeout || e.Status == http.StatusTooManyRequests || e.Status >= 500 ||
		e.Status == http.StatusNotFound && !e.NotFound() || e.Denied()
}

// Unavailable returns the error of a registry that cannot answer at the moment, if
// err is one: what was asked for may succeed later.
func Unavailable(err error) (*RegistryError, bool) {
	var r *RegistryError
	if errors.As(err, &r) && r.Unavailable() {
		return r, true
	}
	return nil, false
}
