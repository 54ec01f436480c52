// Command bootstrap is an AWS Lambda function that reports single records of a batch:
// "bad..." always, "once..." the first time, and it writes down what it has done.
package main

import (
	"encoding/base64"
	"os"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

type identifier struct {
	Partition string `json:"partition"`
	Offset    int64  `json:"offset"`
}

type failure struct {
	ItemIdentifier identifier `json:"itemIdentifier"`
}

type response struct {
	BatchItemFailures []failure `json:"batchItemFailures"`
}

var seen = map[string]bool{}

func handle(e events.KafkaEvent) (response, error) {
	var r response
	done, err := os.OpenFile(os.Getenv("DONE"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return r, err
	}
	defer done.Close()
	for partition, records := range e.Records {
		for _, record := range records {
			value, err := base64.StdEncoding.DecodeString(record.Value)
			if err != nil {
				return r, err
			}
			text := string(value)
			if strings.HasPrefix(text, "bad") || strings.HasPrefix(text, "once") && !seen[text] {
				seen[text] = true
				r.BatchItemFailures = append(r.BatchItemFailures, failure{identifier{partition, record.Offset}})
				continue
			}
			if _, err := done.WriteString(text + "\n"); err != nil {
				return r, err
			}
		}
	}
	return r, nil
}

func main() { lambda.Start(handle) }
