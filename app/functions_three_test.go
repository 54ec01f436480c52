package app_test

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker"
	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/waittest"
)

// A function that is deployed on one process runs on all, and so do its changes; what
// cannot be fetched is said by name.
func TestFunctionsOnThreeProcesses(t *testing.T) {
	own := os.Getenv("KLAMM_TEST_BROKERS") == ""
	if own {
		b, err := broker.Start(t.Context(), broker.Config{Listen: "127.0.0.1:0", Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		t.Setenv("KLAMM_TEST_BROKERS", strings.Join(b.Addrs(), ","))
	}
	var all []*running
	for range 3 {
		all = append(all, start(t, "{}", t.TempDir()))
	}
	name := fmt.Sprintf("three%d", time.Now().UnixNano())
	create := func(name, code string) {
		t.Helper()
		body := fmt.Sprintf(`{"FunctionName":%q,"Runtime":"provided.al2023","Handler":"h","Role":"arn:aws:iam::000000000000:role/r","Timeout":60,"Environment":{"Variables":{"MARK":"one"}},"Code":{"ZipFile":%q}}`, name, code)
		if status, _, text := all[0].lambda("POST", "/2015-03-31/functions", body); status != 201 {
			t.Fatalf("create: %d %s", status, text)
		}
	}
	create(name, packageOf(t))
	says := func(r *running, mark string) bool {
		status, header, text := r.lambda("POST", "/2015-03-31/functions/"+name+"/invocations", `{"n":1}`, "X-Amz-Log-Type", "Tail")
		log, _ := base64.StdEncoding.DecodeString(header.Get("X-Amz-Log-Result"))
		return status == 200 && text == `{"n":1}` && strings.Contains(string(log), mark+` {"n":1}`)
	}
	for i, r := range all {
		waittest.Until(t, fmt.Sprintf("process %d runs it", i+1), func() bool { return says(r, "one") })
	}
	if status, _, text := all[2].lambda("PUT", "/2015-03-31/functions/"+name+"/configuration", `{"Environment":{"Variables":{"MARK":"two"}}}`); status != 200 {
		t.Fatalf("change: %d %s", status, text)
	}
	for i, r := range all {
		waittest.Until(t, fmt.Sprintf("process %d runs the changed one", i+1), func() bool { return says(r, "two") })
	}

	lost := name + "-lost"
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	if w, err := z.Create("bootstrap"); err != nil {
		t.Fatal(err)
	} else if _, err = w.Write([]byte("#!/bin/sh\n")); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	// No process has unpacked this code already.
	create(lost, base64.StdEncoding.EncodeToString(archive.Bytes()))
	// What other tests have on a cluster that they share stays there.
	if own {
		client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(os.Getenv("KLAMM_TEST_BROKERS"), ",")...))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := kadm.NewClient(client).DeleteTopic(t.Context(), catalog.CodeTopic); err != nil {
			t.Fatal(err)
		}
		waittest.Until(t, "what cannot be fetched is named", func() bool {
			_, _, said := all[1].lambda("POST", "/2015-03-31/functions/"+lost+"/invocations", `{"n":1}`)
			return strings.Contains(said, "the code of "+lost)
		})
	}
	for _, one := range []string{name, lost} {
		if status, _, text := all[1].lambda("DELETE", "/2015-03-31/functions/"+one, ""); status != 204 {
			t.Errorf("delete: %d %s", status, text)
		}
	}
}
