package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// A production is one call of klamm produce.
type production struct {
	topicProduce
	names       []string // -t
	null        bool     // empty parts of a line are null
	lines       bool     // of the file
	showLines   bool     // on standard output
	count       int64
	compression string
	settings    []string
}

func produceCommand() *cobra.Command {
	var p production
	var ignored struct{ produce, quiet, verbose bool }
	cmd := askingPlain(&cobra.Command{
		Use:   "produce [-t] TOPIC [FILE...]",
		Short: "Produce records as kcat does",
		Long: "Produces a record for each line of standard input that is not empty or, with files, one of the whole of each; with -l the file has\n" +
			"records as standard input has. The flags are those of kcat -P. klamm topic produce knows schemas and says what it has done.\n\n" +
			"Records without a partition go where their keys say, as Kafka's Java clients have it; kcat's own partitioner is another. klamm and\n" +
			"the topic's settings decide how records are compressed, so -z is taken and changes nothing.",
		Example: "  echo hello | klamm produce -t orders\n" +
			"  klamm produce -t orders -K : -H source=shop < orders.txt\n" +
			"  klamm produce -P -t orders -p 0 -k 17 order.json\n" +
			"  klamm consume -t orders -e -K '\\t' | klamm produce -t copy -K '\\t' -T > copied.txt",
	}, func(ctx context.Context, c *client, args []string) error {
		p.c = c
		return p.run(ctx, args)
	})
	flags := cmd.Flags()
	flags.StringArrayVarP(&p.names, "topic", "t", nil, "the topic")
	flags.Int32VarP(&p.partition, "partition", "p", -1, "the partition of every record")
	flags.StringVarP(&p.key, "key", "k", "", "the key of every record that has none of its own")
	flags.StringVarP(&p.separator, "key-delimiter", "K", "", "what stands between key and value of a line")
	flags.StringVarP(&p.delimiter, "delimiter", "D", `\n`, "what stands between records")
	flags.StringArrayVarP(&p.headers, "header", "H", nil, "a header of every record, NAME=VALUE or NAME; may be given again")
	flags.BoolVarP(&p.null, "null", "Z", false, "an empty key or value is null")
	flags.BoolVarP(&p.lines, "lines", "l", false, "the file has records between delimiters")
	flags.BoolVarP(&p.showLines, "tee", "T", false, "also print what is produced")
	flags.Int64VarP(&p.count, "count", "c", 0, "stop after so many records")
	flags.StringVarP(&p.compression, "compression", "z", "", "none, gzip, snappy, lz4 or zstd; changes nothing")
	flags.StringArrayVarP(&p.settings, "property", "X", nil, "refused: klamm is asked by HTTP")
	flags.BoolVarP(&ignored.produce, "produce", "P", false, "as without it: for those whose fingers know kcat")
	flags.BoolVarP(&ignored.quiet, "quiet", "q", false, "as without it")
	flags.BoolVarP(&ignored.verbose, "verbose", "v", false, "as without it")
	_ = cmd.RegisterFlagCompletionFunc("compression", cobra.FixedCompletions([]string{"none", "gzip", "snappy", "lz4", "zstd"}, cobra.ShellCompDirectiveNoFileComp))
	completedFlag(cmd, "topic", topicNames)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || len(p.names) > 0 {
			return nil, cobra.ShellCompDirectiveDefault // files
		}
		return complete(cmd, begin, topicNames)
	}
	return cmd
}

// run produces.
func (p *production) run(ctx context.Context, files []string) error {
	if len(p.names) == 0 && len(files) > 0 {
		p.names, files = files[:1], files[1:]
	}
	if len(p.names) != 1 {
		return usage("give one topic with -t; klamm topic list shows the topics there are")
	}
	p.topic = p.names[0]
	if err := p.check(files); err != nil {
		return err
	}
	p.record, p.most = p.split, p.count
	if p.showLines {
		p.tee = p.c.out
	}
	err := p.produce(ctx, files)
	if err != nil && p.produced > 0 {
		return fmt.Errorf("%w; %d records before it were produced", err, p.produced)
	}
	return err
}

// check reads the flags.
func (p *production) check(files []string) error {
	switch {
	case p.count < 0:
		return usage("-c %d: want a number from 1", p.count)
	case p.partition < -1:
		return usage("-p %d: want a number from 0", p.partition)
	case p.lines && len(files) != 1:
		return usage("-l: give one file")
	case len(p.settings) > 0:
		return usage("-X %s: klamm is asked by HTTP and has none of these settings", printable(p.settings[0]))
	case !strings.Contains(" none gzip snappy lz4 zstd ", " "+p.compression+" ") && p.compression != "":
		return usage("-z %q: want none, gzip, snappy, lz4 or zstd", printable(p.compression))
	}
	if p.delimiter = kcatUnescape(p.delimiter); p.delimiter == "" {
		return usage("-D: a delimiter must not be empty")
	}
	p.separator = kcatUnescape(p.separator)
	for _, text := range p.headers {
		name, value, ok := strings.Cut(text, "=")
		if name == "" {
			return usage("-H %q: want NAME=VALUE or NAME", printable(text))
		}
		h := v3Header{Name: name}
		if ok {
			h.Value = []byte(value)
		}
		p.header = append(p.header, h)
	}
	return checkTopic(p.topic)
}

// split makes a record of a line as kcat does: lines that are empty are none.
func (p *production) split(line []byte) (newRecord, bool) {
	if len(line) == 0 {
		return newRecord{}, false
	}
	r := newRecord{value: line, line: line}
	if p.separator != "" {
		if key, value, ok := bytes.Cut(line, []byte(p.separator)); ok {
			r.key, r.value = key, value
		}
	}
	if p.null && len(r.value) == 0 {
		r.value = nil
	}
	if p.null && len(r.key) == 0 {
		r.key = nil
	}
	if r.key == nil && p.c.cmd.Flags().Changed("key") {
		r.key = []byte(p.key)
	}
	return r, true
}

// produce produces what the files or standard input have.
func (p *production) produce(ctx context.Context, files []string) error {
	if len(files) == 0 {
		in := p.c.cmd.InOrStdin()
		if isTerminalInput(in) {
			fmt.Fprintln(p.c.errs, "Type records, one a line; Ctrl-D ends.")
		}
		return p.topicProduce.lines(ctx, in)
	}
	if p.lines {
		file, err := os.Open(files[0])
		if err != nil {
			return &exitError{2, err}
		}
		defer func() { _ = file.Close() }()
		return p.topicProduce.lines(ctx, file)
	}
	for _, name := range files {
		info, err := os.Stat(name)
		if err == nil && info.Size() > largestRecord {
			err = fmt.Errorf("%s has more than %d MiB", name, largestRecord>>20)
		}
		var text []byte
		if err == nil {
			text, err = os.ReadFile(name)
		}
		if err != nil {
			var path *fs.PathError
			if errors.As(err, &path) {
				err = fmt.Errorf("%s: %w", name, path.Err)
			}
			return &exitError{2, err}
		}
		if len(text) == 0 || p.most > 0 && p.produced >= p.most {
			continue
		}
		r := newRecord{value: text}
		if p.c.cmd.Flags().Changed("key") {
			r.key = []byte(p.key)
		}
		if err := p.send(ctx, []newRecord{r}); err != nil {
			return err
		}
	}
	return nil
}
