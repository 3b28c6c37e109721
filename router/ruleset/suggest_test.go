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

// TestSuggest: what is near enough to be a slip is suggested; for all else what there is is listed.
func TestSuggest(t *testing.T) {
	helpers := []string{"ftp", "irc", "none", "pptp", "tftp"}
	const all = `write "ftp", "irc", "none", "pptp" or "tftp"`
	for _, tt := range []struct {
		name       string
		candidates []string
		want       string
	}{
		{"sip", helpers, all},
		{"h323", helpers, all},
		{"rtsp", helpers, all},
		{"", helpers, all},
		{"FTP", helpers, `did you mean "ftp"?`},
		{"fpt", helpers, `did you mean "ftp"?`},
		{"tfp", helpers, `did you mean "ftp"?`},
		{"tftpd", helpers, `did you mean "tftp"?`},
		{"ptpp", helpers, `did you mean "pptp"?`},
		{"masqerad", []string{"masquerade", "snat"}, `did you mean "masquerade"?`},
		{"dst", []string{"snat", "dnat"}, `write "snat" or "dnat"`},
		{"b", []string{"a"}, `write "a"`},
		{"lan0", nil, "there is none"},
	} {
		if got := Suggest(tt.name, tt.candidates); got != tt.want {
			t.Errorf("Suggest(%q, %q) = %s, want %s", tt.name, tt.candidates, got, tt.want)
		}
	}
}
