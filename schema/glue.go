package schema

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/uuid"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A GlueRegistry is the schema registry of AWS Glue in one region
// (event-source-mapping.md 12.1). It only reads: of its API it calls GetSchemaVersion,
// which the action glue:GetSchemaVersion allows.
type GlueRegistry struct {
	region      string
	endpoint    string
	client      *http.Client
	credentials func(context.Context) (aws.Credentials, error)
	timeout     time.Duration
}

// OpenGlue makes the registry of a configuration, whose region is given. Credentials are
// asked for at each request. Base is the transport of connections; nil is Go's default.
func OpenGlue(cfg Glue, timeout time.Duration, credentials func(context.Context) (aws.Credentials, error), base *http.Transport) *GlueRegistry {
	if base == nil {
		base = http.DefaultTransport.(*http.Transport)
	}
	t := base.Clone()
	t.MaxIdleConnsPerHost = 8
	if timeout == 0 {
		timeout = defaultTimeout
	}
	if cfg.Endpoint == "" {
		cfg.Endpoint = "https://glue." + cfg.Region + ".amazonaws.com"
		if strings.HasPrefix(cfg.Region, "cn-") {
			cfg.Endpoint += ".cn"
		}
	}
	return &GlueRegistry{
		region: cfg.Region, endpoint: strings.TrimRight(cfg.Endpoint, "/") + "/", credentials: credentials, timeout: timeout,
		client: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// Close closes the connections that are open and idle.
func (g *GlueRegistry) Close() { g.client.CloseIdleConnections() }

var glueARN = regexp.MustCompile(`^arn:aws[a-z-]*:glue:([a-z]{2,}(?:-[a-z0-9]+)+):\d{12}:registry/[A-Za-z0-9_$#.-]{1,255}$`)

// GlueRegion returns the region of the ARN of a registry of AWS Glue, and false where a
// text is none.
func GlueRegion(arn string) (region string, ok bool) {
	m := glueARN.FindStringSubmatch(arn)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// Version returns the schema of a version by its id. The error is a *RegistryError.
func (g *GlueRegistry) Version(ctx context.Context, id uuid.UUID) (Definition, error) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	var out struct {
		SchemaDefinition string
		DataFormat       string
		Status           string
	}
	if err := g.call(ctx, "GetSchemaVersion", map[string]string{"SchemaVersionId": id.String()}, &out); err != nil {
		return Definition{}, err
	}
	switch {
	case out.Status == "PENDING":
		return Definition{}, &RegistryError{Status: http.StatusServiceUnavailable, Message: fmt.Sprintf("schema version %s is not checked yet", id)}
	case out.Status == "FAILURE":
		return Definition{}, noVersion(fmt.Sprintf("schema version %s was refused by the registry", id))
	case out.SchemaDefinition == "":
		return Definition{}, &RegistryError{Message: "the answer of AWS Glue has no schema"}
	}
	return Definition{Format: Format(out.DataFormat), Text: out.SchemaDefinition}, nil
}

func noVersion(message string) *RegistryError {
	return &RegistryError{Status: http.StatusNotFound, Code: 40403, Message: message}
}

// call calls an operation, in the protocol AWS JSON 1.1.
func (g *GlueRegistry) call(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.endpoint, bytes.NewReader(body))
	if err != nil {
		return &RegistryError{Message: err.Error()}
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "AWSGlue."+operation)
	who, err := g.credentials(ctx)
	if err == nil {
		sum := sha256.Sum256(body)
		err = v4.NewSigner().SignHTTP(ctx, who, r, hex.EncodeToString(sum[:]), "glue", g.region, time.Now())
	}
	if err != nil {
		return &RegistryError{Message: "klamm's login: " + err.Error()}
	}
	answer, err := g.client.Do(r)
	if err != nil {
		return &RegistryError{Message: err.Error()}
	}
	defer answer.Body.Close()
	text, err := readAnswer(answer, "AWS Glue")
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return glueRefusal(answer.StatusCode, text)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return &RegistryError{Message: "the answer of AWS Glue cannot be read"}
	}
	return nil
}

// glueRefusal reads an answer that is no success. Only what Glue says of the schema
// itself is its verdict; all else may change, and is asked for again.
func glueRefusal(status int, text []byte) error {
	var said struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
		Other   string `json:"Message"`
	}
	_ = json.Unmarshal(text, &said) // an answer that is no JSON says nothing
	if said.Message == "" {
		said.Message = said.Other
	}
	name := said.Type[strings.LastIndexByte(said.Type, '#')+1:]
	message := strings.ToValidUTF8(said.Message[:min(len(said.Message), maxMessage)], "")
	if message == "" {
		message = fmt.Sprintf("AWS Glue answered %d", status)
	}
	switch {
	case name == "EntityNotFoundException":
		return noVersion(message)
	case name == "InvalidInputException":
		return &RegistryError{Status: http.StatusBadRequest, Message: message}
	case status < http.StatusInternalServerError:
		status = http.StatusServiceUnavailable
	}
	return &RegistryError{Status: status, Message: strings.TrimPrefix(name+": "+message, ": ")}
}

// compileGlue makes a schema of AWS Glue ready. Its Protobuf files have no imports but
// the well-known ones, and an index of their own in front of messages.
func compileGlue(d Definition) (*Schema, error) {
	if d.Format == "" {
		return nil, errors.New("AWS Glue does not say in which format it is")
	}
	s, err := Compile(d, nil)
	if err != nil {
		return nil, err
	}
	if p, ok := s.values.(*protoSchema); ok {
		s.values = newGlueProto(p)
	}
	return s, nil
}

// A glueProto is a .proto file of AWS Glue: one number stands in front of a message, its
// place among all messages of the file, nested ones too, in the order of full names.
// Nothing is written with it.
type glueProto struct {
	*protoSchema
	messages []protoreflect.MessageDescriptor
}

func newGlueProto(p *protoSchema) *glueProto {
	g := &glueProto{protoSchema: p}
	var add func(protoreflect.MessageDescriptors)
	add = func(all protoreflect.MessageDescriptors) {
		for i := range all.Len() {
			g.messages = append(g.messages, all.Get(i))
			add(all.Get(i).Messages())
		}
	}
	add(p.file.Messages())
	slices.SortFunc(g.messages, func(a, b protoreflect.MessageDescriptor) int {
		return strings.Compare(string(a.FullName()), string(b.FullName()))
	})
	return g
}

// appendJSON appends the JSON of a message with its index in front.
func (g *glueProto) appendJSON(dst, data []byte, style Style) ([]byte, error) {
	index, n := binary.Uvarint(data)
	if n <= 0 {
		return dst, unfit("does not begin with the index of a message")
	}
	if index >= uint64(len(g.messages)) {
		return dst, unfit("is of a message that the schema does not have")
	}
	return g.appendMessage(dst, g.messages[index], data[n:], style)
}
