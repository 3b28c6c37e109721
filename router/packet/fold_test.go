package packet

import (
	"math/rand/v2"
	"testing"
)

// TestFold: folding keeps the remainder modulo 0xffff and ends within 16 bits, also where each step carries into the
// next; only 0 folds to 0.
func TestFold(t *testing.T) {
	sums := []uint64{0, 1, 0xffff, 0x10000, 0x1ffff, 0xffffffff, 0x10000ffff, 0x00010000_ffffffff, 0xfffffffe_ffffffff, ^uint64(0)}
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		sums = append(sums, r.Uint64()>>r.IntN(64), r.Uint64()|0xffff_0000_ffff, r.Uint64()&0x0001_0000_ffff_ffff)
	}
	for _, sum := range sums {
		got := uint64(fold(sum))
		if got%0xffff != sum%0xffff || (got == 0) != (sum == 0) {
			t.Errorf("fold(%#x) = %#x", sum, got)
		}
	}
}
