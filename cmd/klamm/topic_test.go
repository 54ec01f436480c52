package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFormats(t *testing.T) {
	r := recordDoc{Topic: "t", Partition: 2, Offset: 17, Timestamp: 1700000000123, Key: json.RawMessage(`"k"`), Value: json.RawMessage(`{"a": 1}`),
		Headers: []headerDoc{{"h", json.RawMessage(`"v"`)}, {"i", json.RawMessage(`{"base64":"/w=="}`)}, {"n", json.RawMessage("null")}}}
	for _, c := range []struct{ name, format, want string }{
		{"value", `%s\n`, "{\"a\": 1}\n"},
		{"rpk's value", `%v`, `{"a": 1}`},
		{"all", `%t %p %o %T %k %K %S %%`, `t 2 17 1700000000123 k 1 8 %`},
		{"headers", `%h`, "h=v,i=\xff,n="},
		{"escapes", `\t\r\0\\\x41%%s`, "\t\r\x00\\A%s"},
		{"text", `no token`, "no token"},
		{"nothing", ``, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := parseFormat(c.format)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(f.append(nil, r)); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	for _, wrong := range []string{`%`, `%y`, `%s%`, `\`, `\y`, `\x4`, `\xzz`, "%\u00e4", `%\n`} {
		if _, err := parseFormat(wrong); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

func TestBytesOf(t *testing.T) {
	for _, c := range []struct {
		name, data string
		raw        bool
		want       []byte
	}{
		{"null", `null`, false, nil},
		{"nothing", ``, false, nil},
		{"a text", `"a\nb"`, false, []byte("a\nb")},
		{"an empty text", `""`, false, []byte{}},
		{"a number", `1.0e5`, false, []byte("1.0e5")},
		{"an object", `{"a": 1,  "a":2}`, false, []byte(`{"a": 1,  "a":2}`)},
		{"bytes", `{"base64":"/w=="}`, false, []byte{0xff}},
		{"an object like bytes", `{"base64":"?"}`, false, []byte(`{"base64":"?"}`)},
		{"an object with more", `{"base64":"/w==","x":1}`, false, []byte(`{"base64":"/w==","x":1}`)},
		{"raw", `"ImEi"`, true, []byte(`"a"`)},
		{"raw null", `null`, true, nil},
		{"raw nothing", `""`, true, []byte{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := bytesOf(json.RawMessage(c.data), c.raw); !bytes.Equal(got, c.want) || (got == nil) != (c.want == nil) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func FuzzFormat(f *testing.F) {
	for _, s := range []string{`%s\n`, `%%`, `\x00%k`, `%`, `\`} {
		f.Add(s, []byte(`{"base64":"AA=="}`))
	}
	f.Fuzz(func(t *testing.T, text string, data []byte) {
		if p, err := parseFormat(text); err == nil {
			p.append(nil, recordDoc{Key: data, Value: data})
			p.raw = true
			p.append(nil, recordDoc{Key: data, Value: data})
		}
		if isPlace(text) && len(text) < 1000 {
			(&topicTail{}).reached(text)
		}
		if b := harmless(data); bytes.ContainsRune(b, 0x1b) {
			t.Errorf("%q", b)
		}
	})
}

// typed is operate with a standard input.
func typed(t *testing.T, in string, args ...string) (out, errs string, status int) {
	t.Helper()
	var o, e bytes.Buffer
	root := rootCommand()
	root.SetIn(strings.NewReader(in))
	root.SetOut(&o)
	root.SetErr(&e)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(t.Context())
	status = finish(cmd, err, &e)
	return o.String(), e.String(), status
}

func TestTopicCommands(t *testing.T) {
	t.Setenv("KLAMM_SERVER", startWith(t, `{}`))
	name := fmt.Sprintf("told-%d", time.Now().UnixNano())
	must := func(in string, args ...string) string {
		t.Helper()
		out, errs, status := typed(t, in, args...)
		if status != 0 || errs != "" {
			t.Fatalf("klamm %q: exit %d, %s%s", args, status, out, errs)
		}
		return out
	}
	want := func(got, want string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
	want(must("", "topic", "create", name, "-p", "2", "--dry-run"), "topic "+name+" can be made; nothing was done\n")
	want(must("", "topic", "create", name, "-p", "2", "-c", "retention.ms=3600000", "-o", "json"), `{"topic":"`+name+`","created":true}`+"\n")
	within(t, "the topic is listed", func() bool {
		out := must("", "topic", "list", name, "-o", "json")
		return strings.Contains(out, `{"topic":"`+name+`","partitions":2,"replication":`)
	})
	if out, errs, status := typed(t, "", "topic", "create", name); status != 1 || out != "" || !strings.Contains(errs, "already exists") {
		t.Errorf("exit %d: %s%s", status, out, errs)
	}

	want(must("k1:a\nk2:\"b\"\nnone\n\nk3:", "topic", "produce", name, "-p", "0", "-K", ":", "-H", "n=x=y", "-H", "m:z"), "5 records produced to "+name+"\n")
	out := must("", "topic", "produce", name, "--partition", "0", "--key", "k4", "--value", "{\"i\": 1.0}\n", "-o", "json")
	if !strings.HasPrefix(out, `{"topic":"`+name+`","partition":0,"offset":5,"timestamp":"20`) || strings.Count(out, "\n") != 1 {
		t.Fatal(out)
	}
	want(must("x;;y", "topic", "produce", name, "-p", "1", "-D", ";", "-Z", "-"), "3 records produced to "+name+"\n")
	file := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(file, []byte("\xff\x00\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(must("", "topic", "produce", name, "-p", "1", "@"+file), "1 records produced to "+name+"\n")

	tail := func(args ...string) string {
		t.Helper()
		return must("", append([]string{"topic", "tail", name}, args...)...)
	}
	within(t, "all records can be read", func() bool { return strings.Count(tail("--from", "earliest", "-o", "json"), "\n") == 10 })
	want(tail("--from", "earliest", "-p", "0", "-K", "="), "k1=a\nk2=b\n=none\n=\nk3=\nk4={\"i\": 1.0}\n")
	want(tail("--from", "earliest", "-p", "0", "-f", `%p/%o %k %h %K %S\n`, "-c", "2"), "0/0 k1 n=x=y,m=z 2 1\n0/1 k2 n=x=y,m=z 2 1\n")
	want(tail("--from", "earliest", "-p", "0", "-c", "2", "--raw", "-K", ":"), "k1:a\nk2:\"b\"\n")
	want(tail("--from", "earliest", "-p", "1", "--raw", "-D", ";", "-f", "%S:%s"), "1:x-1:1:y2:\xff\x00")
	want(tail("--from", "-2", "-p", "0"), "\n{\"i\": 1.0}\n")
	want(tail("--from", "4", "-p", "0", "-f", `%o\n`), "4\n5\n")
	want(tail("--from", "0-5,1-3", "-f", `%p-%o\n`), "0-5\n1-3\n")
	want(tail("--from", "latest"), "")
	if out := tail("--from", "1h", "-f", "."); out != strings.Repeat(".", 10) {
		t.Error(out)
	}
	if out := tail("--from", "2000-01-01T00:00:00Z", "-f", "."); out != strings.Repeat(".", 10) {
		t.Error(out)
	}
	want(tail("--follow", "--from", "earliest", "-p", "0", "-c", "6", "-f", `%o`), "012345")
	var first recordDoc
	line, _, _ := strings.Cut(tail("--from", "earliest", "-p", "0", "-o", "json"), "\n")
	if err := json.Unmarshal([]byte(line), &first); err != nil || first.Topic != name || string(first.Value) != `"a"` || len(first.Headers) != 2 {
		t.Errorf("%s: %v", line, err)
	}

	out = must("", "topic", "show", name)
	for _, text := range []string{"topic       " + name + "\n", "records     about 10\n", "retention.ms", "3600000", "PARTITION"} {
		if !strings.Contains(out, text) {
			t.Errorf("no %q in:\n%s", text, out)
		}
	}
	if all := must("", "topic", "show", name, "--all"); len(all) <= len(out) || !strings.Contains(all, "min.insync.replicas") {
		t.Errorf("defaults are shown where they are not asked for, or are not where they are:\n%s%s", out, all)
	}
	for _, c := range []struct {
		args, want string
		status     int
	}{
		{"topic show no-such-topic", `no such topic: "no-such-topic" at `, 1},
		{"topic tail no-such-topic", "klamm topic list shows the topics there are", 1},
		{"topic delete no-such-topic", "no such topic", 1},
		{"topic tail " + name + " --partition 9", "has no partition 9", 1},
		{"topic produce " + name + " --partition 9 --value x", "record 1 was not produced", 1},
	} {
		out, errs, status := typed(t, "", strings.Fields(c.args)...)
		if status != c.status || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("klamm %s: exit %d, %q, %q; want %d, %q", c.args, status, out, errs, c.status, c.want)
		}
	}
	want(must("", "topic", "delete", name, "--dry-run"), "topic "+name+" would be deleted with about 10 records; nothing was done\n")
	want(must("", "topic", "delete", name), "topic "+name+" is deleted\n")
	within(t, "the topic is gone", func() bool { return must("", "topic", "list", name, "-o", "json") == "" })
}

// TestManyRecords copies more than a batch from topic to topic, in order.
func TestManyRecords(t *testing.T) {
	t.Setenv("KLAMM_SERVER", startWith(t, `{}`))
	name := fmt.Sprintf("many-%d", time.Now().UnixNano())
	for _, topic := range []string{name, name + "-copy"} {
		if _, errs, status := typed(t, "", "topic", "create", topic, "-p", "1"); status != 0 {
			t.Fatal(errs)
		}
	}
	var all strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&all, "%d\t{\"n\":%d}\n", i%7, i)
	}
	if out, errs, status := typed(t, all.String(), "topic", "produce", name, "-K", `\t`); status != 0 || out != "3000 records produced to "+name+"\n" {
		t.Fatal(status, out, errs)
	}
	read := func(topic string) string {
		out, errs, status := typed(t, "", "topic", "tail", topic, "--from", "earliest", "--raw", "-K", `\t`)
		if status != 0 {
			t.Fatal(errs)
		}
		return out
	}
	within(t, "all is there", func() bool { return read(name) == all.String() })
	if _, errs, status := typed(t, read(name), "topic", "produce", name+"-copy", "-K", `\t`); status != 0 {
		t.Fatal(errs)
	}
	within(t, "all is there twice", func() bool { return read(name+"-copy") == all.String() })
	if out, _, _ := typed(t, "", "topic", "tail", name, "--from", "-1500", "-f", "."); len(out) != 1500 {
		t.Errorf("%d of the last 1500", len(out))
	}
}

func TestTopicCallsThatAreWrong(t *testing.T) {
	t.Setenv("KLAMM_SERVER", "http://127.0.0.1:1") // nothing may be asked
	for _, c := range []struct{ name, args, want string }{
		{"no topic", "topic show", "klamm topic list"},
		{"no topic to produce to", "topic produce", "give the topic"},
		{"a name that cannot be", "topic tail a/b", "is no topic's name"},
		{"partitions below zero", "topic create t -p -1", "numbers from 1"},
		{"no partitions", "topic create t -p 0", "numbers from 1"},
		{"no replicas", "topic create t --replicas 0", "numbers from 1"},
		{"a setting that is none", "topic create t -c x", "NAME=VALUE"},
		{"a format that is none", "topic tail t -f %y", "%y is no token"},
		{"a count below zero", "topic tail t -c -1", "--count -1"},
		{"a partition below zero", "topic tail t -p -2", "--partition -2"},
		{"nowhere to begin", "topic tail t --from yesterday", "PARTITION-OFFSET"},
		{"too many of the last", "topic tail t --from -10001", "last 10000"},
		{"a format for JSON", "topic tail t -o json -f %s", "-o json prints whole records"},
		{"a format and a separator", "topic tail t -K : -f %s", "either --format"},
		{"a value and lines", "topic produce t --value x -", "either --value or lines"},
		{"a key and keys", "topic produce t --key x -K :", "either --key"},
		{"a header that is none", "topic produce t -H x", "NAME=VALUE"},
		{"a value that is an argument", "topic produce t x", "--value makes one record"},
		{"a file that is not there", "topic produce t @/no/such", "no such file"},
		{"no delimiter", "topic produce t --delimiter=", "--delimiter"},
		{"no time to wait", "topic list --request-timeout -1s", "--request-timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errs, status := typed(t, "", strings.Fields(c.args)...)
			if status != 2 || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("exit %d, output %q, %q; want 2 and %q", status, out, errs, c.want)
			}
		})
	}
}
