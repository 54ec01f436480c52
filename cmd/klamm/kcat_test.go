package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/target/all"
)

// A pairOf is kcat and klamm on the same brokers.
type pairOf struct {
	kcat    string // the program
	brokers string
}

// besideKcat starts klamm and finds kcat. Without KLAMM_TEST_KCAT the test is left out: it
// takes a minute, with or without kcat on the machine.
func besideKcat(t *testing.T) pairOf {
	t.Helper()
	if os.Getenv("KLAMM_TEST_KCAT") == "" {
		t.Skip("make test-kcat runs it, and gets kcat")
	}
	program, err := exec.LookPath("kcat")
	if err != nil {
		t.Fatal(err)
	}
	cfg, problems := config.Load([]byte(`{}`), all.Kinds())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	a, brokers := startReady(t, cfg)
	t.Setenv("KLAMM_SERVER", "http://"+a.Addr())
	return pairOf{program, strings.Join(brokers, ",")}
}

// run runs kcat.
func (p pairOf) run(t *testing.T, in string, args ...string) (out string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.kcat, append([]string{"-b", p.brokers, "-m", "60"}, args...)...)
	cmd.Env = append(os.Environ(), "KCAT_CONFIG="+os.DevNull)
	var o, e bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &o, &e
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("kcat %q has not ended: %s%s", args, o.String(), e.String())
	}
	if e.Len() > 0 {
		t.Logf("kcat %q: %s", args, e.String())
	}
	return o.String(), cmd.ProcessState.ExitCode()
}

// topic makes a topic of so many partitions, and waits until kcat can use it.
func (p pairOf) topic(t *testing.T, name string, partitions int) string {
	t.Helper()
	name = fmt.Sprintf("%s-%d", name, time.Now().UnixNano())
	if _, errs, status := typed(t, "", "topic", "create", name, "-p", fmt.Sprint(partitions)); status != 0 {
		t.Fatal(errs)
	}
	within(t, "kcat knows the topic", func() bool {
		out, _ := p.run(t, "", "-L", "-t", name)
		return strings.Contains(out, fmt.Sprintf("topic %q with %d partitions:", name, partitions)) && !strings.Contains(out, "leader -1")
	})
	return name
}

// produce produces with kcat, and fails the test where it does not.
func (p pairOf) produce(t *testing.T, in string, args ...string) {
	t.Helper()
	if out, status := p.run(t, in, append([]string{"-P"}, args...)...); status != 0 {
		t.Fatalf("kcat -P %q: exit %d, %s", args, status, out)
	}
}

// same runs both with the same flags and compares what they print.
func (p pairOf) same(t *testing.T, command, in string, args ...string) {
	t.Helper()
	mode := map[string]string{"consume": "-C", "produce": "-P"}[command]
	want, wantStatus := p.run(t, in, append([]string{mode}, args...)...)
	got, errs, status := typed(t, in, append([]string{command}, args...)...)
	if got != want || (status != 0) != (wantStatus != 0) {
		t.Errorf("%q:\nkcat  exit %d %q\nklamm exit %d %q %s", args, wantStatus, want, status, got, errs)
	}
}

// TestConsumeBesideKcat reads the same topics by both, and wants the same bytes.
func TestConsumeBesideKcat(t *testing.T) {
	p := besideKcat(t)
	one, three := p.topic(t, "one", 1), p.topic(t, "three", 3)
	odd := filepath.Join(t.TempDir(), "odd")
	if err := os.WriteFile(odd, []byte("\x00\x01\x02\x03\xff\xfe\"\\/\b\f\n\r\t\x1f\x7f\xc3\xa9<b>"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.produce(t, "k1:v1\nk2:\n:v3\nnokey\nk5:{\"a\": \"b\\u00e9/\u00e9\",  \"n\": 1.0}\nk6:\"text\"\nk7:[1, 2]\n", "-t", one, "-K", ":", "-H", "h1=1", "-H", "h2=", "-H", "h3", "-H", "h4=a,b=c")
	p.produce(t, "k8:\n:\n", "-t", one, "-K", ":", "-Z")
	p.produce(t, "", "-t", one, "-k", "odd", odd)
	p.produce(t, "last\n", "-t", one)
	for i := range 3 {
		p.produce(t, strings.Repeat(fmt.Sprintf("p%d\n", i), 5), "-t", three, "-p", fmt.Sprint(i))
	}
	stamps, _ := p.run(t, "", "-C", "-t", one, "-e", "-q", "-f", `%T\n`)
	at := strings.Fields(stamps)
	for _, args := range [][]string{
		{"-e"},
		{"-e", "-q", "-o", "beginning"},
		{"-e", "-K", ":"},
		{"-e", "-K", ""},
		{"-e", "-K", ":", "-Z"},
		{"-e", "-K", `\t`, "-D", `\x1e`},
		{"-e", "-D", ""},
		{"-e", "-f", `%t %p %o %k %s\n`},
		{"-e", "-f", `%k=%s %K %S\n`, "-o", "2"},
		{"-e", "-f", `%R%s%%\n`},
		{"-e", "-f", `%T %h\n`},
		{"-e", "-Z", "-f", `Topic %t [%p] at offset %o: key %k: %s\n`},
		{"-e", "-f", `\x41\x4142\065\101\q\\|%s\r\n\`},
		{"-ef", `%s;`, "-c", "3"},
		{"-e", "-o", "-2", "-f", `%o %s\n`},
		{"-e", "-o", "-1000", "-f", `%o `},
		{"-e", "-o", "end"},
		{"-e", "-o", "4", "-c", "1", "-K", " -> "},
		{"-c", "4", "-u"},
		{"-e", "-p0", "-oend"},
		{"-e", "-o", "s@" + at[7], "-f", `%o\n`},
		{"-e", "-o", "s@0", "-o", "e@" + at[7], "-f", `%o\n`},
		{"-e", "-o", "s@" + at[0], "-o", "e@" + at[8], "-f", `%o\n`},
		{"-e", "-J"},
		{"-e", "-J", "-c", "5", "-o", "1"},
		{"-e", "-s", "key=s", "-s", "value=c", "-o", "9", "-c", "1"},
		{"-e", "-s", "value=>iHhBbs", "-o", "9", "-c", "1", "-f", `%k %s|\n`},
		{"-e", "-s", ">q", "-o", "9", "-c", "1"},
		{"-e", "-E", "-s", "value=>Q$", "-f", `%s\n`},
		{"-e", "-p", "5"},
		{"-e", "-f", "%y"},
		{"-e", "-s", "z"},
	} {
		p.same(t, "consume", "", append([]string{"-t", one}, args...)...)
	}
	for i := range 3 {
		p.same(t, "consume", "", "-t", three, "-p", fmt.Sprint(i), "-e", "-f", `%p/%o %s\n`)
		p.same(t, "consume", "", "-t", three, "-p", fmt.Sprint(i), "-e", "-o", "-2", "-f", `%p/%o %s\n`)
	}
	for _, args := range [][]string{{"-e", "-f", `%p/%o %s\n`}, {"-e", "-o", "3", "-f", `%p/%o\n`}, {"-e", "-o", "-1", "-f", `%p/%o\n`}} {
		args = append([]string{"-t", three}, args...)
		want, _ := p.run(t, "", append([]string{"-C"}, args...)...)
		got, errs, status := typed(t, "", append([]string{"consume"}, args...)...)
		if sortedLines(got) != sortedLines(want) || status != 0 {
			t.Errorf("%q: kcat %q, klamm exit %d %q %s", args, want, status, got, errs)
		}
	}
	for _, ms := range []string{"0", at[0], at[7], "99999999999999"} {
		want, _ := p.run(t, "", "-Q", "-t", one+":0:"+ms)
		if got, errs, status := typed(t, "", "consume", "-Q", "-t", one+":0:"+ms); got != want || status != 0 {
			t.Errorf("-Q %s: kcat %q, klamm exit %d %q %s", ms, want, status, got, errs)
		}
	}
	// The brokers that tell are another's, all else is the same.
	want, _ := p.run(t, "", "-L", "-t", three)
	got, errs, status := typed(t, "", "consume", "-L", "-t", three)
	from := regexp.MustCompile(`\(from [^)]*\)+`)
	tidy := func(text string) string {
		return sortedLines(strings.ReplaceAll(from.ReplaceAllString(text, ""), " (controller)", ""))
	}
	if tidy(got) != tidy(want) || status != 0 {
		t.Errorf("-L: kcat %q, klamm exit %d %q %s", want, status, got, errs)
	}
}

func sortedLines(text string) string {
	all := strings.SplitAfter(text, "\n")
	slices.Sort(all)
	return strings.Join(all, "")
}

// TestGroupBesideKcat reads as a member of a group, and goes on where it was.
func TestGroupBesideKcat(t *testing.T) {
	p := besideKcat(t)
	topic := p.topic(t, "grouped", 2)
	for i := range 2 {
		p.produce(t, "a:1\nb:\nc:3\n", "-t", topic, "-p", fmt.Sprint(i), "-K:", "-Z", "-H", "h=v")
	}
	read := func(group string, kcat bool, more ...string) string {
		t.Helper()
		args := append([]string{"-G", group}, more...)
		args = append(args, topic)
		if kcat {
			out, status := p.run(t, "", args...)
			if status != 0 {
				t.Fatalf("kcat %q: exit %d %s", args, status, out)
			}
			return sortedLines(out)
		}
		out, errs, status := typed(t, "", append([]string{"consume"}, args...)...)
		if status != 0 {
			t.Fatalf("klamm consume %q: exit %d %s", args, status, errs)
		}
		return sortedLines(out)
	}
	form := []string{"-e", "-Z", "-f", `%p/%o %k %s %h\n`}
	want := read(topic+"-a", true, append([]string{"-X", "auto.offset.reset=earliest"}, form...)...)
	if got := read(topic+"-b", false, append([]string{"-X", "auto.offset.reset=earliest"}, form...)...); got != want || strings.Count(got, "\n") != 6 {
		t.Fatalf("kcat %q, klamm %q", want, got)
	}
	// Each goes on where the other one has committed.
	p.produce(t, "d:4\n", "-t", topic, "-p", "1", "-K:")
	for i, group := range []string{topic + "-a", topic + "-b"} {
		if got := read(group, i == 1, "-e", "-f", `%p/%o %s\n`); got != "1/3 4\n" {
			t.Errorf("group %d: %q", i, got)
		}
	}
	out, errs, status := typed(t, "", "consume", "-X", "group.id="+topic+"-b", "-t", topic, "-o", "stored", "-e")
	if status != 0 || out != "" {
		t.Errorf("exit %d %q %s", status, out, errs)
	}
	p.produce(t, "e:5\n", "-t", topic, "-p", "0", "-K:")
	if out, errs, status = typed(t, "", "consume", "-X", "group.id="+topic+"-b", "-t", topic, "-o", "stored", "-e"); status != 0 || out != "5\n" {
		t.Errorf("exit %d %q %s", status, out, errs)
	}
}

// TestProduceBesideKcat produces the same by both, and kcat reads the same of it.
func TestProduceBesideKcat(t *testing.T) {
	p := besideKcat(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole, keyed, empty := write("whole", "first\nsecond\n"), write("keyed", "k:v"), write("empty", "")
	names := regexp.MustCompile(`"topic":"[^"]*"|"ts":\d+,`)
	for _, c := range []struct {
		in   string
		args []string
	}{
		{"a\nb\n\nc", nil},
		{"k1:a\nb\n:c\nk4:\nk5:x:y\n", []string{"-K", ":"}},
		{"k1:a\nb\n:c\nk4:\n:\n", []string{"-K:", "-Z"}},
		{"k1:a\nb\n:c\nk4:\n:\n", []string{"-K:", "-Z", "-k", "fixed"}},
		{"k1:a\nb\n", []string{"-K", `\x3a`, "-k", "fixed"}},
		{"a\nb\n", []string{"-k", ""}},
		{"a\n\nb\n", []string{"-Z", "-k", "x"}},
		{"k::v;;l;;m::;;;;", []string{"-D", ";;", "-K", "::"}},
		{"a\tb\tc", []string{"-D", `\t`}},
		{"a\r\nb\\n\n\xff\x00\n", nil},
		{"a\nb\n", []string{"-H", "x", "-H", "a=b=c", "-H", "q:r", "-H", "e="}},
		{"one\ntwo\nthree\n", []string{"-c", "2"}},
		{"k:1\n2\n:\n\n3", []string{"-T", "-K:"}},
		{"a\nb\n", []string{"-T", "-D", "\n", "-p", "0", "-z", "gzip"}},
		{"", []string{whole, keyed, empty}},
		{"", []string{"-k", "x", "-K:", "-T", keyed}},
		{"", []string{"-l", whole}},
		{"", []string{"-l", "-T", "-K", "i", whole}},
		{"", nil},
		{"x\n", []string{"-p", "7"}},
		{"x\n", []string{"-H", "=y"}},
		{"x\n", []string{"-D", ""}},
		{"x\n", []string{filepath.Join(dir, "none")}},
	} {
		topics := [2]string{p.topic(t, "a", 1), p.topic(t, "b", 1)}
		args := func(i int) []string { return append([]string{"-t", topics[i]}, c.args...) }
		want, wantStatus := p.run(t, c.in, append([]string{"-P"}, args(0)...)...)
		got, errs, status := typed(t, c.in, append([]string{"produce"}, args(1)...)...)
		if got != want || (status != 0) != (wantStatus != 0) {
			t.Errorf("%q %q:\nkcat  exit %d %q\nklamm exit %d %q %s", c.in, c.args, wantStatus, want, status, got, errs)
		}
		var read [2]string
		for i := range topics {
			out, _ := p.run(t, "", "-C", "-t", topics[i], "-e", "-J")
			read[i] = names.ReplaceAllString(out, "")
		}
		if read[0] != read[1] {
			t.Errorf("%q %q:\nkcat  %s\nklamm %s", c.in, c.args, read[0], read[1])
		}
	}
}
