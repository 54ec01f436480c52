package objectstore

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/transform"
)

// Config is the configuration of an object store. Either Directory is set, or
// Endpoint and what goes with it.
type Config struct {
	// Directory is where objects become files. It must exist; directories below
	// it are made.
	Directory string `yaml:"directory" json:"directory,omitempty"`
	// Endpoint is the URL of an S3-compatible store, such as
	// https://s3.eu-central-1.amazonaws.com.
	Endpoint string `yaml:"endpoint" json:"endpoint,omitempty"`
	// Region is the store's region; the default is us-east-1.
	Region string `yaml:"region" json:"region,omitempty"`
	// Bucket is the bucket of the store. It must exist.
	Bucket string `yaml:"bucket" json:"bucket,omitempty"`
	// AccessKey says with SecretKey who klamm is.
	AccessKey secret.Ref `yaml:"access_key" json:"access_key,omitzero"`
	// SecretKey goes with AccessKey. Both are looked up anew every few minutes, and
	// when the store refuses them.
	SecretKey secret.Ref `yaml:"secret_key" json:"secret_key,omitzero"`
	// PathStyle puts the bucket into the path of requests instead of the host
	// name. Stores other than those of Amazon, Google and Alibaba are spoken to
	// like that in any case.
	PathStyle bool `yaml:"path_style" json:"path_style,omitempty"`
	// Key is the template of the objects' keys. It has the placeholders {pipe},
	// {topic}, {partition}, {first_offset}, {last_offset}, {year}, {month}, {day}
	// and {hour} of the first record's time in UTC, {ext} for the format, and
	// {digest}, which is another one for another choice of offsets. Topic,
	// partition and both offsets must be there; without {digest}, a replay of some
	// records can take the place of an object with all of them. The default is
	// {topic}/{year}/{month}/{day}/{partition}-{first_offset}-{last_offset}-{digest}.{ext}.
	Key string `yaml:"key" json:"key,omitempty"`
	// Format is ndjson, a value a line (the default), json, an array, csv or
	// parquet.
	Format string `yaml:"format" json:"format,omitempty"`
	// Compression is none, gzip or zstd. The default is none, and zstd within
	// parquet.
	Compression string `yaml:"compression" json:"compression,omitempty"`
	// CSV goes with the format csv.
	CSV *CSV `yaml:"csv" json:"csv,omitempty"`
	// Parquet goes with the format parquet.
	Parquet *Parquet `yaml:"parquet" json:"parquet,omitempty"`
}

// CSV says what a line of csv has (RFC 4180). Values must be JSON; others are
// given up.
type CSV struct {
	// Columns are the columns, from left to right; the default is topic,
	// partition, offset, timestamp in milliseconds, key and value.
	Columns []Column `yaml:"columns" json:"columns,omitempty"`
	// Header begins every object with a line of the columns' names.
	Header bool `yaml:"header" json:"header,omitempty"`
}

// Parquet says what a row of parquet has beside topic, partition, offset,
// timestamp, key, value and headers.
type Parquet struct {
	// Columns are further columns. Where they are picked from the value, values
	// must be JSON; others are given up.
	Columns []Column `yaml:"columns" json:"columns,omitempty"`
	// Value is what the column value holds: json (the default; values that are not
	// JSON are given up), or bytes, whatever they are.
	Value string `yaml:"value" json:"value,omitempty"`
}

// A Column is picked from each record.
type Column struct {
	// Name is the name of the column.
	Name string `yaml:"name" json:"name"`
	// Path is where it stands in the document of the record (topic, partition,
	// offset, timestamp, key, headers, value) or in $.body, which is what the pipe
	// delivers: $.value.customer.id.
	Path string `yaml:"path" json:"path"`
	// Type is what the column holds in parquet: text (the default), json, integer,
	// number or boolean. A record with another value there is given up; one
	// without has null.
	Type string `yaml:"type" json:"type,omitempty"`
}

// The formats and compressions.
const (
	formatJSON    = "json"
	formatLines   = "ndjson"
	formatCSV     = "csv"
	formatParquet = "parquet"

	compressNone = "none"
	compressGzip = "gzip"
	compressZstd = "zstd"
)

const (
	maxPath       = 4096
	maxURL        = 2048
	maxColumns    = 500
	maxColumnName = 128
)

var (
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	regionName = regexp.MustCompile(`^[A-Za-z0-9-]{0,64}$`)
)

// Validate reports each problem with the field it lies in.
func (c *Config) Validate(report func(path, problem string)) {
	switch {
	case (c.Directory == "") == (c.Endpoint == ""):
		report("", "want either directory: DIR, or endpoint: URL with bucket, access_key and secret_key")
	case c.Directory != "":
		c.validateDirectory(report)
	default:
		c.validateBucket(report)
	}
	if _, err := compile(c.Key, "pipe", "ext"); err != nil {
		report("key", err.Error())
	}
	switch c.Format {
	case "", formatLines, formatJSON, formatCSV, formatParquet:
	default:
		report("format", "want ndjson, json, csv or parquet")
	}
	switch c.Compression {
	case "", compressNone, compressGzip, compressZstd:
	default:
		report("compression", "want none, gzip or zstd")
	}
	if c.CSV != nil {
		if c.Format != formatCSV {
			report("csv", "goes with format: csv")
		}
		validateColumns(c.CSV.Columns, false, func(path, problem string) { report("csv."+path, problem) })
	}
	if c.Parquet != nil {
		if c.Format != formatParquet {
			report("parquet", "goes with format: parquet")
		}
		if v := c.Parquet.Value; v != "" && v != "json" && v != "bytes" {
			report("parquet.value", "want json or bytes")
		}
		validateColumns(c.Parquet.Columns, true, func(path, problem string) { report("parquet."+path, problem) })
	}
}

func (c *Config) validateDirectory(report func(path, problem string)) {
	if len(c.Directory) > maxPath || hasControl(c.Directory) {
		report("directory", "want the path of a directory, such as /var/lib/klamm/objects")
	}
	for _, other := range []struct {
		path string
		set  bool
	}{
		{"region", c.Region != ""}, {"bucket", c.Bucket != ""}, {"access_key", !c.AccessKey.IsZero()}, {"secret_key", !c.SecretKey.IsZero()}, {"path_style", c.PathStyle},
	} {
		if other.set {
			report(other.path, "goes with endpoint, not with directory")
		}
	}
}

func (c *Config) validateBucket(report func(path, problem string)) {
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || len(c.Endpoint) > maxURL || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		report("endpoint", "want http://HOST[:PORT] or https://HOST[:PORT]; the bucket has a key of its own")
	case u.User != nil:
		report("endpoint", "credentials do not belong into a URL; use access_key and secret_key")
	}
	if !bucketName.MatchString(c.Bucket) || strings.Contains(c.Bucket, "..") {
		report("bucket", "want the name of a bucket: 3 to 63 lower-case letters, digits, '.' and '-'")
	}
	if !regionName.MatchString(c.Region) {
		report("region", "want the name of a region, such as eu-central-1")
	}
	const want = "want a secret: {env: NAME}, {file: PATH} or {value: TEXT}"
	if c.AccessKey.IsZero() {
		report("access_key", want)
	}
	if c.SecretKey.IsZero() {
		report("secret_key", want)
	}
}

// fixed are the columns that parquet has anyway.
var fixed = map[string]bool{"topic": true, "partition": true, "offset": true, "timestamp": true, "key": true, "value": true, "headers": true}

func validateColumns(columns []Column, typed bool, report func(path, problem string)) {
	if len(columns) > maxColumns {
		report("columns", fmt.Sprintf("has %d entries; at most %d are allowed", len(columns), maxColumns))
	}
	seen := map[string]bool{}
	for i, c := range columns {
		at := fmt.Sprintf("columns[%d].", i)
		switch {
		case c.Name == "" || len(c.Name) > maxColumnName || !utf8.ValidString(c.Name) || hasControl(c.Name):
			report(at+"name", fmt.Sprintf("want a name of 1 to %d characters", maxColumnName))
		case seen[c.Name]:
			report(at+"name", "there is a column of that name already")
		case typed && fixed[c.Name]:
			report(at+"name", "every row has this column already; choose another name")
		}
		seen[c.Name] = true
		var paths transform.Paths
		if err := addPath(&paths, c.Path); err != nil {
			report(at+"path", err.Error())
		}
		switch {
		case !typed && c.Type != "":
			report(at+"type", "goes with parquet; csv is text")
		case kinds[c.Type] == nil:
			report(at+"type", "want text, json, integer, number or boolean")
		}
	}
}

// addPath adds a path that nothing follows.
func addPath(paths *transform.Paths, path string) error {
	_, rest, err := transform.CutPath(path)
	if err != nil || rest != "" {
		return fmt.Errorf("want a path, such as $.value.id")
	}
	_, err = paths.Add(path)
	return err
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// extension is what {ext} stands for.
func (c *Config) extension() string {
	ext := c.Format
	if ext == "" {
		ext = formatLines
	}
	switch {
	case c.Format == formatParquet: // compressed within
	case c.Compression == compressGzip:
		ext += ".gz"
	case c.Compression == compressZstd:
		ext += ".zst"
	}
	return ext
}

// mediaType is that of the objects.
func (c *Config) mediaType() string {
	switch {
	case c.Format == formatParquet:
		return "application/vnd.apache.parquet"
	case c.Compression == compressGzip:
		return "application/gzip"
	case c.Compression == compressZstd:
		return "application/zstd"
	case c.Format == formatJSON:
		return "application/json"
	case c.Format == formatCSV:
		return "text/csv; charset=utf-8"
	default:
		return "application/x-ndjson"
	}
}
