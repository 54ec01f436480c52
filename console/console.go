// Package console is the web console: files for a browser, embedded in the program.
//
// It is a client of the HTTP APIs like any other: it has no API of its own and no rights
// of its own, and acts as the person who is signed in. Its files are written by hand (ES
// modules and CSS) and served as they lie here, so that go build is the whole build.
// CONTRIBUTING.md says how a screen is made.
package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
)

//go:embed assets
var assets embed.FS

// Prefix is the path under which all files of the console lie but the first page.
const Prefix = "/klamm/console/"

// policy is what a browser may do on behalf of the console: load what comes with it and
// ask this server, nothing else; no script or style within a page; no other page may
// show it in a frame.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// file is one file as it is sent.
type file struct {
	kind   string
	etag   string
	plain  []byte
	packed []byte // with gzip
}

var files = sync.OnceValue(load)

func load() map[string]file {
	all := map[string]file{}
	err := fs.WalkDir(assets, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := assets.ReadFile(name)
		if err != nil {
			return err
		}
		var packed bytes.Buffer
		w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		_, _ = w.Write(data)
		_ = w.Close()
		sum := sha256.Sum256(data)
		all[strings.TrimPrefix(name, "assets/")] = file{
			kind: kinds[path.Ext(name)], etag: `"` + hex.EncodeToString(sum[:8]) + `"`, plain: data, packed: packed.Bytes(),
		}
		return nil
	})
	if err != nil { // the files are in the program; only a broken build gets here
		panic(err)
	}
	return all
}

// kinds are the media types of what there is. The types of the machine are not asked:
// some have none for modules.
var kinds = map[string]string{
	".html": mime.FormatMediaType("text/html", map[string]string{"charset": "utf-8"}),
	".css":  mime.FormatMediaType("text/css", map[string]string{"charset": "utf-8"}),
	".js":   mime.FormatMediaType("text/javascript", map[string]string{"charset": "utf-8"}),
	".svg":  "image/svg+xml",
}

// Wants says whether a call of / comes from somebody who wants to see the console: a
// browser asks for text/html, the clients of the APIs do not.
func Wants(r *http.Request) bool {
	for accept := range strings.SplitSeq(strings.Join(r.Header["Accept"], ","), ",") {
		kind, _, _ := strings.Cut(accept, ";")
		if strings.EqualFold(strings.TrimSpace(kind), "text/html") {
			return true
		}
	}
	return false
}

// Serve answers a call for a file of the console: path is what follows Prefix; the empty
// path is the first page. What does not exist is 404 with plain text.
func Serve(w http.ResponseWriter, r *http.Request, path string) {
	if path == "" {
		path = "index.html"
	}
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	f, ok := files()[path]
	if !ok {
		http.Error(w, "the console has no such file", http.StatusNotFound)
		return
	}
	h.Set("Cache-Control", "no-cache") // asked for again each time, and mostly answered 304
	h.Set("ETag", f.etag)
	h.Set("Vary", "Accept, Accept-Encoding")
	if strings.Contains(r.Header.Get("If-None-Match"), f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", f.kind)
	data := f.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		data = f.packed
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(data)
	}
}
