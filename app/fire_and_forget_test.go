package app_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/waittest"
)

// A pipe that does not wait for its function is done with a batch when it is queued: also
// a function that fails holds up nothing.
func TestPipesThatDoNotWaitForTheirFunction(t *testing.T) {
	name := fmt.Sprintf("ff%d", time.Now().UnixNano())
	r := start(t, "", t.TempDir())
	create := fmt.Sprintf(`{"FunctionName":%q,"Runtime":"provided.al2023","Handler":"h","Role":"arn:aws:iam::000000000000:role/r","Timeout":60,"Code":{"ZipFile":%q}}`, name, packageOf(t))
	if status, _, text := r.lambda("POST", "/2015-03-31/functions", create); status != 201 {
		t.Fatalf("create the function: %d %s", status, text)
	}
	for _, n := range []int{1, 2, 3} {
		if status, got := r.call("POST", "/topics/"+name, map[string]any{"n": n}); status != 200 {
			t.Fatalf("produce: %d %v", status, got)
		}
	}
	status, made := r.call("POST", "/v1/pipes/"+name, map[string]any{
		"RoleArn": "arn:aws:iam::000000000000:role/r", "Source": "arn:klamm:kafka:::cluster/klamm", "Target": "arn:aws:lambda:us-east-1:000000000000:function:" + name,
		"SourceParameters": map[string]any{"ManagedStreamingKafkaParameters": map[string]any{"TopicName": name, "StartingPosition": "TRIM_HORIZON", "BatchSize": 1}},
		"TargetParameters": map[string]any{"InputTemplate": `"bad"`, "LambdaFunctionParameters": map[string]any{"InvocationType": "FIRE_AND_FORGET"}},
	})
	if status != 200 {
		t.Fatalf("create the pipe: %d %v", status, made)
	}
	waittest.Until(t, "the pipe has none left", func() bool {
		_, got := r.call("GET", "/klamm/v1/pipes/"+name, nil)
		return fmt.Sprint(got["lag"]) == "0"
	})
	waittest.Until(t, "all are queued", func() bool {
		_, _, text := r.lambda("GET", "/topics/__klamm_async/records?offset=earliest", "")
		return strings.Count(text, `"key":"`+name+`"`) == 3
	})
	waittest.Until(t, "the function is asked for each", func() bool {
		_, _, text := r.lambda("GET", "/topics/klamm.log..aws.lambda."+name+"/records?offset=earliest", "")
		return strings.Count(text, `bad`) >= 3
	})
}
