package beside

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
)

// TestDocs: the table in the docs is that of the list.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile(wantedFile)
	lab.Must(t, err)
	reasons, err := readWanted(string(text))
	lab.Must(t, err)
	page, err := os.ReadFile(docsFile)
	lab.Must(t, err)
	_, table, _, err := splitDocs(string(page))
	lab.Must(t, err)
	if want := docsTable(reasons); table != want {
		t.Errorf("%s is not that of %s: make beside writes it", docsFile, wantedFile)
	}
}

func TestReadWantedRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"a script under no reason":   "* udp: a question\n",
		"a packet under no reason":   "kernel q: nothing\n",
		"a packet under no script":   "= RFC 1 | this | that\nkernel q: nothing\n",
		"a reason without a clause":  "= this | that\n",
		"a script under two reasons": "= RFC 1 | a | b\n* s\n= RFC 2 | a | b\n* s\n",
		"a script twice":             "= RFC 1 | a | b\n* s\n* s\n",
	} {
		if got, err := readWanted(text); err == nil {
			t.Errorf("%s: readWanted takes it as %v", name, got)
		}
	}
}

func TestRenewed(t *testing.T) {
	old, err := readWanted("= RFC 1 | a | b\n* stays\nkernel q: old\n* goes\nkernel q: old\n= RFC 2 | a | b\n* goes too\nkernel q: old\n")
	lab.Must(t, err)
	got := writeWanted(renewed(old, map[string][]string{"stays": {"kernel q: new"}, "comes": {"ours   q: new"}}))
	if want := "\n= RFC 1 | a | b\n* stays\nkernel q: new\n\n= unexplained | ? | ?\n* comes\nours   q: new\n"; !strings.HasSuffix(got, want) {
		t.Errorf("got\n%s\nwant at its end\n%s", got, want)
	}
}

// FuzzReadWanted holds the list to the law that it reads as it was written.
func FuzzReadWanted(f *testing.F) {
	f.Add("= RFC 1 | a | b\n* s\nkernel q: nothing\nours   q: in x\n\n# remark\n* t\n= RFC 2 | c | d\n")
	f.Add("* s\n")
	f.Add("=  |  | \n* \n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := readWanted(text)
		if err != nil {
			return
		}
		again, err := readWanted(writeWanted(all))
		if err != nil {
			t.Fatalf("%q reads, but not as it is written: %v", text, err)
		}
		if !reflect.DeepEqual(all, again) {
			t.Errorf("%q: %v, written and read again: %v", text, all, again)
		}
	})
}
