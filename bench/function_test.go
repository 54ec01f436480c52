package bench

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestMain lets the test's own binary play the roles.
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "bench" && os.Args[2] == "role" {
		if err := Role(context.Background(), os.Args[3], os.Args[4], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestFunctionOptions(t *testing.T) {
	for name, change := range map[string]func(*FunctionOptions){
		"no calls":           func(o *FunctionOptions) { o.Calls = 0 },
		"no starts":          func(o *FunctionOptions) { o.Starts = 0 },
		"too many instances": func(o *FunctionOptions) { o.Resident = 10_000 },
		"unknown runtime":    func(o *FunctionOptions) { o.Directory, o.Runtime = "x", "cobol" },
	} {
		o := DefaultFunctions()
		change(&o)
		if o.Validate() == nil {
			t.Error(name)
		}
	}
	if err := DefaultFunctions().Validate(); err != nil {
		t.Error(err)
	}
}

func TestFunctionsAreMeasured(t *testing.T) {
	needLinux(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Functions(t.Context(), FunctionOptions{Calls: 20, Rounds: 1, Records: 3, Starts: 2, Resident: 2, Seconds: 1, Executable: self})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Calls) != 2 || r.Calls[1].Direct <= 0 || r.Calls[1].Invoke <= 0 || len(r.Starts) != 1 || r.Starts[0].Median <= 0 || r.Idle == nil || r.Idle.Instances != 2 {
		t.Errorf("%+v", r)
	}
	var table strings.Builder
	if err := r.WriteTable(&table); err != nil || !strings.Contains(table.String(), "an event of 3 records") {
		t.Error(table.String(), err)
	}
}
