package confluent2

import (
	"flag"
	"os"
	"testing"
)

// TestMain runs more tests at a time than there are processors: most of them
// wait, for timeouts of reads and for groups that hand out partitions.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
