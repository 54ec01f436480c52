package aws

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/gate"
)

// maxEnvironment bounds the variables of a function together, in bytes.
const maxEnvironment = 4 << 10

// A functionRequest is the body of CreateFunction, UpdateFunctionConfiguration and
// UpdateFunctionCode.
type functionRequest struct {
	FunctionName *string
	Runtime      *string
	Role         *string
	Handler      *string
	Description  *string
	Timeout      *number
	MemorySize   *number
	PackageType  *string
	RevisionId   *string
	Publish      bool
	DryRun       bool
	Code         *functionCode
	functionCode
	Environment   *struct{ Variables map[string]string }
	Tags          map[string]string
	Architectures []string
	Layers        []string
}

// functionCode is where the code comes from.
type functionCode struct {
	ZipFile            []byte
	S3Bucket, ImageUri *string
}

// archive returns the package, which has been read from end to end.
func (c *functionCode) archive() ([]byte, error) {
	switch {
	case c == nil:
		return nil, invalidParameter("Please provide a source for function code.")
	case c.S3Bucket != nil:
		return nil, invalidParameter("Code from a bucket is not supported; send the package in ZipFile.")
	case c.ImageUri != nil:
		return nil, invalidParameter("Functions from container images are not supported; send the package in ZipFile.")
	case len(c.ZipFile) == 0:
		return nil, invalidParameter("Please provide a source for function code.")
	}
	if err := function.Check(c.ZipFile); err != nil {
		return nil, invalidParameter("Could not unzip uploaded file. Please check your file, then try to upload again. (" + err.Error() + ")")
	}
	return c.ZipFile, nil
}

var (
	roleForm     = regexp.MustCompile(`^arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+$`)
	variableForm = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]+$`)
)

// reservedVariables are those that a function cannot set for itself.
var reservedVariables = []string{
	"_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
	"AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID",
	"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR",
}

// apply checks what a request says about the configuration and takes it over.
func (q *functionRequest) apply(f *catalog.Function) error {
	constraint := func(value any, member, must string) error {
		return invalidParameter(fmt.Sprintf("1 validation error detected: Value '%v' at '%s' failed to satisfy constraint: Member must %s", value, member, must))
	}
	if q.Role != nil {
		if !roleForm.MatchString(*q.Role) {
			return constraint(clip(*q.Role), "role", `satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+`)
		}
		f.Role = *q.Role
	}
	if q.Runtime != nil {
		if !function.KnownRuntime(*q.Runtime) {
			return invalidParameter("Value " + clip(*q.Runtime) + " at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [provided.al2023, provided.al2, nodejs*, python3.*]")
		}
		f.Runtime = *q.Runtime
	}
	if q.Handler != nil {
		if *q.Handler == "" || len(*q.Handler) > 128 || strings.ContainsAny(*q.Handler, " \t\r\n\x00") {
			return constraint(clip(*q.Handler), "handler", `satisfy regular expression pattern: [^\s]+`)
		}
		f.Handler = *q.Handler
	}
	if q.Description != nil {
		if utf8.RuneCountInString(*q.Description) > 256 {
			return constraint(clip(*q.Description), "description", "have length less than or equal to 256")
		}
		f.Description = *q.Description
	}
	if n := q.Timeout; n != nil {
		if *n < 1 || *n > 900 {
			return constraint(*n, "timeout", "have value between 1 and 900")
		}
		f.Timeout = time.Duration(*n) * time.Second
	}
	if n := q.MemorySize; n != nil {
		if *n < 128 || *n > 10240 {
			return invalidParameter(fmt.Sprintf("'MemorySize' value failed to satisfy constraint: Member must have value between 128 and 10240, and it is %d", *n))
		}
		f.Memory = int(*n)
	}
	if q.PackageType != nil && *q.PackageType != "Zip" {
		return invalidParameter("Functions of PackageType " + clip(*q.PackageType) + " are not supported; want Zip.")
	}
	if len(q.Layers) > 0 {
		return invalidParameter("Layers are not supported; put what they hold into the package.")
	}
	if len(q.Architectures) > 1 || len(q.Architectures) == 1 && q.Architectures[0] != "x86_64" && q.Architectures[0] != "arm64" {
		return constraint(q.Architectures, "architectures", "satisfy enum value set: [x86_64, arm64]")
	}
	if len(q.Architectures) == 1 {
		f.Architecture = q.Architectures[0]
	}
	return q.applyEnvironment(f)
}

func (q *functionRequest) applyEnvironment(f *catalog.Function) error {
	if q.Environment == nil {
		return nil
	}
	size := 0
	for _, name := range slices.Sorted(maps.Keys(q.Environment.Variables)) {
		value := q.Environment.Variables[name]
		size += len(name) + len(value)
		switch {
		case !variableForm.MatchString(name), strings.ContainsRune(value, 0):
			return invalidParameter("Value at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]: " + clip(name))
		case slices.Contains(reservedVariables, name):
			return invalidParameter("Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: " + name)
		}
	}
	if size > maxEnvironment {
		return invalidParameter(fmt.Sprintf("Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit: %d bytes", size))
	}
	f.Environment = q.Environment.Variables
	return nil
}

// tagProblem says what is wrong with tags; empty: nothing.
func tagProblem(tags map[string]string) string {
	if len(tags) > 50 {
		return "at most 50 tags are allowed"
	}
	for key, value := range tags {
		if n := utf8.RuneCountInString(key); n < 1 || n > 128 || utf8.RuneCountInString(value) > 256 || strings.HasPrefix(strings.ToLower(key), "aws:") {
			return "the tag " + strconv.Quote(clip(key)) + " is not allowed: keys have 1 to 128 characters and do not begin with aws:, values have at most 256"
		}
	}
	return ""
}

// A functionConfiguration is a function as the API shows it.
type functionConfiguration struct {
	FunctionName, FunctionArn string
	Runtime, Role, Handler    string `json:",omitempty"`
	CodeSize                  int
	Description               string
	Timeout, MemorySize       int
	LastModified              string
	CodeSha256                string `json:",omitempty"`
	Version                   string
	Environment               *environment `json:",omitempty"`
	TracingConfig             struct{ Mode string }
	RevisionId                string `json:",omitempty"`
	State, LastUpdateStatus   string
	PackageType               string
	Architectures             []string
	EphemeralStorage          struct{ Size int }
	SnapStart                 struct{ ApplyOn, OptimizationStatus string }
	LoggingConfig             struct{ LogFormat, LogGroup string }
}

type environment struct{ Variables map[string]string }

func (l lambda) document(f catalog.Function) functionConfiguration {
	c := functionConfiguration{
		FunctionName: f.Name, FunctionArn: l.functions.ARN(f.Name), Runtime: f.Runtime, Role: f.Role, Handler: f.Handler, Description: f.Description,
		Timeout: 3, MemorySize: 128, LastModified: f.Changed.UTC().Format("2006-01-02T15:04:05.000+0000"), Version: "$LATEST", RevisionId: f.Revision,
		State: "Active", LastUpdateStatus: "Successful", PackageType: "Zip", Architectures: []string{"x86_64"},
	}
	if f.Timeout > 0 {
		c.Timeout = int((f.Timeout + time.Second - 1) / time.Second)
	}
	if f.Memory > 0 {
		c.MemorySize = f.Memory
	}
	if f.Architecture != "" {
		c.Architectures[0] = f.Architecture
	}
	if len(f.Environment) > 0 {
		c.Environment = &environment{f.Environment}
	}
	if f.Code != nil {
		c.CodeSize, c.CodeSha256 = f.Code.Size, f.Code.Digest
	}
	c.TracingConfig.Mode = "PassThrough"
	c.EphemeralStorage.Size = 512
	c.SnapStart.ApplyOn, c.SnapStart.OptimizationStatus = "None", "Off"
	c.LoggingConfig.LogFormat, c.LoggingConfig.LogGroup = "Text", "/aws/lambda/"+f.Name
	return c
}

// read decodes a body of the Lambda API; packages are large.
func (l lambda) read(r *http.Request, into any) error {
	data, release, err := front.ReadBody(r)
	if err != nil {
		return err
	}
	defer release()
	if err := unmarshal(data, into); err != nil {
		return &lambdaFault{name: "InvalidRequestContentException", status: http.StatusBadRequest, message: "Could not parse request body into json: " + mistake(err)}
	}
	return nil
}

func (l lambda) create(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	var q functionRequest
	if err := l.read(r, &q); err != nil {
		return err
	}
	if q.FunctionName == nil || q.Role == nil {
		return invalidParameter("1 validation error detected: FunctionName and Role must not be null")
	}
	name, err := l.name(*q.FunctionName, "")
	if err != nil {
		return err
	}
	f := catalog.Function{Name: name, Tags: q.Tags}
	if err := q.apply(&f); err != nil {
		return err
	}
	if f.Runtime == "" || f.Handler == "" {
		return invalidParameter("Runtime and Handler are mandatory parameters for functions created with deployment packages.")
	}
	if problem := tagProblem(q.Tags); problem != "" {
		return invalidParameter(problem)
	}
	archive, err := q.Code.archive()
	if err != nil {
		return err
	}
	f, err = l.functions.Create(r.Context(), who, f, archive)
	if err != nil {
		return l.missing(name, err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	return json.NewEncoder(w).Encode(l.document(f))
}

func (l lambda) configure(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := l.nameOf(r)
	if err != nil {
		return err
	}
	var q functionRequest
	if err := l.read(r, &q); err != nil {
		return err
	}
	f, err := l.functions.Change(r.Context(), who, gate.UpdateFunctionConfiguration, name, deref(q.RevisionId), q.apply)
	if err != nil {
		return l.missing(name, err)
	}
	return write(w, "application/json", l.document(f))
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (l lambda) code(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	name, err := l.nameOf(r)
	if err != nil {
		return err
	}
	var q functionRequest
	if err := l.read(r, &q); err != nil {
		return err
	}
	archive, err := q.archive()
	if err != nil {
		return err
	}
	if q.DryRun {
		f, err := l.functions.Get(r.Context(), who, name)
		if err != nil {
			return l.missing(name, err)
		}
		f.Code = &catalog.Code{Digest: function.Digest(archive), Size: len(archive)}
		return write(w, "application/json", l.document(f))
	}
	f, err := l.functions.UpdateCode(r.Context(), who, name, deref(q.RevisionId), archive)
	if err != nil {
		return l.missing(name, err)
	}
	return write(w, "application/json", l.document(f))
}
