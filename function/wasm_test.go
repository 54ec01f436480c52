package function

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// wasmCommand assembles a WASI command that reads up to 4096 bytes of its standard
// input and does what the first says: X exits with 3, T traps, L loops, M grows its
// memory by 64 MiB and writes there, F writes without end; anything else is written
// back.
func wasmCommand() []byte {
	var (
		leb = func(n int) []byte { // unsigned
			var b []byte
			for {
				c := byte(n & 0x7f)
				if n >>= 7; n == 0 {
					return append(b, c)
				}
				b = append(b, c|0x80)
			}
		}
		section = func(id byte, parts ...[]byte) []byte {
			body := slices.Concat(parts...)
			return slices.Concat([]byte{id}, leb(len(body)), body)
		}
		text = func(s string) []byte { return append(leb(len(s)), s...) }
		i32  = func(n int) []byte { // signed
			b := []byte{0x41}
			for {
				c := byte(n & 0x7f)
				if n >>= 7; n == 0 && c&0x40 == 0 {
					return append(b, c)
				}
				b = append(b, c|0x80)
			}
		}
		store = func(at int, value []byte) []byte { return slices.Concat(i32(at), value, []byte{0x36, 2, 0}) }
		load  = func(at int) []byte { return slices.Concat(i32(at), []byte{0x28, 2, 0}) }
		call  = func(f byte) []byte { return []byte{0x10, f} }
		write = slices.Concat(i32(1), i32(0), i32(1), i32(8), call(1)) // fd_write(1, iovec at 0, 1, count at 8)
		when  = func(letter byte, do []byte) []byte {
			return slices.Concat(i32(1024), []byte{0x2d, 0, 0}, i32(int(letter)), []byte{0x46, 0x04, 0x40}, do, []byte{0x0b})
		}
		wasi = func(name string, kind byte) []byte {
			return slices.Concat(text("wasi_snapshot_preview1"), text(name), []byte{0, kind})
		}
	)
	main := slices.Concat([]byte{0}, // no locals
		store(0, i32(1024)), store(4, i32(4096)),
		i32(0), i32(0), i32(1), i32(8), call(0), []byte{0x1a}, // fd_read(0, ...), dropped
		store(4, load(8)),
		when('X', slices.Concat(i32(3), call(2))),
		when('T', []byte{0x00}),
		when('L', []byte{0x03, 0x40, 0x0c, 0, 0x0b}),
		when('M', slices.Concat(i32(1024), []byte{0x40, 0}, i32(16), []byte{0x74}, i32(1), []byte{0x36, 2, 0})), // at the page that grow returned
		when('F', slices.Concat([]byte{0x03, 0x40}, store(4, i32(60000)), write, []byte{0x1a, 0x0c, 0, 0x0b})),
		write, []byte{0x1a, 0x0b})
	return slices.Concat([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, leb(3), []byte{0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f}, []byte{0x60, 1, 0x7f, 0}, []byte{0x60, 0, 0}),
		section(2, leb(3), wasi("fd_read", 0), wasi("fd_write", 0), wasi("proc_exit", 1)),
		section(3, leb(1), []byte{2}),
		section(5, leb(1), []byte{0, 2}),
		section(7, leb(2), text("memory"), []byte{2, 0}, text("_start"), []byte{0, 3}),
		section(10, leb(1), leb(len(main)), main))
}

func TestWebAssembly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f.wasm")
	if err := os.WriteFile(file, wasmCommand(), 0o600); err != nil {
		t.Fatal(err)
	}
	h := host(t, func(_ *Config, d *Definition) { d.Wasm, d.Timeout, d.Memory = file, 3*time.Second, 32 })
	for _, c := range []struct{ in, error, want string }{
		{"hello", "", "hello"}, {"", "", ""}, {"X", "Runtime.ExitError", "exit status 3"}, {"T", "Runtime.Trap", "unreachable"},
		{"L", "Sandbox.Timedout", "timed out after 3.00"}, {"M", "Runtime.Trap", "out of bounds"}, {"F", "", ""}, {"again", "", "again"},
	} {
		out, err := h.Invoke(t.Context(), "f", Invocation{Payload: []byte(c.in)})
		if err != nil {
			t.Fatal(err)
		}
		var doc struct{ ErrorMessage, ErrorType string }
		_ = json.Unmarshal(out.Payload, &doc)
		switch {
		case c.in == "F": // it is stopped, or the answer is refused
			if out.Error == "" {
				t.Errorf("F: got %d bytes", len(out.Payload))
			}
		case c.error == "" && (out.Error != "" || string(out.Payload) != c.want):
			t.Errorf("%s: got %q, %q", c.in, out.Error, out.Payload)
		case c.error != "" && (doc.ErrorType != c.error || !strings.Contains(doc.ErrorMessage, c.want)):
			t.Errorf("%s: got %q, %s", c.in, out.Error, out.Payload)
		}
	}
	for _, content := range []string{"", "\x00asm\x01\x00\x00\x00\x01", "no module"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		h := host(t, func(_ *Config, d *Definition) { d.Wasm = file })
		if _, err := h.Invoke(t.Context(), "f", Invocation{}); err == nil || !strings.Contains(err.Error(), "Runtime.InvalidEntrypoint") {
			t.Errorf("%q: got %v", content, err)
		}
	}
}

// wasmReactor assembles a module that gives back the event it is called with: as a
// failure if it begins with E; with T it traps, and with O its answer lies outside.
func wasmReactor() []byte {
	begins := func(letter byte) []byte { // whether the event does
		return []byte{0x20, 0, 0x2d, 0, 0, 0x41, letter&0x7f | 0x80, 0, 0x46}
	}
	handle := slices.Concat([]byte{0},
		begins('T'), []byte{0x04, 0x40, 0x00, 0x0b}, // if: unreachable
		begins('O'), []byte{0x04, 0x40, 0x42, 0x7f, 0x0f, 0x0b}, // if: return -1
		[]byte{0x20, 0, 0xad, 0x42, 32, 0x86, 0x20, 1, 0xad, 0x84}, // place << 32 | length
		begins('E'), []byte{0xad, 0x42, 31, 0x86, 0x84, 0x0b}, // | failure << 31
	)
	section := func(id byte, parts ...[]byte) []byte {
		body := slices.Concat(parts...)
		return slices.Concat([]byte{id, byte(len(body))}, body)
	}
	export := func(name string, kind, index byte) []byte {
		return slices.Concat([]byte{byte(len(name))}, []byte(name), []byte{kind, index})
	}
	return slices.Concat([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, []byte{2, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 2, 0x7f, 0x7f, 1, 0x7e}),
		section(3, []byte{2, 0, 1}),
		section(5, []byte{1, 0, 2}),
		section(7, []byte{3}, export("memory", 2, 0), export("klamm_alloc", 0, 0), export("klamm_handle", 0, 1)),
		section(10, []byte{2, 5, 0, 0x41, 0x80, 8, 0x0b, byte(len(handle))}, handle),
	)
}

func TestWebAssemblyThatIsCalled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.wasm")
	if err := os.WriteFile(file, wasmReactor(), 0o600); err != nil {
		t.Fatal(err)
	}
	h := host(t, func(_ *Config, d *Definition) {
		*d = Definition{Name: "f", Wasm: file, Timeout: time.Minute}
	})
	for _, c := range []struct{ name, event, error, want string }{
		{"gives back", `{"a":1}`, "", `{"a":1}`},
		{"empty", "", "", ""},
		{"refuses", "E no", "Unhandled", `{"errorMessage":"E no","errorType":"Function.Unknown"}`},
		{"traps", "T", "Unhandled", "Runtime.Trap"},
		{"lies", "O", "Unhandled", "outside of the memory"},
		{"too long for its memory", strings.Repeat("x", 200<<10), "Unhandled", "outside of the memory"},
	} {
		out, err := h.Invoke(t.Context(), "f", Invocation{Payload: []byte(c.event)})
		if err != nil || out.Error != c.error || !strings.Contains(string(out.Payload), c.want) || c.error == "" && string(out.Payload) != c.want {
			t.Errorf("%s: got %q, %.200s, %v", c.name, out.Error, out.Payload, err)
		}
	}
}

// What was compiled once is on the disk, and is what runs after a restart; what cannot be
// kept is compiled each time.
func TestCompiledModulesAreKept(t *testing.T) {
	file, modules := filepath.Join(t.TempDir(), "f.wasm"), filepath.Join(t.TempDir(), "modules")
	if err := os.WriteFile(file, wasmCommand(), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(modules string) {
		t.Helper()
		h := host(t, func(cfg *Config, d *Definition) {
			cfg.Modules = modules
			*d = Definition{Name: "f", Wasm: file, Timeout: time.Minute, Memory: 64}
		})
		out, err := h.Invoke(t.Context(), "f", Invocation{Payload: []byte(`"é"`)})
		if err != nil || out.Error != "" || string(out.Payload) != `"é"` {
			t.Errorf("got %v, %q %s", err, out.Error, out.Payload)
		}
		h.Close(t.Context())
	}
	kept := func() (files []string) {
		_ = filepath.WalkDir(modules, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				info, _ := d.Info()
				files = append(files, path+info.ModTime().String())
			}
			return nil
		})
		return files
	}
	run(modules)
	first := kept()
	run(modules)
	if again := kept(); len(first) == 0 || !slices.Equal(first, again) {
		t.Errorf("kept %q, then %q", first, again)
	}
	run(file) // which is no directory
}

func TestVariablesOfModulesDoNotWin(t *testing.T) {
	got := moduleEnvironment(Definition{Handler: "h", Environment: map[string]string{"MINE": "1", "_HANDLER": "x", "KLAMM_REQUEST_ID": "x", "KLAMM_DEADLINE_MS": "x"}}, "id", time.UnixMilli(1700))
	want := map[string]string{"MINE": "1", "_HANDLER": "h", "KLAMM_REQUEST_ID": "id", "KLAMM_DEADLINE_MS": "1700"}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
