package aws_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// An eventBridge is the SDK's client of a server, and what it has called.
type eventBridge struct {
	*eventbridge.Client
	t      *testing.T
	mu     sync.Mutex
	called map[string]bool
}

// RoundTrip writes down which operation a request calls.
func (b *eventBridge) RoundTrip(r *http.Request) (*http.Response, error) {
	b.mu.Lock()
	b.called[strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AWSEvents.")] = true
	b.mu.Unlock()
	return http.DefaultTransport.RoundTrip(r)
}

func newEventBridge(s *server) *eventBridge {
	b := &eventBridge{t: s.t, called: map[string]bool{}}
	b.Client = eventbridge.New(eventbridge.Options{
		Region: "us-east-1", BaseEndpoint: sdk.String(s.url), Credentials: credentials.NewStaticCredentialsProvider("AKID", "SECRET", ""),
		HTTPClient: &http.Client{Transport: b}, RetryMaxAttempts: 1,
	})
	return b
}

// worked returns the answer of a call that must work.
func worked[T any](t *testing.T) func(*T, error) *T {
	return func(out *T, err error) *T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// answered compares an answer field by field; times only have to be there where they are
// wanted.
func answered(t *testing.T, what string, got, want any) {
	t.Helper()
	given := cmp.Transformer("given", func(at *time.Time) bool { return at != nil && !at.IsZero() })
	inside := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".noSmithyDocumentSerde" }, cmp.Ignore())
	opts := cmp.Options{given, inside, cmpopts.IgnoreTypes(middleware.Metadata{})}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// failed wants an error of the SDK's type with this message.
func failed[E error](t *testing.T, err error, message string) {
	t.Helper()
	var (
		typed E
		said  smithy.APIError
	)
	if !errors.As(err, &typed) || !errors.As(err, &said) || said.ErrorMessage() != message {
		t.Errorf("got %v, want %T with %q", err, typed, message)
	}
}

// refusedAs wants an error that the model does not know.
func refusedAs(t *testing.T, err error, name, message string) {
	t.Helper()
	var said smithy.APIError
	if !errors.As(err, &said) || said.ErrorCode() != name || said.ErrorMessage() != message {
		t.Errorf("got %v, want %s with %q", err, name, message)
	}
}

var (
	str   = sdk.String
	begun = sdk.Time(time.Unix(1, 0)) // some time
)

// TestSDKDrivesEveryOperation drives what event-bus.md 14 has with the client that AWS's
// users have, and compares the answers with what event-bus.md quotes.
func TestSDKDrivesEveryOperation(t *testing.T) {
	s := start(t)
	b := newEventBridge(s)
	bus, archive := unique("sdk"), unique("arc")
	b.buses(bus)
	destination := b.destinations(unique("dest"))
	b.rules(bus, destination)
	b.events(bus)
	b.archives(bus, archive)
	b.tags(bus)
	b.removed(bus, archive, destination)
	var all []string
	for name := range b.called {
		all = append(all, name)
	}
	slices.Sort(all)
	same(t, "operations", all, []string{
		"CancelReplay", "CreateApiDestination", "CreateArchive", "CreateConnection", "CreateEventBus", "DeauthorizeConnection", "DeleteApiDestination", "DeleteArchive", "DeleteConnection", "DeleteEventBus", "DeleteRule",
		"DescribeApiDestination", "DescribeArchive", "DescribeConnection", "DescribeEventBus", "DescribeReplay", "DescribeRule", "DisableRule", "EnableRule", "ListApiDestinations", "ListArchives", "ListConnections",
		"ListEventBuses", "ListReplays", "ListRuleNamesByTarget", "ListRules", "ListTagsForResource", "ListTargetsByRule", "PutEvents", "PutPermission", "PutRule", "PutTargets", "RemovePermission", "RemoveTargets",
		"StartReplay", "TagResource", "TestEventPattern", "UntagResource", "UpdateApiDestination", "UpdateArchive", "UpdateConnection", "UpdateEventBus",
	})
}

func (b *eventBridge) buses(bus string) {
	t, ctx, arn := b.t, b.t.Context(), eventsARN+"event-bus/"+bus
	made := worked[eventbridge.CreateEventBusOutput](t)(b.CreateEventBus(ctx, &eventbridge.CreateEventBusInput{
		Name: str(bus), Description: str("first"), KmsKeyIdentifier: str("key"), LogConfig: &types.LogConfig{Level: types.LevelInfo, IncludeDetail: types.IncludeDetailFull},
		DeadLetterConfig: &types.DeadLetterConfig{Arn: str("arn:aws:sqs:us-east-1:000000000000:q")}, Tags: []types.Tag{{Key: str("team"), Value: str("a")}},
	}))
	answered(t, "CreateEventBus", made, &eventbridge.CreateEventBusOutput{EventBusArn: str(arn), Description: str("first"), KmsKeyIdentifier: str("key"),
		LogConfig: &types.LogConfig{Level: types.LevelInfo, IncludeDetail: types.IncludeDetailFull}, DeadLetterConfig: &types.DeadLetterConfig{Arn: str("arn:aws:sqs:us-east-1:000000000000:q")}})
	_, err := b.CreateEventBus(ctx, &eventbridge.CreateEventBusInput{Name: str(bus)})
	failed[*types.ResourceAlreadyExistsException](t, err, "Event bus "+bus+" already exists.")
	updated := worked[eventbridge.UpdateEventBusOutput](t)(b.UpdateEventBus(ctx, &eventbridge.UpdateEventBusInput{Name: str(bus), Description: str("second"), LogConfig: &types.LogConfig{Level: types.LevelOff}}))
	answered(t, "UpdateEventBus", updated, &eventbridge.UpdateEventBusOutput{Name: str(bus), Arn: str(arn), Description: str("second"), KmsKeyIdentifier: str("key"),
		LogConfig: &types.LogConfig{Level: types.LevelOff}, DeadLetterConfig: &types.DeadLetterConfig{Arn: str("arn:aws:sqs:us-east-1:000000000000:q")}})
	_, err = b.PutPermission(ctx, &eventbridge.PutPermissionInput{EventBusName: str(bus), Action: str("events:PutEvents"), Principal: str("111122223333"), StatementId: str("s1"),
		Condition: &types.Condition{Type: str("StringEquals"), Key: str("aws:PrincipalOrgID"), Value: str("o-1")}})
	if err != nil {
		t.Fatal(err)
	}
	policy := `{"Version":"2012-10-17","Statement":[{"Sid":"s1","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"events:PutEvents","Resource":"` + arn + `","Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}}]}`
	for _, ref := range []string{bus, arn} {
		answered(t, "DescribeEventBus", worked[eventbridge.DescribeEventBusOutput](t)(b.DescribeEventBus(ctx, &eventbridge.DescribeEventBusInput{Name: str(ref)})), &eventbridge.DescribeEventBusOutput{
			Name: str(bus), Arn: str(arn), Description: str("second"), KmsKeyIdentifier: str("key"), LogConfig: &types.LogConfig{Level: types.LevelOff},
			DeadLetterConfig: &types.DeadLetterConfig{Arn: str("arn:aws:sqs:us-east-1:000000000000:q")}, Policy: str(policy), CreationTime: begun, LastModifiedTime: begun})
	}
	answered(t, "ListEventBuses", worked[eventbridge.ListEventBusesOutput](t)(b.ListEventBuses(ctx, &eventbridge.ListEventBusesInput{NamePrefix: str(bus), Limit: sdk.Int32(1)})), &eventbridge.ListEventBusesOutput{
		EventBuses: []types.EventBus{{Name: str(bus), Arn: str(arn), Description: str("second"), Policy: str(policy), CreationTime: begun, LastModifiedTime: begun}}})
	_, err = b.RemovePermission(ctx, &eventbridge.RemovePermissionInput{EventBusName: str(bus), StatementId: str("s2")})
	failed[*types.ResourceNotFoundException](t, err, "Statement with the provided id does not exist.")
	worked[eventbridge.RemovePermissionOutput](t)(b.RemovePermission(ctx, &eventbridge.RemovePermissionInput{EventBusName: str(bus), RemoveAllPermissions: true}))
	if d := worked[eventbridge.DescribeEventBusOutput](t)(b.DescribeEventBus(ctx, &eventbridge.DescribeEventBusInput{Name: str(bus)})); d.Policy != nil {
		t.Errorf("the policy is still %s", *d.Policy)
	}
	_, err = b.DescribeEventBus(ctx, &eventbridge.DescribeEventBusInput{Name: str("none")})
	failed[*types.ResourceNotFoundException](t, err, "Event bus none does not exist.")
	_, err = b.DeleteEventBus(ctx, &eventbridge.DeleteEventBusInput{Name: str("default")})
	refusedAs(t, err, notValid, "Cannot delete event bus default.")
}

// destinations makes a connection and an API destination, both with this name.
func (b *eventBridge) destinations(name string) (arn string) {
	t, ctx := b.t, b.t.Context()
	made := worked[eventbridge.CreateConnectionOutput](t)(b.CreateConnection(ctx, &eventbridge.CreateConnectionInput{
		Name: str(name), Description: str("d"), AuthorizationType: types.ConnectionAuthorizationTypeApiKey, AuthParameters: &types.CreateConnectionAuthRequestParameters{
			ApiKeyAuthParameters: &types.CreateConnectionApiKeyAuthRequestParameters{ApiKeyName: str("X-Key"), ApiKeyValue: str("s3cret")},
			InvocationHttpParameters: &types.ConnectionHttpParameters{
				HeaderParameters:      []types.ConnectionHeaderParameter{{Key: str("X-A"), Value: str("shown")}, {Key: str("X-B"), Value: str("hidden"), IsValueSecret: true}},
				QueryStringParameters: []types.ConnectionQueryStringParameter{{Key: str("q"), Value: str("1")}},
				BodyParameters:        []types.ConnectionBodyParameter{{Key: str("b"), Value: str("2")}},
			},
		},
	}))
	connection := *made.ConnectionArn
	if !strings.HasPrefix(connection, eventsARN+"connection/"+name+"/") {
		t.Errorf("connection %s", connection)
	}
	answered(t, "CreateConnection", made, &eventbridge.CreateConnectionOutput{ConnectionArn: str(connection), ConnectionState: types.ConnectionStateAuthorized, CreationTime: begun, LastModifiedTime: begun})
	_, err := b.CreateConnection(ctx, &eventbridge.CreateConnectionInput{Name: str(name), AuthorizationType: types.ConnectionAuthorizationTypeBasic, AuthParameters: &types.CreateConnectionAuthRequestParameters{
		BasicAuthParameters: &types.CreateConnectionBasicAuthRequestParameters{Username: str("u"), Password: str("p")}}})
	failed[*types.ResourceAlreadyExistsException](t, err, "Connection "+name+" already exists.")
	d := worked[eventbridge.DescribeConnectionOutput](t)(b.DescribeConnection(ctx, &eventbridge.DescribeConnectionInput{Name: str(name)}))
	if d.SecretArn == nil || !strings.HasPrefix(*d.SecretArn, "arn:aws:secretsmanager:us-east-1:000000000000:secret:events!connection/"+name+"/") {
		t.Errorf("secret %v", d.SecretArn)
	}
	answered(t, "DescribeConnection", d, &eventbridge.DescribeConnectionOutput{ConnectionArn: str(connection), Name: str(name), Description: str("d"), ConnectionState: types.ConnectionStateAuthorized,
		AuthorizationType: types.ConnectionAuthorizationTypeApiKey, SecretArn: d.SecretArn, CreationTime: begun, LastModifiedTime: begun, LastAuthorizedTime: begun, AuthParameters: &types.ConnectionAuthResponseParameters{
			ApiKeyAuthParameters: &types.ConnectionApiKeyAuthResponseParameters{ApiKeyName: str("X-Key")},
			InvocationHttpParameters: &types.ConnectionHttpParameters{
				HeaderParameters:      []types.ConnectionHeaderParameter{{Key: str("X-A"), Value: str("shown")}, {Key: str("X-B"), IsValueSecret: true}},
				QueryStringParameters: []types.ConnectionQueryStringParameter{{Key: str("q"), Value: str("1")}},
				BodyParameters:        []types.ConnectionBodyParameter{{Key: str("b"), Value: str("2")}},
			}}})
	answered(t, "UpdateConnection", worked[eventbridge.UpdateConnectionOutput](t)(b.UpdateConnection(ctx, &eventbridge.UpdateConnectionInput{Name: str(name), Description: str("e")})),
		&eventbridge.UpdateConnectionOutput{ConnectionArn: str(connection), ConnectionState: types.ConnectionStateAuthorized, CreationTime: begun, LastModifiedTime: begun, LastAuthorizedTime: begun})
	answered(t, "ListConnections", worked[eventbridge.ListConnectionsOutput](t)(b.ListConnections(ctx, &eventbridge.ListConnectionsInput{NamePrefix: str(name), ConnectionState: types.ConnectionStateAuthorized})).Connections,
		[]types.Connection{{ConnectionArn: str(connection), Name: str(name), ConnectionState: types.ConnectionStateAuthorized, AuthorizationType: types.ConnectionAuthorizationTypeApiKey, CreationTime: begun, LastModifiedTime: begun, LastAuthorizedTime: begun}})
	_, err = b.DescribeConnection(ctx, &eventbridge.DescribeConnectionInput{Name: str("none")})
	failed[*types.ResourceNotFoundException](t, err, "Failed to describe the connection(s). Connection 'none' does not exist.")

	to := worked[eventbridge.CreateApiDestinationOutput](t)(b.CreateApiDestination(ctx, &eventbridge.CreateApiDestinationInput{Name: str(name), Description: str("d"), ConnectionArn: str(connection),
		InvocationEndpoint: str("http://127.0.0.1:1/*"), HttpMethod: types.ApiDestinationHttpMethodPost}))
	arn = *to.ApiDestinationArn
	if !strings.HasPrefix(arn, eventsARN+"api-destination/"+name+"/") {
		t.Errorf("API destination %s", arn)
	}
	answered(t, "CreateApiDestination", to, &eventbridge.CreateApiDestinationOutput{ApiDestinationArn: str(arn), ApiDestinationState: types.ApiDestinationStateActive, CreationTime: begun, LastModifiedTime: begun})
	_, err = b.CreateApiDestination(ctx, &eventbridge.CreateApiDestinationInput{Name: str(name), ConnectionArn: str(connection), InvocationEndpoint: str("http://127.0.0.1:1/"), HttpMethod: types.ApiDestinationHttpMethodPost})
	failed[*types.ResourceAlreadyExistsException](t, err, "An api-destination '"+name+"' already exists.")
	answered(t, "DescribeApiDestination", worked[eventbridge.DescribeApiDestinationOutput](t)(b.DescribeApiDestination(ctx, &eventbridge.DescribeApiDestinationInput{Name: str(name)})), &eventbridge.DescribeApiDestinationOutput{
		Name: str(name), ApiDestinationArn: str(arn), Description: str("d"), ApiDestinationState: types.ApiDestinationStateActive, ConnectionArn: str(connection), InvocationEndpoint: str("http://127.0.0.1:1/*"),
		HttpMethod: types.ApiDestinationHttpMethodPost, InvocationRateLimitPerSecond: sdk.Int32(300), CreationTime: begun, LastModifiedTime: begun})
	answered(t, "UpdateApiDestination", worked[eventbridge.UpdateApiDestinationOutput](t)(b.UpdateApiDestination(ctx, &eventbridge.UpdateApiDestinationInput{Name: str(name), InvocationRateLimitPerSecond: sdk.Int32(7)})),
		&eventbridge.UpdateApiDestinationOutput{ApiDestinationArn: str(arn), ApiDestinationState: types.ApiDestinationStateActive, CreationTime: begun, LastModifiedTime: begun})
	answered(t, "ListApiDestinations", worked[eventbridge.ListApiDestinationsOutput](t)(b.ListApiDestinations(ctx, &eventbridge.ListApiDestinationsInput{NamePrefix: str(name), ConnectionArn: str(connection)})).ApiDestinations,
		[]types.ApiDestination{{Name: str(name), ApiDestinationArn: str(arn), ApiDestinationState: types.ApiDestinationStateActive, ConnectionArn: str(connection), InvocationEndpoint: str("http://127.0.0.1:1/*"),
			HttpMethod: types.ApiDestinationHttpMethodPost, InvocationRateLimitPerSecond: sdk.Int32(7), CreationTime: begun, LastModifiedTime: begun}})
	_, err = b.DescribeApiDestination(ctx, &eventbridge.DescribeApiDestinationInput{Name: str("none")})
	failed[*types.ResourceNotFoundException](t, err, "Failed to describe the api-destination(s). An api-destination 'none' does not exist.")
	return arn
}

const sdkPattern = "{ \"source\" : [\"shop\"] }"

func (b *eventBridge) rules(bus, destination string) {
	t, ctx, arn := b.t, b.t.Context(), eventsARN+"rule/"+bus+"/r"
	answered(t, "PutRule", worked[eventbridge.PutRuleOutput](t)(b.PutRule(ctx, &eventbridge.PutRuleInput{Name: str("r"), EventBusName: str(bus), EventPattern: str(sdkPattern), Description: str("d"), RoleArn: str(role),
		Tags: []types.Tag{{Key: str("a"), Value: str("1")}}})), &eventbridge.PutRuleOutput{RuleArn: str(arn)})
	describe := func() *eventbridge.DescribeRuleOutput {
		return worked[eventbridge.DescribeRuleOutput](t)(b.DescribeRule(ctx, &eventbridge.DescribeRuleInput{Name: str("r"), EventBusName: str(eventsARN + "event-bus/" + bus)}))
	}
	want := &eventbridge.DescribeRuleOutput{Name: str("r"), Arn: str(arn), EventPattern: str(sdkPattern), State: types.RuleStateEnabled, Description: str("d"), RoleArn: str(role), EventBusName: str(bus), CreatedBy: str("000000000000")}
	answered(t, "DescribeRule", describe(), want)
	worked[eventbridge.DisableRuleOutput](t)(b.DisableRule(ctx, &eventbridge.DisableRuleInput{Name: str("r"), EventBusName: str(bus)}))
	want.State = types.RuleStateDisabled
	answered(t, "DescribeRule after DisableRule", describe(), want)
	worked[eventbridge.EnableRuleOutput](t)(b.EnableRule(ctx, &eventbridge.EnableRuleInput{Name: str("r"), EventBusName: str(bus)}))
	want.State = types.RuleStateEnabled
	answered(t, "DescribeRule after EnableRule", describe(), want)
	answered(t, "ListRules", worked[eventbridge.ListRulesOutput](t)(b.ListRules(ctx, &eventbridge.ListRulesInput{EventBusName: str(bus), NamePrefix: str("r")})).Rules,
		[]types.Rule{{Name: str("r"), Arn: str(arn), EventPattern: str(sdkPattern), State: types.RuleStateEnabled, Description: str("d"), RoleArn: str(role), EventBusName: str(bus)}})
	targets := []types.Target{
		{Id: str("1"), Arn: str(destination), RoleArn: str(role), HttpParameters: &types.HttpParameters{PathParameterValues: []string{"$.detail.id"}, HeaderParameters: map[string]string{"X": "y"}, QueryStringParameters: map[string]string{"q": "$.id"}},
			InputTransformer: &types.InputTransformer{InputPathsMap: map[string]string{"id": "$.detail.id"}, InputTemplate: str(`{"id":<id>}`)},
			RetryPolicy:      &types.RetryPolicy{MaximumRetryAttempts: sdk.Int32(0), MaximumEventAgeInSeconds: sdk.Int32(60)}, DeadLetterConfig: &types.DeadLetterConfig{Arn: str("arn:klamm:kafka:::topic/dead")}},
		{Id: str("2"), Arn: str("arn:aws:kinesis:us-east-1:000000000000:stream/s"), RoleArn: str(role), Input: str(`{"a":1}`), KinesisParameters: &types.KinesisParameters{PartitionKeyPath: str("$.id")}},
		{Id: str("3"), Arn: str("arn:aws:sqs:us-east-1:000000000000:q.fifo"), InputPath: str("$.detail"), SqsParameters: &types.SqsParameters{MessageGroupId: str("g")}},
		{Id: str("4"), Arn: str("arn:aws:ecs:us-east-1:000000000000:cluster/c"), RoleArn: str(role), EcsParameters: &types.EcsParameters{TaskDefinitionArn: str("arn:aws:ecs:us-east-1:000000000000:task-definition/t"), TaskCount: sdk.Int32(2), LaunchType: types.LaunchTypeFargate}},
	}
	answered(t, "PutTargets", worked[eventbridge.PutTargetsOutput](t)(b.PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: str("r"), EventBusName: str(bus), Targets: targets})), &eventbridge.PutTargetsOutput{FailedEntries: []types.PutTargetsResultEntry{}})
	answered(t, "ListTargetsByRule", worked[eventbridge.ListTargetsByRuleOutput](t)(b.ListTargetsByRule(ctx, &eventbridge.ListTargetsByRuleInput{Rule: str("r"), EventBusName: str(bus)})), &eventbridge.ListTargetsByRuleOutput{Targets: targets})
	answered(t, "ListRuleNamesByTarget", worked[eventbridge.ListRuleNamesByTargetOutput](t)(b.ListRuleNamesByTarget(ctx, &eventbridge.ListRuleNamesByTargetInput{TargetArn: str(destination), EventBusName: str(bus)})),
		&eventbridge.ListRuleNamesByTargetOutput{RuleNames: []string{"r"}})
	_, err := b.DescribeRule(ctx, &eventbridge.DescribeRuleInput{Name: str("none"), EventBusName: str(bus)})
	failed[*types.ResourceNotFoundException](t, err, "Rule none does not exist on EventBus "+bus+".")
	_, err = b.PutRule(ctx, &eventbridge.PutRuleInput{Name: str("s"), EventBusName: str(bus), ScheduleExpression: str("rate(1 minute)")})
	refusedAs(t, err, notValid, "ScheduleExpression is supported only on the default event bus.")
	_, err = b.PutRule(ctx, &eventbridge.PutRuleInput{Name: str("s"), ScheduleExpression: str("rate(1 minutes)")})
	refusedAs(t, err, notValid, "Parameter ScheduleExpression is not valid.")
	_, err = b.PutRule(ctx, &eventbridge.PutRuleInput{Name: str("s"), EventPattern: str(`{"source":"shop"}`)})
	var pattern *types.InvalidEventPatternException
	if !errors.As(err, &pattern) {
		t.Errorf("a wrong pattern: %v", err)
	}
	_, err = b.PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: str("r"), EventBusName: str(bus), Targets: []types.Target{{Id: str("x"), Arn: str("arn:klamm:kafka:::topic/t"), InputTransformer: &types.InputTransformer{InputTemplate: str(`"<none>"`)}}}})
	refusedAs(t, err, notValid, "InputTemplate for target x contains invalid placeholder none.")
	_, err = b.PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: str("r"), EventBusName: str(bus), Targets: []types.Target{{Id: str("x"), Arn: str("arn:klamm:kafka:::topic/t"), Input: str("{}"), InputPath: str("$")}}})
	refusedAs(t, err, notValid, "Only one of Input, InputPath, or InputTransformer must be provided for target x.")
	_, err = b.PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: str("r"), EventBusName: str(bus), Targets: []types.Target{{Id: str("5"), Arn: str("arn:klamm:kafka:::topic/t")}, {Id: str("6"), Arn: str("arn:klamm:kafka:::topic/t")}}})
	failed[*types.LimitExceededException](t, err, "The requested resource exceeds the maximum number allowed.")
	_, err = b.DeleteRule(ctx, &eventbridge.DeleteRuleInput{Name: str("r"), EventBusName: str(bus)})
	refusedAs(t, err, notValid, "Rule can't be deleted since it has targets.")
}

func (b *eventBridge) events(bus string) {
	t, ctx := b.t, b.t.Context()
	put := func(entries ...types.PutEventsRequestEntry) (*eventbridge.PutEventsOutput, error) {
		return b.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: entries, EndpointId: nil})
	}
	good := types.PutEventsRequestEntry{Source: str("shop"), DetailType: str("d"), Detail: str(`{"id":1}`), EventBusName: str(bus), Resources: []string{"x"}, Time: sdk.Time(time.Unix(1_700_000_000, 5e8)), TraceHeader: str("Root=1-5759e988-bd862e3fe1be46a994272793")}
	with := func(change func(e *types.PutEventsRequestEntry)) types.PutEventsRequestEntry {
		e := good
		change(&e)
		return e
	}
	out := worked[eventbridge.PutEventsOutput](t)(put(good,
		with(func(e *types.PutEventsRequestEntry) { e.Source = nil }), with(func(e *types.PutEventsRequestEntry) { e.DetailType = nil }), with(func(e *types.PutEventsRequestEntry) { e.Detail = nil }),
		with(func(e *types.PutEventsRequestEntry) { e.Detail = str(`["a"]`) }), with(func(e *types.PutEventsRequestEntry) { e.Source = str("aws.ec2") }), with(func(e *types.PutEventsRequestEntry) { e.EventBusName = str("none") })))
	argument := func(name string) types.PutEventsResultEntry {
		return types.PutEventsResultEntry{ErrorCode: str("InvalidArgument"), ErrorMessage: str("Parameter " + name + " is not valid. Reason: " + name + " is a required argument.")}
	}
	if out.FailedEntryCount != 5 || len(out.Entries) != 7 || out.Entries[0].EventId == nil || out.Entries[6].EventId == nil {
		t.Fatalf("PutEvents: %+v", out)
	}
	answered(t, "PutEvents", out.Entries[1:6], []types.PutEventsResultEntry{argument("Source"), argument("DetailType"), argument("Detail"),
		{ErrorCode: str("MalformedDetail"), ErrorMessage: str("Detail is malformed.")}, {ErrorCode: str("NotAuthorizedForSourceException"), ErrorMessage: str("Not authorized for the source.")}})
	_, err := put(with(func(e *types.PutEventsRequestEntry) { e.Detail = str(`{"a":"` + strings.Repeat("x", 1<<20) + `"}`) }))
	refusedAs(t, err, notValid, "Total size of the entries in the request is over the limit.")
	event := `{"id":"1","source":"shop","detail-type":"d","account":"000000000000","time":"2026-01-01T00:00:00Z","region":"us-east-1","resources":[],"detail":{}}`
	answered(t, "TestEventPattern", worked[eventbridge.TestEventPatternOutput](t)(b.TestEventPattern(ctx, &eventbridge.TestEventPatternInput{EventPattern: str(sdkPattern), Event: str(event)})), &eventbridge.TestEventPatternOutput{Result: true})
	_, err = b.TestEventPattern(ctx, &eventbridge.TestEventPatternInput{EventPattern: str(sdkPattern), Event: str("none")})
	refusedAs(t, err, notValid, "Parameter Event is not valid.")
}
