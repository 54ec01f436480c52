package catalog

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/secret"
)

// KindFunction is the kind of documents that are functions.
const KindFunction = "function"

// A Function is a program that klamm runs, or one that it calls elsewhere.
type Function struct {
	// Name is unique: letters, digits, "-" and "_", at most 64.
	Name string `yaml:"name" json:"-"`
	// Directory holds the code of a function in the configuration file.
	Directory string `yaml:"directory" json:"-"`
	// Runtime chooses how the program is started: provided.al2023, provided.al2,
	// nodejs*, python3*.
	Runtime string `yaml:"runtime" json:"runtime,omitempty"`
	// Handler is what the runtime client loads, such as index.handler.
	Handler string `yaml:"handler" json:"handler,omitempty"`
	// Environment is given to the program.
	Environment map[string]string `yaml:"environment" json:"environment,omitempty"`
	// Timeout bounds one invocation, 1s to 15m; the default is 3s.
	Timeout time.Duration `yaml:"timeout" json:"timeout,omitempty"`
	// Memory bounds one instance, in MiB, 32 to 10240; the default is 128.
	Memory int `yaml:"memory" json:"memory,omitempty"`
	// Concurrency is how many instances one klamm process runs at most, up to 1000;
	// the default is ten for each processor.
	Concurrency int `yaml:"concurrency" json:"concurrency,omitempty"`
	// Wasm is the file of a WebAssembly module (WASI preview 1) instead of a program.
	Wasm string `yaml:"wasm" json:"-"`
	// URL is where a function is called that runs elsewhere, with POST.
	URL string `yaml:"url" json:"-"`
	// Format is what is sent to URL: lambda, the event of the Lambda API (the default);
	// record, the value of each record; or cloudevents-binary, cloudevents-structured or
	// cloudevents-batch.
	Format string `yaml:"format" json:"-"`
	// EventType is the type of the CloudEvents that are made of records which are none;
	// the default is dev.knative.kafka.event.
	EventType string `yaml:"event_type" json:"-"`
	// Authorization is sent to URL in the header of that name.
	Authorization secret.Ref `yaml:"authorization" json:"-"`
	// NotReached are the statuses, beside 408, 425, 429 and 503, by which something
	// before the function at URL says that it was not reached; the default is 502 and
	// 504. CloudEvents go by the rules of Knative instead.
	NotReached []int `yaml:"not_reached" json:"-"`
	// Reply is the topic for the CloudEvents that the function at URL answers with; the
	// default is not to ask for any.
	Reply string `yaml:"reply" json:"-"`
	// Lambda is a function behind the Lambda API, of AWS or of an emulator.
	Lambda *Lambda `yaml:"lambda" json:"-"`
	// RIE is the URL of a Runtime Interface Emulator.
	RIE string `yaml:"rie" json:"-"`

	// Code is the package of a function that was made at run time.
	Code *Code `yaml:"-" json:"code,omitempty"`
	// Description, Role, Tags and the others are kept for the Lambda API.
	Description  string            `yaml:"-" json:"description,omitempty"`
	Role         string            `yaml:"-" json:"role,omitempty"`
	Tags         map[string]string `yaml:"-" json:"tags,omitempty"`
	Architecture string            `yaml:"-" json:"architecture,omitempty"`
	// Revision is a UUID that changes with every update, and Changed its time.
	Revision string    `yaml:"-" json:"revision,omitempty"`
	Changed  time.Time `yaml:"-" json:"changed,omitzero"`
}

// A Lambda is a function behind the Lambda API.
type Lambda struct {
	// Endpoint is the URL of the API; the default is that of the Lambda service in
	// region.
	Endpoint string `yaml:"endpoint"`
	// Function is the name or the ARN.
	Function string `yaml:"function"`
	// Qualifier is a version or an alias; the default is none.
	Qualifier string `yaml:"qualifier"`
	// Region is what requests are signed for; the default is that of the ARN, or
	// aws.region.
	Region string `yaml:"region"`
	// AccessKey signs requests, together with SecretKey. Without them the machine's
	// credentials do where there is no endpoint; where there is one, requests are not
	// signed.
	AccessKey secret.Ref `yaml:"access_key"`
	// SecretKey goes with AccessKey.
	SecretKey secret.Ref `yaml:"secret_key"`
	// SessionToken goes with temporary keys.
	SessionToken secret.Ref `yaml:"session_token"`
}

// Validate reports each problem with the field it lies in.
func (l Lambda) Validate(report func(path, problem string)) {
	if l.Endpoint != "" && !plainURL(l.Endpoint) {
		report("endpoint", "want http://HOST[:PORT] or https://HOST[:PORT]")
	}
	if l.Function == "" || len(l.Function) > 256 || strings.ContainsAny(l.Function, " /?#") {
		report("function", "give the name or the ARN of the function")
	}
	if l.AccessKey.IsZero() != l.SecretKey.IsZero() {
		report("secret_key", "access_key and secret_key go together")
	}
	if !l.SessionToken.IsZero() && l.AccessKey.IsZero() {
		report("session_token", "goes with access_key and secret_key")
	}
}

// plainURL says whether text is a URL that requests can be sent to.
func plainURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && len(text) <= 2048 && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && u.Fragment == ""
}

var functionName = regexp.MustCompile(`^[a-zA-Z0-9-_]{1,64}$`)

// Validate reports each problem with the field it lies in.
func (f Function) Validate(report func(path, problem string)) {
	if !functionName.MatchString(f.Name) {
		report("name", `want letters, digits, "-" and "_", at most 64`)
	}
	f.validatePlace(report)
	if f.Timeout != 0 && (f.Timeout < time.Second || f.Timeout > 15*time.Minute) {
		report("timeout", "want a time from 1s to 15m")
	}
	if f.Memory != 0 && (f.Memory < 32 || f.Memory > 10240) {
		report("memory", "want MiB, 32 to 10240")
	}
	if f.Concurrency < 0 || f.Concurrency > 1000 {
		report("concurrency", "want 1 to 1000")
	}
	for _, name := range slices.Sorted(maps.Keys(f.Environment)) {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(f.Environment[name], 0) {
			report("environment", fmt.Sprintf("%q cannot be a variable", name))
		}
	}
}

// validatePlace reports what is wrong with where the function is.
func (f Function) validatePlace(report func(path, problem string)) {
	places, far := 0, f.URL != "" || f.Lambda != nil || f.RIE != ""
	for _, is := range []bool{f.Directory != "", f.Wasm != "", f.URL != "", f.Lambda != nil, f.RIE != ""} {
		if is {
			places++
		}
	}
	switch {
	case places != 1:
		report("directory", "give one of directory, wasm, url, lambda and rie")
	case f.Directory == "" && (f.Runtime != "" || f.Handler != ""):
		report("runtime", "runtime and handler go with directory")
	case f.Directory != "" && !function.KnownRuntime(f.Runtime):
		report("runtime", "want provided.al2023, provided.al2, nodejs22.x or the like, python3.13 or the like")
	case far && (len(f.Environment) > 0 || f.Memory != 0):
		report("environment", "environment and memory go with programs that klamm starts")
	case f.RIE != "" && !plainURL(f.RIE):
		report("rie", "want the URL of an emulator, such as http://127.0.0.1:8080")
	case f.RIE != "" && f.Concurrency > 1:
		report("concurrency", "an emulator takes one invocation at a time")
	}
	if f.URL == "" {
		if f.Format != "" || f.EventType != "" || !f.Authorization.IsZero() || f.NotReached != nil || f.Reply != "" {
			report("url", "format, event_type, authorization, not_reached and reply go with url")
		}
		return
	}
	f.validateHTTP(report)
}

func (f Function) validateHTTP(report func(path, problem string)) {
	if !plainURL(f.URL) {
		report("url", "want http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH")
	} else if u, err := url.Parse(f.URL); err == nil && strings.HasPrefix(u.Path, "/async-function/") {
		report("url", "a function of OpenFaaS that is called asynchronously does not say whether it has done its work; use /function/")
	}
	switch f.Format {
	case "", function.FormatLambda, function.FormatRecord:
		if f.EventType != "" {
			report("event_type", "goes with the formats of CloudEvents")
		}
	case function.FormatBinary, function.FormatStructured, function.FormatBatch:
		if f.NotReached != nil {
			report("not_reached", "functions that take CloudEvents go by the rules of Knative")
		}
	default:
		report("format", "want lambda, record, cloudevents-binary, cloudevents-structured or cloudevents-batch")
	}
	for i, status := range f.NotReached {
		if status < 400 || status > 599 {
			report(fmt.Sprintf("not_reached[%d]", i), "want a status from 400 to 599")
		}
	}
	if len(f.EventType) > 1024 || strings.ContainsFunc(f.EventType, func(r rune) bool { return r < ' ' || r > '~' }) {
		report("event_type", "want the type of an event, such as com.example.order")
	}
	if f.Reply != "" && !topicName.MatchString(f.Reply) {
		report("reply", "want the name of a topic")
	}
}

// remote is where a function runs that klamm does not start; nil: klamm does.
func (f Function) remote() *function.Remote {
	switch {
	case f.URL != "":
		return &function.Remote{URL: f.URL, Format: f.Format, Authorization: f.Authorization, EventType: f.EventType, NotReached: f.NotReached, ReplyTopic: f.Reply}
	case f.RIE != "":
		return &function.Remote{RIE: f.RIE}
	case f.Lambda != nil:
		l := f.Lambda
		return &function.Remote{Lambda: &function.Lambda{
			Endpoint: l.Endpoint, Function: l.Function, Qualifier: l.Qualifier, Region: l.Region, AccessKey: l.AccessKey, SecretKey: l.SecretKey, SessionToken: l.SessionToken,
		}}
	}
	return nil
}

// Definition is the function as its host knows it, without ARN and package.
func (f Function) Definition() function.Definition {
	return function.Definition{
		Name: f.Name, Runtime: f.Runtime, Handler: f.Handler, Directory: f.Directory, Wasm: f.Wasm, Remote: f.remote(),
		Environment: f.Environment, Timeout: f.Timeout, Memory: f.Memory, Concurrency: f.Concurrency,
	}
}
