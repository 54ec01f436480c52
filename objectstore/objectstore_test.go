package objectstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

var testKey = Credential{AccessKey: "KLAMMTEST", SecretKey: "not a secret"}

// serve starts a server over a directory with the buckets one and two.
func serve(t *testing.T) (directory, address string) {
	t.Helper()
	directory = t.TempDir()
	for _, name := range []string{"one", "two"} {
		if err := os.Mkdir(filepath.Join(directory, name), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	d, err := openDirectory(directory)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(d, testKey, "eu-west-3", slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Close(context.Background()), <-done); err != nil {
			t.Error(err)
		}
	})
	return directory, l.Addr().String()
}

// client returns a client that others have written.
func client(t *testing.T, address string, key Credential) *minio.Core {
	t.Helper()
	c, err := minio.NewCore(address, &minio.Options{Creds: credentials.NewStaticV4(key.AccessKey, key.SecretKey, ""), Region: "eu-west-3", TrailingHeaders: true, MaxRetries: 1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func code(err error) string { return minio.ToErrorResponse(err).Code }

func TestObjectsComeBackAsTheyWere(t *testing.T) {
	directory, address := serve(t)
	c := client(t, address, testKey)
	ctx := t.Context()
	large := make([]byte, 1<<20+7)
	for i := range large {
		large[i] = byte(rand.IntN(256)) //nolint:gosec // any bytes will do
	}
	content := map[string][]byte{
		"a/b.csv": []byte("1,2\n"), "customer 2026-01-02 03:04:05.csv": []byte("ü"), "a/%2F+ &?=.txt": []byte("odd"), "empty": {}, "large": large, "plain/%2F+ &?=.txt": []byte("plain"),
		"a": []byte("beginning of others"), "a/b.csv/c": []byte("below an object"), "../../outside": []byte("x"), "a//b": []byte("empty segment"), "/begin": []byte("y"),
		"folder/": {}, strings.Repeat("long", 250): []byte("long"), ".klamm-e-2e": []byte("as ours"), "line\nend": []byte("z"), "ends/.": []byte("dot"),
	}
	for _, key := range slices.Sorted(maps.Keys(content)) {
		options := minio.PutObjectOptions{ContentType: "text/x-" + fmt.Sprint(len(key)), UserMetadata: map[string]string{"Origin": "test"}}
		if _, err := c.Client.PutObject(ctx, "one", key, bytes.NewReader(content[key]), int64(len(content[key])), options); err != nil {
			t.Fatalf("put %q: %v", key, err)
		}
	}
	got := map[string][]byte{}
	for o := range c.ListObjectsIter(ctx, "one", minio.ListObjectsOptions{Recursive: true, MaxKeys: 3}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		r, info, _, err := c.GetObject(ctx, "one", o.Key, minio.GetObjectOptions{})
		if err != nil {
			t.Fatalf("get %q: %v", o.Key, err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Close()
		got[o.Key] = b
		if info.ContentType != "text/x-"+fmt.Sprint(len(o.Key)) || info.UserMetadata["Origin"] != "test" || info.ETag != o.ETag || o.Size != int64(len(b)) {
			t.Errorf("%q: %+v, listed as %+v", o.Key, info, o)
		}
	}
	if diff := cmp.Diff(content, got); diff != "" {
		t.Error(diff)
	}
	if text, err := os.ReadFile(filepath.Join(directory, "one/plain/%2F+ &?=.txt")); string(text) != "plain" {
		t.Error("not where people look for it", err)
	}
	if left, _ := filepath.Glob(filepath.Join(directory, "..", "outside")); len(left) > 0 {
		t.Error("a key led out of the store")
	}
	for key := range content {
		if err := c.RemoveObject(ctx, "one", key, minio.RemoveObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(filepath.Join(directory, "one"))
	if err != nil || len(left) > 0 {
		t.Error("left behind:", left, err)
	}
}

func TestListing(t *testing.T) {
	_, address := serve(t)
	c := client(t, address, testKey)
	keys := []string{"a", "a-b", "a/x", "a/y/1", "a/y/2", "a0", "b", "c/d/e", "c/d/f"}
	for _, key := range keys {
		if _, err := c.Client.PutObject(t.Context(), "two", key, strings.NewReader(key), int64(len(key)), minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		prefix, delimiter, after string
		want                     []string
	}{
		"all, in the order of keys":   {want: keys},
		"prefix within a name":        {prefix: "a", want: []string{"a", "a-b", "a/x", "a/y/1", "a/y/2", "a0"}},
		"prefix of a folder":          {prefix: "a/y/", want: []string{"a/y/1", "a/y/2"}},
		"prefix of nothing":           {prefix: "a/z"},
		"folders":                     {delimiter: "/", want: []string{"a", "a-b", "a/", "a0", "b", "c/"}},
		"folders of a folder":         {prefix: "a/", delimiter: "/", want: []string{"a/x", "a/y/"}},
		"another delimiter":           {delimiter: "/d", want: []string{"a", "a-b", "a/x", "a/y/1", "a/y/2", "a0", "b", "c/d"}},
		"behind a key":                {after: "a/y/1", want: []string{"a/y/2", "a0", "b", "c/d/e", "c/d/f"}},
		"behind a key not there":      {after: "a/w", want: []string{"a/x", "a/y/1", "a/y/2", "a0", "b", "c/d/e", "c/d/f"}},
		"folders behind one of them":  {after: "a/", delimiter: "/", want: []string{"a0", "b", "c/"}},
		"folders from the middle one": {after: "a/x", delimiter: "/", want: []string{"a0", "b", "c/"}},
	}
	for name, tt := range tests {
		for _, most := range []int{1, 2, 1000} {
			t.Run(fmt.Sprint(name, " by ", most), func(t *testing.T) {
				var got []string
				for after, token := tt.after, ""; ; after = "" {
					p, err := c.ListObjectsV2("two", tt.prefix, after, token, tt.delimiter, most)
					if err != nil {
						t.Fatal(err)
					}
					var both []string
					for _, o := range p.Contents {
						both = append(both, o.Key)
					}
					for _, o := range p.CommonPrefixes {
						both = append(both, o.Prefix)
					}
					slices.Sort(both)
					got = append(got, both...)
					if token = p.NextContinuationToken; !p.IsTruncated {
						break
					}
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestUploadInParts(t *testing.T) {
	directory, address := serve(t)
	c := client(t, address, testKey)
	ctx := t.Context()
	id, err := c.NewMultipartUpload(ctx, "one", "big", minio.PutObjectOptions{ContentType: "text/plain"})
	if err != nil {
		t.Fatal(err)
	}
	first, second := bytes.Repeat([]byte("a"), minPart), []byte("end")
	var parts []minio.CompletePart
	for i, content := range [][]byte{[]byte("to be replaced"), first, second} {
		n := max(1, i)
		p, err := c.PutObjectPart(ctx, "one", "big", id, n, bytes.NewReader(content), int64(len(content)), minio.PutObjectPartOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			parts = append(parts, minio.CompletePart{PartNumber: n, ETag: p.ETag})
		}
	}
	if listed, err := c.ListObjectParts(ctx, "one", "big", id, 0, 10); err != nil || len(listed.ObjectParts) != 2 || listed.ObjectParts[0].Size != minPart {
		t.Error(listed, err)
	}
	if _, err := c.StatObject(ctx, "one", "big", minio.StatObjectOptions{}); code(err) != "NoSuchKey" {
		t.Error("there before it is complete:", err)
	}
	wrong := slices.Clone(parts)
	wrong[0].ETag = strings.Repeat("0", 32)
	if _, err := c.CompleteMultipartUpload(ctx, "one", "big", id, wrong, minio.PutObjectOptions{}); code(err) != "InvalidPart" {
		t.Error(err)
	}
	if _, err := c.CompleteMultipartUpload(ctx, "one", "other", id, parts, minio.PutObjectOptions{}); code(err) != "NoSuchUpload" {
		t.Error(err)
	}
	done, err := c.CompleteMultipartUpload(ctx, "one", "big", id, parts, minio.PutObjectOptions{})
	if err != nil || !strings.HasSuffix(done.ETag, "-2") {
		t.Fatal(done, err)
	}
	info, err := c.StatObject(ctx, "one", "big", minio.StatObjectOptions{})
	if err != nil || info.Size != minPart+3 || info.ContentType != "text/plain" || info.ETag != done.ETag {
		t.Error(info, err)
	}
	id, err = c.NewMultipartUpload(ctx, "one", "given up", minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if up, err := c.ListMultipartUploads(ctx, "one", "", "", "", "", 10); err != nil || len(up.Uploads) != 1 || up.Uploads[0].Key != "given up" {
		t.Error(up, err)
	}
	if err := c.AbortMultipartUpload(ctx, "one", "given up", id); err != nil {
		t.Error(err)
	}
	if _, err := c.PutObjectPart(ctx, "one", "given up", id, 1, strings.NewReader("x"), 1, minio.PutObjectPartOptions{}); code(err) != "NoSuchUpload" {
		t.Error(err)
	}
	for _, odd := range []string{"../two", "../../x", ""} {
		if _, err := c.PutObjectPart(ctx, "one", "big", odd, 1, strings.NewReader("x"), 1, minio.PutObjectPartOptions{}); err == nil {
			t.Errorf("upload %q was taken", odd)
		}
	}
	left, err := os.ReadDir(filepath.Join(directory, "one"))
	if err != nil || len(left) != 1 {
		t.Error("left behind:", left, err)
	}
}

func TestCopyRangesAndConditions(t *testing.T) {
	_, address := serve(t)
	c := client(t, address, testKey)
	ctx := t.Context()
	put, err := c.Client.PutObject(ctx, "one", "from", strings.NewReader("0123456789"), 10, minio.PutObjectOptions{ContentType: "text/plain", UserMetadata: map[string]string{"K": "v"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Client.CopyObject(ctx, minio.CopyDestOptions{Bucket: "two", Object: "to/ü +"}, minio.CopySrcOptions{Bucket: "one", Object: "from"}); err != nil {
		t.Fatal(err)
	}
	info, err := c.StatObject(ctx, "two", "to/ü +", minio.StatObjectOptions{})
	if err != nil || info.ETag != put.ETag || info.ContentType != "text/plain" || info.UserMetadata["K"] != "v" {
		t.Errorf("%+v, %v", info, err)
	}
	tests := map[string]struct {
		set  func(*minio.GetObjectOptions) error
		want string // the content, or the code of the error
	}{
		"first bytes":          {func(o *minio.GetObjectOptions) error { return o.SetRange(0, 2) }, "012"},
		"last bytes":           {func(o *minio.GetObjectOptions) error { return o.SetRange(0, -3) }, "789"},
		"to the end":           {func(o *minio.GetObjectOptions) error { return o.SetRange(8, 0) }, "89"},
		"behind the end":       {func(o *minio.GetObjectOptions) error { return o.SetRange(10, 0) }, "InvalidRange"},
		"the tag it has":       {func(o *minio.GetObjectOptions) error { return o.SetMatchETag(put.ETag) }, "0123456789"},
		"another tag":          {func(o *minio.GetObjectOptions) error { return o.SetMatchETag("x") }, "PreconditionFailed"},
		"not the tag it has":   {func(o *minio.GetObjectOptions) error { return o.SetMatchETagExcept(put.ETag) }, "NotModified"},
		"unchanged since then": {func(o *minio.GetObjectOptions) error { return o.SetUnmodified(time.Now().Add(-time.Hour)) }, "PreconditionFailed"},
		"changed since":        {func(o *minio.GetObjectOptions) error { return o.SetModified(time.Now().Add(time.Hour)) }, "NotModified"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var o minio.GetObjectOptions
			if err := tt.set(&o); err != nil {
				t.Fatal(err)
			}
			r, _, _, err := c.GetObject(ctx, "one", "from", o)
			if err != nil {
				if got := minio.ToErrorResponse(err); got.Code != tt.want && !(tt.want == "NotModified" && got.StatusCode == http.StatusNotModified) {
					t.Errorf("got %v, want %s", err, tt.want)
				}
				return
			}
			defer r.Close()
			if b, err := io.ReadAll(r); err != nil || string(b) != tt.want {
				t.Errorf("got %q, %v, want %q", b, err, tt.want)
			}
		})
	}
	once := minio.PutObjectOptions{}
	once.SetMatchETagExcept("*")
	if _, err := c.Client.PutObject(ctx, "one", "from", strings.NewReader("x"), 1, once); code(err) != "PreconditionFailed" {
		t.Error("written over:", err)
	}
}

func TestWhatIsRefused(t *testing.T) {
	directory, address := serve(t)
	c := client(t, address, testKey)
	ctx := t.Context()
	put := func(c *minio.Core, bucket, key string) error {
		_, err := c.Client.PutObject(ctx, bucket, key, strings.NewReader("x"), 1, minio.PutObjectOptions{})
		return err
	}
	if err := os.WriteFile(filepath.Join(directory, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..", filepath.Join(directory, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(directory, "one", "passwd")); err != nil {
		t.Fatal(err)
	}
	_, err := c.StatObject(ctx, "one", "passwd", minio.StatObjectOptions{})
	_, _, _, getErr := c.GetObject(ctx, "one", "nothing", minio.GetObjectOptions{})
	_, versioningErr := c.GetBucketVersioning(ctx, "one")
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"another key":             {put(client(t, address, Credential{"OTHER", testKey.SecretKey}), "one", "k"), "InvalidAccessKeyId"},
		"another secret":          {put(client(t, address, Credential{testKey.AccessKey, "guess"}), "one", "k"), "SignatureDoesNotMatch"},
		"a bucket not there":      {put(c, "none", "k"), "NoSuchBucket"},
		"a bucket that is a file": {put(c, "file", "k"), "NoSuchBucket"},
		"a bucket that is a link": {put(c, "link", "k"), "NoSuchBucket"},
		"a link out":              {err, "NoSuchKey"},
		"an object not there":     {getErr, "NoSuchKey"},
		"what there is not":       {versioningErr, "NotImplemented"},
	} {
		if code(tt.err) != tt.want {
			t.Errorf("%s: %v, want %s", name, tt.err, tt.want)
		}
	}
	r, err := http.Get("http://" + address + "/one/k")
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusForbidden {
		t.Error("without a signature:", r.StatusCode)
	}
	if text, err := os.ReadDir(filepath.Join(directory, "one")); err != nil || len(text) != 1 {
		t.Error("something was written:", text, err)
	}
}

func TestSignedURL(t *testing.T) {
	_, address := serve(t)
	c := client(t, address, testKey)
	u, err := c.PresignedPutObject(t.Context(), "one", "a b/ü", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, u.String(), strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if _ = answer.Body.Close(); answer.StatusCode != http.StatusOK {
		t.Error(answer.Status)
	}
	if _, err := c.StatObject(t.Context(), "one", "a b/ü", minio.StatObjectOptions{}); err != nil {
		t.Error(err)
	}
}

// Files that people put into a bucket are objects, too; what is neither a file nor a
// directory is not.
func TestFilesPutThereByHand(t *testing.T) {
	directory, address := serve(t)
	c := client(t, address, testKey)
	at := filepath.Join(directory, "one", "by hand.txt")
	if err := os.WriteFile(at, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := c.StatObject(t.Context(), "one", "by hand.txt", minio.StatObjectOptions{})
	if err != nil || before.Size != 5 || before.ETag == "" {
		t.Fatal(before, err)
	}
	if _, err := c.Client.PutObject(t.Context(), "one", "by hand.txt", strings.NewReader("by program"), 10, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	put, err := c.StatObject(t.Context(), "one", "by hand.txt", minio.StatObjectOptions{})
	if err != nil || put.ETag == before.ETag {
		t.Fatal(put, err)
	}
	if err := os.WriteFile(at, []byte("by somebody else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if after, err := c.StatObject(t.Context(), "one", "by hand.txt", minio.StatObjectOptions{}); err != nil || after.ETag == put.ETag {
		t.Error("the tag is the one of what was there before", after, err)
	}
}

func TestManyWritersOfOneTree(t *testing.T) {
	directory, _ := serve(t)
	d, err := openDirectory(directory)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	const writers = 8
	for n := range writers {
		go func() {
			var err error
			for i := range 20 {
				// The same names are objects for some and directories for others.
				key := []string{"x", "x/y", "x/y/z"}[(n+i)%3]
				err = errors.Join(err, d.Put("one", key, "text/plain", strings.NewReader(key)))
				if i%5 == 4 {
					b, openErr := d.bucket("one")
					err = errors.Join(err, openErr, b.remove(key), b.Close())
				}
			}
			done <- err
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	b, err := d.bucket("one")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	l, err := b.list(query{most: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range l.objects {
		if got, err := b.open(o.key); err != nil {
			t.Error(o.key, err)
		} else {
			_ = got.Close()
		}
	}
}

func FuzzKeysArePlacesOfTheirOwn(f *testing.F) {
	for _, key := range []string{"a/b", "..", "a//b/", ".klamm-d-x", "x/.klamm-o-x", strings.Repeat("ab", 200)} {
		f.Add(key)
	}
	root := f.TempDir()
	if err := os.Mkdir(filepath.Join(root, "one"), 0o750); err != nil {
		f.Fatal(err)
	}
	d, err := openDirectory(root)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if checkKey(key) != nil {
			return
		}
		if err := d.Put("one", key, "text/plain", strings.NewReader(key)); err != nil {
			if len(key) > 500 { // more names than a path may have
				return
			}
			t.Fatal(err)
		}
		b, err := d.bucket("one")
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		l, err := b.list(query{most: 1000})
		if err != nil || len(l.objects) != 1 || l.objects[0].key != key {
			t.Fatalf("%q is listed as %v, %v", key, l.objects, err)
		}
		if err := b.remove(key); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(filepath.Join(root, "one")); err != nil || len(left) > 0 {
			t.Fatalf("%q left %v, %v", key, left, err)
		}
	})
}
