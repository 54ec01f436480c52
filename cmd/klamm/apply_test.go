package main

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// An export makes its directory, and what it writes is what klamm apply reads. Pipes of
// the configuration file are left out.
func TestExportIntoADirectoryThatThereIsNot(t *testing.T) {
	s := serveAPI(t, http.StatusOK, "application/json", `{"definitions":[
		{"pipe":"p","origin":"catalog","definition":{"name":"p","topics":["t"],"target":{"topic":{"name":"u"}}}},
		{"pipe":"q","origin":"file","definition":{"name":"q"}}]}`)
	to := filepath.Join(t.TempDir(), "all", "pipes")
	if out, errs, status := operate(t, "export", "--to", to, "--server", s.url); status != 0 || out != "" || errs != "" {
		t.Fatalf("exit %d, output %q, %q", status, out, errs)
	}
	files, err := os.ReadDir(to)
	if err != nil || len(files) != 1 || files[0].Name() != "p.json" {
		t.Fatalf("got %v, %v; want p.json alone", files, err)
	}
	all, err := definitionsOf(to)
	if err != nil || len(all) != 1 || all["p"] == nil {
		t.Errorf("got %v, %v; want the definition of p", all, err)
	}
}
