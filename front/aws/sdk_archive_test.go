package aws_test

import (
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
)

// archives makes an archive, and replays it.
func (b *eventBridge) archives(bus, name string) {
	t, ctx := b.t, b.t.Context()
	from, arn := eventsARN+"event-bus/"+bus, eventsARN+"archive/"+name
	made := worked[eventbridge.CreateArchiveOutput](t)(b.CreateArchive(ctx, &eventbridge.CreateArchiveInput{ArchiveName: str(name), EventSourceArn: str(from), Description: str("d"), EventPattern: str(sdkPattern), RetentionDays: sdk.Int32(3)}))
	answered(t, "CreateArchive", made, &eventbridge.CreateArchiveOutput{ArchiveArn: str(arn), State: types.ArchiveStateEnabled, CreationTime: begun})
	_, err := b.CreateArchive(ctx, &eventbridge.CreateArchiveInput{ArchiveName: str(name), EventSourceArn: str(from)})
	failed[*types.ResourceAlreadyExistsException](t, err, "Archive "+name+" already exists.")
	_, err = b.CreateArchive(ctx, &eventbridge.CreateArchiveInput{ArchiveName: str(name + "x"), EventSourceArn: str(eventsARN + "event-bus/none")})
	failed[*types.ResourceNotFoundException](t, err, "Event bus none does not exist.")
	_, err = b.UpdateArchive(ctx, &eventbridge.UpdateArchiveInput{ArchiveName: str(name)})
	refusedAs(t, err, notValid, "At least one of EventPattern, RetentionDays or Description must be provided.")
	_, err = b.UpdateArchive(ctx, &eventbridge.UpdateArchiveInput{ArchiveName: str("none"), Description: str("x")})
	failed[*types.ResourceNotFoundException](t, err, "Archive none does not exist.")
	answered(t, "UpdateArchive", worked[eventbridge.UpdateArchiveOutput](t)(b.UpdateArchive(ctx, &eventbridge.UpdateArchiveInput{ArchiveName: str(name), RetentionDays: sdk.Int32(0)})),
		&eventbridge.UpdateArchiveOutput{ArchiveArn: str(arn), State: types.ArchiveStateEnabled, CreationTime: begun})
	answered(t, "DescribeArchive", worked[eventbridge.DescribeArchiveOutput](t)(b.DescribeArchive(ctx, &eventbridge.DescribeArchiveInput{ArchiveName: str(name)})), &eventbridge.DescribeArchiveOutput{
		ArchiveArn: str(arn), ArchiveName: str(name), EventSourceArn: str(from), Description: str("d"), EventPattern: str(sdkPattern), State: types.ArchiveStateEnabled, RetentionDays: sdk.Int32(0), CreationTime: begun})
	answered(t, "ListArchives", worked[eventbridge.ListArchivesOutput](t)(b.ListArchives(ctx, &eventbridge.ListArchivesInput{EventSourceArn: str(from), State: types.ArchiveStateEnabled})), &eventbridge.ListArchivesOutput{
		Archives: []types.Archive{{ArchiveName: str(name), EventSourceArn: str(from), State: types.ArchiveStateEnabled, RetentionDays: sdk.Int32(0), CreationTime: begun}}})

	start := func(replay, archive, to string, from, until time.Time) (*eventbridge.StartReplayOutput, error) {
		return b.StartReplay(ctx, &eventbridge.StartReplayInput{ReplayName: str(replay), Description: str("again"), EventSourceArn: str(archive), EventStartTime: sdk.Time(from), EventEndTime: sdk.Time(until),
			Destination: &types.ReplayDestination{Arn: str(to), FilterArns: []string{eventsARN + "rule/" + bus + "/r"}}})
	}
	early, late := time.Unix(1_600_000_000, 0), time.Unix(1_600_000_060, 0)
	_, err = start("x", eventsARN+"archive/none", from, early, late)
	refusedAs(t, err, notValid, "Parameter EventSourceArn is not valid. Reason: Archive none does not exist.")
	_, err = start("x", arn, eventsARN+"event-bus/default", early, late)
	refusedAs(t, err, notValid, "Parameter Destination.Arn is not valid. Reason: Cross event bus replay is not permitted.")
	for _, until := range []time.Time{early, early.Add(-time.Second)} {
		_, err = start("x", arn, from, early, until)
		refusedAs(t, err, notValid, "Parameter EventEndTime is not valid. Reason: EventStartTime must be before EventEndTime.")
	}
	replay := unique("again")
	replayARN := eventsARN + "replay/" + replay
	answered(t, "StartReplay", worked[eventbridge.StartReplayOutput](t)(start(replay, arn, from, early, late)), &eventbridge.StartReplayOutput{ReplayArn: str(replayARN), State: types.ReplayStateStarting, ReplayStartTime: begun})
	_, err = start(replay, arn, from, early, late)
	failed[*types.ResourceAlreadyExistsException](t, err, "Replay "+replay+" already exists.")
	_, err = b.DescribeReplay(ctx, &eventbridge.DescribeReplayInput{ReplayName: str("none")})
	failed[*types.ResourceNotFoundException](t, err, "Replay none does not exist.")
	var d *eventbridge.DescribeReplayOutput
	eventually(t, "the replay of nothing has ended", func() bool {
		d = worked[eventbridge.DescribeReplayOutput](t)(b.DescribeReplay(ctx, &eventbridge.DescribeReplayInput{ReplayName: str(replay)}))
		return d.State == types.ReplayStateCompleted
	})
	answered(t, "DescribeReplay", d, &eventbridge.DescribeReplayOutput{ReplayName: str(replay), ReplayArn: str(replayARN), Description: str("again"), State: types.ReplayStateCompleted, EventSourceArn: str(arn), EventStartTime: begun,
		EventEndTime: begun, ReplayStartTime: begun, ReplayEndTime: begun, Destination: &types.ReplayDestination{Arn: str(from), FilterArns: []string{eventsARN + "rule/" + bus + "/r"}}})
	if !d.EventStartTime.Equal(early) || !d.EventEndTime.Equal(late) {
		t.Errorf("from %v to %v", d.EventStartTime, d.EventEndTime)
	}
	answered(t, "ListReplays", worked[eventbridge.ListReplaysOutput](t)(b.ListReplays(ctx, &eventbridge.ListReplaysInput{NamePrefix: str(replay)})), &eventbridge.ListReplaysOutput{
		Replays: []types.Replay{{ReplayName: str(replay), State: types.ReplayStateCompleted, EventSourceArn: str(arn), EventStartTime: begun, EventEndTime: begun, ReplayStartTime: begun, ReplayEndTime: begun}}})
	_, err = b.CancelReplay(ctx, &eventbridge.CancelReplayInput{ReplayName: str(replay)})
	refusedAs(t, err, "IllegalStatusException", "Replay "+replay+" is not in a valid state for this operation.")
}

func (b *eventBridge) tags(bus string) {
	t, ctx := b.t, b.t.Context()
	for _, arn := range []string{eventsARN + "event-bus/" + bus, eventsARN + "rule/" + bus + "/r"} {
		worked[eventbridge.TagResourceOutput](t)(b.TagResource(ctx, &eventbridge.TagResourceInput{ResourceARN: str(arn), Tags: []types.Tag{{Key: str("k"), Value: str("1")}, {Key: str("l"), Value: str("")}}}))
		worked[eventbridge.UntagResourceOutput](t)(b.UntagResource(ctx, &eventbridge.UntagResourceInput{ResourceARN: str(arn), TagKeys: []string{"k", "a", "team", "none"}}))
		answered(t, "ListTagsForResource", worked[eventbridge.ListTagsForResourceOutput](t)(b.ListTagsForResource(ctx, &eventbridge.ListTagsForResourceInput{ResourceARN: str(arn)})),
			&eventbridge.ListTagsForResourceOutput{Tags: []types.Tag{{Key: str("l"), Value: str("")}}})
	}
	_, err := b.ListTagsForResource(ctx, &eventbridge.ListTagsForResourceInput{ResourceARN: str(eventsARN + "rule/" + bus + "/none")})
	failed[*types.ResourceNotFoundException](t, err, "Rule none does not exist on EventBus "+bus+".")
}

// removed removes what the others have made, in the order in which that can be done.
func (b *eventBridge) removed(bus, archive, destination string) {
	t, ctx := b.t, b.t.Context()
	name := strings.Split(destination, "/")[1]
	_, err := b.DeleteEventBus(ctx, &eventbridge.DeleteEventBusInput{Name: str(bus)})
	refusedAs(t, err, notValid, "Event bus "+bus+" can't be deleted since it has rules.")
	answered(t, "RemoveTargets", worked[eventbridge.RemoveTargetsOutput](t)(b.RemoveTargets(ctx, &eventbridge.RemoveTargetsInput{Rule: str("r"), EventBusName: str(bus), Ids: []string{"1", "2", "3", "4", "none"}})),
		&eventbridge.RemoveTargetsOutput{FailedEntries: []types.RemoveTargetsResultEntry{}})
	worked[eventbridge.DeleteRuleOutput](t)(b.DeleteRule(ctx, &eventbridge.DeleteRuleInput{Name: str("r"), EventBusName: str(bus)}))
	worked[eventbridge.DeleteRuleOutput](t)(b.DeleteRule(ctx, &eventbridge.DeleteRuleInput{Name: str("r"), EventBusName: str(bus)}))
	worked[eventbridge.DeleteApiDestinationOutput](t)(b.DeleteApiDestination(ctx, &eventbridge.DeleteApiDestinationInput{Name: str(name)}))
	if out := worked[eventbridge.DeauthorizeConnectionOutput](t)(b.DeauthorizeConnection(ctx, &eventbridge.DeauthorizeConnectionInput{Name: str(name)})); out.ConnectionState != types.ConnectionStateDeauthorizing {
		t.Errorf("deauthorized: %s", out.ConnectionState)
	}
	if d := worked[eventbridge.DescribeConnectionOutput](t)(b.DescribeConnection(ctx, &eventbridge.DescribeConnectionInput{Name: str(name)})); d.ConnectionState != types.ConnectionStateDeauthorized {
		t.Errorf("a deauthorized connection: %s", d.ConnectionState)
	}
	if out := worked[eventbridge.DeleteConnectionOutput](t)(b.DeleteConnection(ctx, &eventbridge.DeleteConnectionInput{Name: str(name)})); out.ConnectionState != types.ConnectionStateDeleting {
		t.Errorf("deleted: %s", out.ConnectionState)
	}
	worked[eventbridge.DeleteArchiveOutput](t)(b.DeleteArchive(ctx, &eventbridge.DeleteArchiveInput{ArchiveName: str(archive)}))
	_, err = b.DescribeArchive(ctx, &eventbridge.DescribeArchiveInput{ArchiveName: str(archive)})
	failed[*types.ResourceNotFoundException](t, err, "Archive "+archive+" does not exist.")
	worked[eventbridge.DeleteEventBusOutput](t)(b.DeleteEventBus(ctx, &eventbridge.DeleteEventBusInput{Name: str(bus)}))
	_, err = b.DeleteEventBus(ctx, &eventbridge.DeleteEventBusInput{Name: str(bus)})
	refusedAs(t, err, missing, "Event bus "+bus+" does not exist.")
}

// TestConstraintsOfConnections asks for the messages about what is inside of connections.
func TestConstraintsOfConnections(t *testing.T) {
	s := start(t)
	key := m{"ApiKeyName": "X", "ApiKeyValue": "v"}
	long := make([]m, 101)
	for i := range long {
		long[i] = m{"Key": "a", "Value": "b"}
	}
	for _, c := range []struct {
		name string
		auth m
		want string
	}{
		{"no user", m{"BasicAuthParameters": m{"Password": "p"}}, "1 validation error detected: Value null at 'authParameters.basicAuthParameters.username' failed to satisfy constraint: Member must not be null"},
		{"a key with a colon", m{"ApiKeyAuthParameters": m{"ApiKeyName": "X", "ApiKeyValue": "a:b"}}, "1 validation error detected: Value '***' at 'authParameters.apiKeyAuthParameters.apiKeyValue' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[ \\t]*[^\\x00-\\x1F:\\x7F]+"},
		{"a secret without a client", m{"OAuthParameters": m{"AuthorizationEndpoint": "https://a/b", "HttpMethod": "POST"}}, "1 validation error detected: Value null at 'authParameters.oAuthParameters.clientParameters' failed"},
		{"a method", m{"OAuthParameters": m{"ClientParameters": m{"ClientID": "i", "ClientSecret": "s"}, "AuthorizationEndpoint": "https://a/b", "HttpMethod": "PATCH"}}, "1 validation error detected: Value 'PATCH' at 'authParameters.oAuthParameters.httpMethod' failed to satisfy constraint: Member must satisfy enum value set: [GET, POST, PUT]"},
		{"a header", m{"ApiKeyAuthParameters": key, "InvocationHttpParameters": m{"HeaderParameters": []m{{"Key": "a"}, {"Key": "a b", "Value": "c"}}}}, "1 validation error detected: Value 'a b' at 'authParameters.invocationHttpParameters.headerParameters.2.member.key' failed"},
		{"a query", m{"ApiKeyAuthParameters": key, "InvocationHttpParameters": m{"QueryStringParameters": []m{{"Key": "a", "Value": "\x01"}}}}, "1 validation error detected: Value '***' at 'authParameters.invocationHttpParameters.queryStringParameters.1.member.value' failed"},
		{"too many", m{"ApiKeyAuthParameters": key, "InvocationHttpParameters": m{"BodyParameters": long}}, "1 validation error detected: Value '101 members' at 'authParameters.invocationHttpParameters.bodyParameters' failed to satisfy constraint: Member must have length less than or equal to 100"},
		{"a network", m{"ApiKeyAuthParameters": key, "ConnectivityParameters": m{"ResourceParameters": m{"ResourceConfigurationArn": "x"}}}, "1 validation error detected: Value 'x' at 'authParameters.connectivityParameters.resourceParameters.resourceConfigurationArn' failed to satisfy constraint: Member must satisfy regular expression pattern: ^(?:^arn:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.told("CreateConnection", m{"Name": "c", "AuthorizationType": "API_KEY", "AuthParameters": c.auth}, notValid, c.want)
		})
	}
	name, network := unique("private"), m{"ResourceParameters": m{"ResourceConfigurationArn": "arn:aws:vpc-lattice:us-east-1:000000000000:resourceconfiguration/rcfg-0123456789abcdefg"}}
	s.events("CreateConnection", m{"Name": name, "AuthorizationType": "API_KEY", "AuthParameters": m{"ApiKeyAuthParameters": key}, "InvocationConnectivityParameters": network})
	shown, _ := s.events("DescribeConnection", m{"Name": name})["InvocationConnectivityParameters"].(m)
	if of, _ := shown["ResourceParameters"].(m); of["ResourceConfigurationArn"] != network["ResourceParameters"].(m)["ResourceConfigurationArn"] || of["ResourceAssociationArn"] == nil {
		t.Errorf("a connection in a private network: %v", shown)
	}
}

// TestNamesThatKafkaConfuses makes two buses whose topics Kafka's metrics could not tell
// apart: it refuses the second, which is not an internal error.
func TestNamesThatKafkaConfuses(t *testing.T) {
	s := start(t)
	name := unique("twin")
	s.events("CreateEventBus", m{"Name": name + ".a"})
	s.told("CreateEventBus", m{"Name": name + "_a"}, notValid, "Event bus name "+name+"_a is not valid: the Kafka cluster cannot have a topic for it")
}
