package packet

import (
	"regexp"
	"testing"
)

func TestDropReasonText(t *testing.T) {
	form := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	seen := make(map[string]DropReason)
	for r := range NumReasons {
		name := r.String()
		if other, ok := seen[name]; ok || !form.MatchString(name) || r.Help() == "" {
			t.Errorf("reason %d: name %q (also of %d), help %q", r, name, other, r.Help())
		}
		seen[name] = r
		if got, err := ParseDropReason(name); got != r || err != nil {
			t.Errorf("ParseDropReason(%q) = %v, %v", name, got, err)
		}
	}
	for r, want := range map[DropReason]string{
		NoMapping: "no-mapping", UntranslatedSource: "untranslated-source", NetstackPanic: "netstack-panic",
		TTLExceeded: "ttl-exceeded", BadIPChecksum: "bad-ip-checksum", SCTPTag: "sctp-tag", NATUnmappable: "nat-unmappable",
		NumReasons: "reason-" + regexp.MustCompile(`\d+`).FindString(NumReasons.String()),
	} {
		if r.String() != want {
			t.Errorf("String() = %q, want %q", r.String(), want)
		}
	}
	if _, err := ParseDropReason("no-such-reason"); err == nil || NumReasons.Help() != "" {
		t.Error("a reason that there is not has a meaning")
	}
}

func TestVerdictString(t *testing.T) {
	var zero Verdict
	if zero != Drop || zero.String() != "drop" || Accept.String() != "accept" || Stolen.String() != "stolen" || Verdict(9).String() != "invalid" {
		t.Error("verdicts have other names, or the zero value is not Drop")
	}
}
