package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	// batchRecords and batchBytes bound what is sent at once.
	batchRecords = 500
	batchBytes   = 4 << 20
	// batchPause is how long a batch waits for another record.
	batchPause = 20 * time.Millisecond
	// largestRecord bounds one record, in bytes.
	largestRecord = 64 << 20
)

// A topicProduce is one call of klamm topic produce.
type topicProduce struct {
	c                    *client
	topic                string
	key, value           string
	separator, delimiter string
	headers              []string
	partition            int32
	tombstones           bool
	schema               valueSchema

	header   []v3Header
	produced int64
	// record makes a record of what stands between delimiters; false: none.
	record func(line []byte) (newRecord, bool)
	most   int64     // how many to produce; 0: all
	tee    io.Writer // gets the lines that were produced; nil: nothing does
}

// A newRecord is a record that is to be produced; nil is null. The line is what it was
// made of.
type newRecord struct{ key, value, line []byte }

// What follows is a record in a stream of the v3 API.
type v3Record struct {
	Partition *int32     `json:"partition_id,omitempty"`
	Headers   []v3Header `json:"headers,omitempty"`
	Key       *v3Data    `json:"key,omitempty"`
	Value     *v3Data    `json:"value,omitempty"`
}

type v3Header struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

type v3Data struct {
	Type     string `json:"type,omitempty"`
	Data     any    `json:"data"`
	Schema   string `json:"schema,omitempty"`
	SchemaID int    `json:"schema_id,omitempty"`
	Subject  string `json:"subject,omitempty"`
}

func bytesData(b []byte) *v3Data {
	if b == nil {
		return nil
	}
	return &v3Data{Type: "BINARY", Data: b}
}

// A producedDoc is where a record is.
type producedDoc struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Timestamp time.Time `json:"timestamp,omitzero"`
}

func topicProduceCommand() *cobra.Command {
	var p topicProduce
	cmd := asking(&cobra.Command{
		Use:   "produce TOPIC [-|@FILE]",
		Short: "Produce records, a line each, or one of a document",
		Long: "Produces a record for each line of standard input or of a file, in their order, as they come. With --key-separator what stands\n" +
			"before it is the key. --value is one record instead: inline, as @FILE, or as - for standard input, with all its bytes. Values are\n" +
			"produced as they are. With -o json each record's topic, partition and offset is printed as soon as it is acknowledged. A record\n" +
			"that cannot be produced ends it, and the exit status is 1.",
		Example: "  echo '{\"id\":17}' | klamm topic produce orders\n" +
			"  klamm topic produce orders -K : @orders.txt -o json\n" +
			"  klamm topic produce orders --key 17 --value @order.json -H source=shop -H 'trace=a b'\n" +
			"  klamm topic produce orders --key 17 --value '' --tombstone\n" +
			"  klamm topic produce orders --schema @order.avsc --value '{\"id\": 17}'",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return usage("give the topic, and - or @FILE if the lines are not those of standard input")
			}
			return checkTopic(args[0])
		},
	}, func(ctx context.Context, c *client, args []string) error {
		p.c, p.topic, p.record = c, args[0], p.whole
		return p.run(ctx, args[1:])
	})
	flags := cmd.Flags()
	flags.StringVarP(&p.key, "key", "k", "", "the key of every record")
	flags.StringVar(&p.value, "value", "", "DOC: the value of one record, instead of lines")
	flags.StringVarP(&p.separator, "key-separator", "K", "", "what stands between key and value of a line; a line without it has no key")
	flags.StringVarP(&p.delimiter, "delimiter", "D", `\n`, "what stands between records")
	flags.StringArrayVarP(&p.headers, "header", "H", nil, "a header of every record, NAME=VALUE; may be given again")
	flags.Int32VarP(&p.partition, "partition", "p", -1, "the partition of every record; the default is by key")
	flags.BoolVarP(&p.tombstones, "tombstone", "Z", false, "an empty value is null")
	p.schema.flags(cmd)
	return completed(cmd, topicNames)
}

// run produces.
func (p *topicProduce) run(ctx context.Context, args []string) error {
	if err := p.check(args); err != nil {
		return err
	}
	if p.c.cmd.Flags().Changed("value") {
		value, err := documentFlag(p.c.cmd, "--value", p.value)
		if err != nil {
			return &exitError{2, err}
		}
		if value == nil {
			value = []byte{}
		}
		r := newRecord{value: value}
		p.complete(&r)
		if err := p.send(ctx, []newRecord{r}); err != nil {
			return err
		}
		return p.report()
	}
	in := p.c.cmd.InOrStdin()
	if len(args) == 1 && args[0] != "-" {
		file, err := os.Open(strings.TrimPrefix(args[0], "@"))
		if err != nil {
			return &exitError{2, err}
		}
		defer func() { _ = file.Close() }()
		in = file
	} else if isTerminalInput(in) {
		fmt.Fprintln(p.c.errs, "Type records, one a line; Ctrl-D ends.")
	}
	if err := p.lines(ctx, in); err != nil {
		if p.produced > 0 {
			return fmt.Errorf("%w; %d records before it were produced", err, p.produced)
		}
		return err
	}
	return p.report()
}

// check reads the flags.
func (p *topicProduce) check(args []string) (err error) {
	flags := p.c.cmd.Flags()
	switch {
	case flags.Changed("value") && len(args) > 0:
		return usage("give either --value or lines")
	case flags.Changed("key") && p.separator != "":
		return usage("give either --key or --key-separator")
	case p.partition < -1:
		return usage("--partition %d: want a number from 0", p.partition)
	case len(args) == 1 && args[0] != "-" && !strings.HasPrefix(args[0], "@"):
		return usage("%q: want - for standard input, or @FILE; klamm topic produce %s --value makes one record", printable(args[0]), p.topic)
	}
	if p.delimiter, err = resolveEscapes(p.delimiter); err != nil || p.delimiter == "" {
		return usage("--delimiter: want a text that stands between records: %v", err)
	}
	if p.separator, err = resolveEscapes(p.separator); err != nil {
		return usage("--key-separator: %v", err)
	}
	if err := p.schema.check(p.c.cmd); err != nil {
		return err
	}
	for _, text := range p.headers {
		// kcat separates by =, rpk by a colon.
		at := strings.IndexAny(text, "=:")
		if at < 1 {
			return usage("--header %q: want NAME=VALUE", printable(text))
		}
		p.header = append(p.header, v3Header{text[:at], []byte(text[at+1:])})
	}
	return nil
}

// whole makes a record of all of a line or document.
func (p *topicProduce) whole(line []byte) (newRecord, bool) {
	r := newRecord{value: line}
	p.complete(&r)
	return r, true
}

// complete does to a record what the flags say.
func (p *topicProduce) complete(r *newRecord) {
	if p.separator != "" {
		if key, value, ok := bytes.Cut(r.value, []byte(p.separator)); ok {
			r.key, r.value = key, value
		}
	}
	if p.c.cmd.Flags().Changed("key") {
		r.key = []byte(p.key)
	}
	if len(r.value) == 0 && p.tombstones {
		r.value = nil
	}
}

// A lineRead is a record that was read, or why there are no more.
type lineRead struct {
	newRecord
	err error
}

// read reads records until there are no more, or the context ends.
func (p *topicProduce) read(ctx context.Context, in io.Reader, to chan<- lineRead) {
	defer close(to)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, largestRecord)
	lines.Split(func(data []byte, end bool) (int, []byte, error) {
		if i := bytes.Index(data, []byte(p.delimiter)); i >= 0 {
			return i + len(p.delimiter), data[:i:i], nil
		}
		if end && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	})
	give := func(r lineRead) bool {
		select {
		case to <- r:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for lines.Scan() {
		r, ok := p.record(append([]byte{}, lines.Bytes()...))
		if ok && !give(lineRead{newRecord: r}) {
			return
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		give(lineRead{err: fmt.Errorf("a record has more than %d MiB; is %q really between them?", largestRecord>>20, p.delimiter)})
	} else if err != nil {
		give(lineRead{err: err})
	}
}

// lines produces what is read, as many at once as are there.
func (p *topicProduce) lines(ctx context.Context, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	records := make(chan lineRead, batchRecords)
	go p.read(ctx, in, records) // ends with the input or the context; a terminal may keep it until the program ends
	show := p.c.bar("records")
	defer show.clear()
	for {
		var first lineRead
		var more bool
		select {
		case first, more = <-records:
		case <-ctx.Done():
			return errInterrupted
		}
		if !more {
			return nil
		}
		if first.err != nil {
			return first.err
		}
		batch, broken := gather(first.newRecord, records)
		if p.most > 0 && int64(len(batch)) >= p.most-p.produced {
			batch, broken = batch[:p.most-p.produced], nil
		}
		if err := p.send(ctx, batch); err != nil {
			return err
		}
		if p.most > 0 && p.produced >= p.most {
			return nil
		}
		if broken != nil {
			return broken
		}
		show.text(fmt.Sprintf("%d records produced", p.produced))
	}
}

// gather makes a batch of what is there, or comes at once. The error is that of
// reading behind it.
func gather(first newRecord, records <-chan lineRead) (batch []newRecord, err error) {
	batch = append(batch, first)
	size := len(first.key) + len(first.value)
	pause := time.NewTimer(batchPause)
	defer pause.Stop()
	for len(batch) < batchRecords && size < batchBytes {
		select {
		case r, more := <-records:
			if !more || r.err != nil {
				return batch, r.err
			}
			batch = append(batch, r.newRecord)
			size += len(r.key) + len(r.value)
		case <-pause.C:
			return batch, nil
		}
	}
	return batch, nil
}

// send produces a batch through the v3 API, whose streams take any bytes, headers and
// nulls, and answer for each record.
func (p *topicProduce) send(ctx context.Context, batch []newRecord) (err error) {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	for _, r := range batch {
		one := v3Record{Headers: p.header, Key: bytesData(r.key), Value: bytesData(r.value)}
		if p.schema.wanted() && (r.value != nil || !p.tombstones) {
			if one.Value, err = p.schema.data(r.value); err != nil {
				return err
			}
		}
		if p.partition >= 0 {
			one.Partition = &p.partition
		}
		if err := e.Encode(one); err != nil {
			return err
		}
	}
	// The cluster's id is not looked at there.
	a, err := p.c.ask(ctx, request{method: http.MethodPost, other: true, path: []string{"v3", "clusters", "-", "topics", p.topic, "records"}, body: body.Bytes(), within: changeTime})
	if err != nil {
		return err
	}
	answers := json.NewDecoder(bytes.NewReader(a.text))
	for _, r := range batch {
		var said struct {
			Code      int       `json:"error_code"`
			Message   string    `json:"message"`
			Topic     string    `json:"topic_name"`
			Partition *int32    `json:"partition_id"`
			Offset    *int64    `json:"offset"`
			Timestamp time.Time `json:"timestamp"`
		}
		switch err := answers.Decode(&said); {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return p.c.broken(err)
		case err != nil:
			return p.c.wrongServer(a.Response)
		case said.Code/100 == 401 || said.Code/100 == 403:
			return fmt.Errorf("%s does not let you do that: %s; KLAMM_KEY can hold an API key that may", p.c.base.Redacted(), printable(said.Message))
		case said.Code != 0 && said.Code != http.StatusOK:
			return fmt.Errorf("record %d was not produced: %s", p.produced+1, printable(said.Message))
		case said.Partition == nil || said.Offset == nil:
			return p.c.wrongServer(a.Response)
		}
		p.produced++
		if p.tee != nil {
			if _, err := p.tee.Write(r.line); err != nil {
				return err
			}
		}
		if p.c.output == "json" {
			if err := p.c.json(producedDoc{p.topic, *said.Partition, *said.Offset, said.Timestamp}); err != nil {
				return err
			}
		}
	}
	return nil
}

// report says how many were produced.
func (p *topicProduce) report() error {
	if p.c.output == "json" {
		return nil
	}
	_, err := fmt.Fprintf(p.c.out, "%d records produced to %s\n", p.produced, p.topic)
	return err
}

// isTerminalInput says whether somebody types.
func isTerminalInput(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}
