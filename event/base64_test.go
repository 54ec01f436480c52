package event

import (
	"encoding/base64"
	"math/rand/v2"
	"testing"
)

func TestBase64IsThatOfTheStandardLibrary(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same bytes each time
	for n := range 300 {
		in := make([]byte, n)
		for i := range in {
			in[i] = byte(random.Uint32())
		}
		for _, dst := range []string{"", "before"} {
			if got, want := string(appendEncoded([]byte(dst), in)), dst+base64.StdEncoding.EncodeToString(in); got != want {
				t.Fatalf("%x becomes %s, want %s", in, got, want)
			}
		}
	}
}

func BenchmarkBase64(b *testing.B) {
	in, out := make([]byte, 1000), make([]byte, 0, 2000)
	for i := range in {
		in[i] = byte(i * 7)
	}
	for name, encode := range map[string]func(dst, src []byte) []byte{"own": appendEncoded, "standard": base64.StdEncoding.AppendEncode} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				encode(out, in)
			}
		})
	}
}
