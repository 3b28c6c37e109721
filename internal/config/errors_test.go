package config

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what is found into testdata/errors.txt")

// twoSides stands below the cases whose name ends in "+", so that their lines count from 1.
const twoSides = `
[[interface]]
name = "lan0"
side = "inside"
address = ["10.77.0.1/24", "fd77::1/64"]
[[interface]]
name = "wan0"
side = "outside"
address = ["203.0.113.1/24", "2001:db8:113::1/64"]
`

// wayOut makes them a configuration without fault.
const wayOut = `
[[route]]
to = ["0.0.0.0/0", "::/0"]
interface = "wan0"
[[nat]]
action = "masquerade"
out = "wan0"
source = ["10.77.0.0/16", "fd77::/16"]
`

// TestMessages checks each message to the letter: they are what a user sees of this package. testdata/errors.txt has the
// cases: "### name", the file, and the lines that "check" would print for it, each behind "> ".
func TestMessages(t *testing.T) {
	data, err := os.ReadFile("testdata/errors.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, c := range strings.Split(string(data), "### ")[1:] {
		name, rest, _ := strings.Cut(c, "\n")
		var text, want strings.Builder
		for line := range strings.Lines(rest) {
			switch said, ok := strings.CutPrefix(line, "> "); {
			case ok:
				want.WriteString(said)
			case strings.TrimSpace(line) != "" || want.Len() == 0:
				text.WriteString(line)
			}
		}
		got := said(t, strings.TrimRight(text.String(), "\n")+"\n", strings.HasSuffix(name, "+"))
		if got != want.String() && !*update {
			t.Errorf("%s: got\n%swant\n%s", name, got, want.String())
		}
		out.WriteString("### " + name + "\n" + strings.TrimRight(text.String(), "\n") + "\n")
		for line := range strings.Lines(got) {
			out.WriteString("> " + line)
		}
		out.WriteString("\n")
	}
	if *update {
		if err := os.WriteFile("testdata/errors.txt", []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// said returns what check would print for a file.
func said(t *testing.T, text string, complete bool) string {
	if complete {
		text += twoSides + wayOut
	}
	f, err := Parse("f", []byte(text))
	var b strings.Builder
	var list Errors
	if errors.As(err, &list) {
		b.WriteString(list.Error() + "\n")
	} else if err != nil {
		t.Fatalf("error %T is no Errors: %v", err, err)
	}
	if f != nil {
		for _, w := range f.Warnings {
			b.WriteString(w.String() + "\n")
		}
	}
	return b.String()
}
