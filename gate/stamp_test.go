package gate

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestStampsCannotBeForged has a caller who has written the header of klamm's, in some
// spellings.
func TestStampsCannotBeForged(t *testing.T) {
	header := func(name, value string) kgo.RecordHeader {
		return kgo.RecordHeader{Key: name, Value: []byte(value)}
	}
	usual, off := Principal{Name: "User:alice"}, Principal{Name: "User:alice"}.Stamped(false)
	on := Principal{Name: "User:alice"}.Stamped(true)
	for _, c := range []struct {
		name string
		as   *Stamping
		who  Principal
		want string
	}{
		{"nothing is said", nil, usual, "a=1 klamm-principal=User:root Klamm-Principal=x b=2"},
		{"nowhere", &Stamping{}, usual, "a=1 klamm-principal=User:root Klamm-Principal=x b=2"},
		{"usually", &Stamping{Usual: true, Somewhere: true}, usual, "a=1 b=2 klamm-principal=User:alice"},
		{"usually, not here", &Stamping{Usual: true, Somewhere: true}, off, "a=1 b=2"},
		{"elsewhere", &Stamping{Somewhere: true}, usual, "a=1 b=2"},
		{"here", &Stamping{Somewhere: true}, on, "a=1 b=2 klamm-principal=User:alice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := New(nil)
			if c.as != nil {
				g.Stamp(*c.as)
			}
			shared := []kgo.RecordHeader{header("a", "1"), header("klamm-principal", "User:root"), header("Klamm-Principal", "x"), header("b", "2")}
			records := []*kgo.Record{{Headers: shared}, {Headers: shared}}
			g.stamp(&c.who, records)
			for _, r := range records {
				got := ""
				for _, h := range r.Headers {
					got += fmt.Sprintf(" %s=%s", h.Key, h.Value)
				}
				if got != " "+c.want {
					t.Errorf("got%s, want %s", got, c.want)
				}
			}
		})
	}
}
