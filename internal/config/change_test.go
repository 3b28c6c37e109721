package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

const changeBase = `[[interface]]
name = "lan0"
address = "10.77.0.1/24"
mtu = 1500
[[interface]]
name = "wan0"
address = ["203.0.113.1/24"]
[conntrack]
max = 1000
timeout = { udp = "30s" }
[[nat]]
action = "masquerade"
out = "wan0"
`

func TestChanges(t *testing.T) {
	for name, tt := range map[string]struct {
		from, to string // replaced in changeBase
		want     []string
	}{
		"nothing":              {"", "", nil},
		"a comment":            {"[conntrack]\n", "[conntrack] # more\n\n", nil},
		"an address":           {"203.0.113.1", "203.0.113.9", nil},
		"a key":                {"max = 1000", "max = 2000", []string{"f:9: conntrack.max"}},
		"a key of a list":      {"mtu = 1500", "mtu = 1400", []string{"f:4: interface[0].mtu"}},
		"a key less":           {"mtu = 1500\n", "", []string{"f:1: interface[0].mtu"}},
		"a key below":          {`"30s"`, `"31s"`, []string{"f:10: conntrack.timeout.udp"}},
		"a key more":           {"out = \"wan0\"\n", "out = \"wan0\"\non_address_change = \"keep\"\n", []string{"f:14: nat[0].on_address_change"}},
		"a table more":         {"[conntrack]\n", "[log]\nlevel = \"warn\"\n[conntrack]\n", []string{"f:8: log"}},
		"a table less":         {"[[nat]]\naction = \"masquerade\"\nout = \"wan0\"\n", "", []string{"f:1: nat"}},
		"one more of a list":   {"[[nat]]\n", "[[nat]]\naction = \"accept\"\n[[nat]]\n", []string{"f:12: nat[0].action", "f:11: nat[0].out", "f:13: nat[1]"}},
		"an interface renamed": {`name = "wan0"`, `name = "wan1"`, []string{"f:6: interface[1].name"}},
		"renamed and moved": {"name = \"wan0\"\naddress = [\"203.0.113.1", "name = \"wan1\"\naddress = [\"203.0.113.9",
			[]string{"f:6: interface[1].name", "f:7: interface[1].address"}},
	} {
		var got []string
		for _, c := range Changes("f", []byte(changeBase), []byte(strings.Replace(changeBase, tt.from, tt.to, 1))) {
			got = append(got, c.String())
		}
		slices.Sort(tt.want)
		slices.Sort(got)
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// TestChangesOfTheExample: the largest file there is does not differ from itself, and one without all of its keys
// differs from it in each of its tables.
func TestChangesOfTheExample(t *testing.T) {
	data, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	if got := Changes("f", data, data); got != nil {
		t.Errorf("differs from itself: %v", got)
	}
	if got := Changes("f", nil, data); len(got) < 5 || !slices.IsSortedFunc(got, func(a, b Change) int { return a.Line - b.Line }) {
		t.Errorf("from nothing: %v", got)
	}
}
