package ruleset

import "testing"

// FuzzDistance: the distance is one of a metric's, by the three laws that suggestions rest on.
func FuzzDistance(f *testing.F) {
	f.Add("masquarade", "masquerade")
	f.Add("", "mtu")
	f.Add("mut", "mtu")
	f.Fuzz(func(t *testing.T, a, b string) {
		a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
		d := Distance(a, b)
		if d != Distance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) || d < max(len(a), len(b))-min(len(a), len(b)) {
			t.Errorf("Distance(%q, %q) = %d, back %d", a, b, d, Distance(b, a))
		}
	})
}
