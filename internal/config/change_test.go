package config

import (
	"fmt"
	"net/netip"
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
		"nothing":            {"", "", nil},
		"a comment":          {"[conntrack]\n", "[conntrack] # more\n\n", nil},
		"an address":         {"203.0.113.1", "203.0.113.9", nil},
		"an address more":    {"[\"203.0.113.1/24\"]", "[\"203.0.113.1/24\", \"2001:db8::1/64\"]", nil},
		"a key":              {"max = 1000", "max = 2000", []string{"f:9: conntrack.max changed"}},
		"a key of a list":    {"mtu = 1500", "mtu = 1400", []string{"f:4: interface[0].mtu changed"}},
		"a key less":         {"mtu = 1500\n", "", []string{"f:1: interface[0].mtu removed"}},
		"a key below":        {`"30s"`, `"31s"`, []string{"f:10: conntrack.timeout.udp changed"}},
		"a key more":         {"out = \"wan0\"\n", "out = \"wan0\"\non_address_change = \"keep\"\n", []string{"f:14: nat[0].on_address_change added"}},
		"a table more":       {"[conntrack]\n", "[log]\nlevel = \"warn\"\n[conntrack]\n", []string{"f:8: log added"}},
		"a table less":       {"[[nat]]\naction = \"masquerade\"\nout = \"wan0\"\n", "", []string{"f:1: nat removed"}},
		"one more of a list": {"[[nat]]\n", "[[nat]]\naction = \"accept\"\n[[nat]]\n", []string{"f:12: nat[0].action changed", "f:11: nat[0].out removed", "f:13: nat[1] added"}},
		"an interface more, before, and an address": {changeBase[:strings.Index(changeBase, "[conntrack]")],
			"[[interface]]\nname = \"dmz0\"\n[[interface]]\nname = \"wan0\"\naddress = \"203.0.113.9/24\"\n[[interface]]\nname = \"lan0\"\nmtu = 1400\naddress = \"10.77.0.2/24\"\n",
			[]string{"f:1: interface[0] added", "f:8: interface[2].mtu changed"}},
		"an interface less":   {"[[interface]]\nname = \"wan0\"\naddress = [\"203.0.113.1/24\"]\n", "", []string{`f:1: interface "wan0" removed`}},
		"all interfaces gone": {changeBase[:strings.Index(changeBase, "[conntrack]")], "", []string{"f:1: interface removed"}},
		"an address of inline tables": {changeBase, `interface = [{name = "lan0", address = "10.77.0.1/24"}]`, []string{
			`f:1: interface "wan0" removed`, "f:1: conntrack removed", "f:1: interface[0].mtu removed", "f:1: nat removed"}},
		"an interface renamed": {`name = "wan0"`, `name = "wan1"`, []string{`f:1: interface "wan0" removed`, "f:5: interface[1] added"}},
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

// TestStale: each value that names an address which is gone is told with its line, in the file as it is and, where the file
// no longer has it, in what changed.
func TestStale(t *testing.T) {
	a := netip.MustParseAddr
	moved := []Readdressed{
		{Interface: "lan0", Gone: []netip.Addr{a("10.77.0.1"), a("fd77::1")}, Now: []netip.Addr{a("10.78.0.1")}},
		{Interface: "wan0", Gone: []netip.Addr{a("203.0.113.1")}, Now: []netip.Addr{a("203.0.113.9"), a("198.51.100.1")}},
	}
	const wan, lan = `which interface "wan0" no longer has`, `and none of the present addresses of interface "lan0"`
	for name, tt := range map[string]struct{ line, want string }{
		"a forward's destination":             {`nat = [{destination = "203.0.113.1"}]`, "nat[0].destination names 203.0.113.1, " + wan},
		"the second of a list":                {`nat = [{}, {destination = ["2001:db8::1", "203.0.113.1"]}]`, "nat[1].destination names 203.0.113.1, " + wan},
		"a pool":                              {`nat = [{to = "203.0.113.1"}]`, "nat[0].to names 203.0.113.1, " + wan},
		"an address with a port":              {`nat = [{to = "203.0.113.1:80"}]`, "nat[0].to names 203.0.113.1:80, " + wan},
		"a network of one":                    {`nat = [{to = "203.0.113.1/32"}]`, "nat[0].to names 203.0.113.1/32, " + wan},
		"a filter rule":                       {`filter = {rule = [{source = "203.0.113.1"}]}`, "filter.rule[0].source names 203.0.113.1, " + wan},
		"a route's gateway":                   {`route = [{via = "203.0.113.1"}]`, "route[0].via names 203.0.113.1, " + wan},
		"a helper rule":                       {`helper = [{destination = "203.0.113.1"}]`, "helper[0].destination names 203.0.113.1, " + wan},
		"IPv6":                                {`helper = [{loose = "fd77::1"}]`, `helper[0].loose names fd77::1, which interface "lan0" no longer has`},
		"IPv6 with a port":                    {`nat = [{to = "[fd77::1]:80"}]`, `nat[0].to names [fd77::1]:80, which interface "lan0" no longer has`},
		"a source whose network moved":        {`nat = [{source = "10.77.0.0/16"}]`, "nat[0].source names 10.77.0.0/16, which has 10.77.0.1 " + lan},
		"a host end":                          {`interface = [{host_address = "10.77.0.2/24"}]`, "interface[0].host_address names 10.77.0.2/24, which has 10.77.0.1 " + lan},
		"a range":                             {`nat = [{source = "10.77.0.0-10.77.0.5"}]`, "nat[0].source names 10.77.0.0-10.77.0.5, which has 10.77.0.1 " + lan},
		"a network that has the new address":  {`nat = [{destination = "203.0.113.0/24"}]`, ""},
		"all of a family":                     {`nat = [{source = "0.0.0.0/0"}]`, ""},
		"a network whose family has no other": {`nat = [{source = "fd77::/64"}]`, ""},
		"another address":                     {`nat = [{destination = "203.0.113.2"}]`, ""},
		"the address of the interface":        {`interface = [{address = "203.0.113.1/24"}]`, ""},
		"ports and words":                     {`nat = [{port = "80-90", action = "dnat", to_port = 80}]`, ""},
	} {
		var got []string
		for _, w := range Stale("f", []byte("# first\n"+tt.line), moved) {
			got = append(got, w.String())
		}
		want := "[]"
		if tt.want != "" {
			want = "[f:2: warning: " + tt.want + ": write what it is now, and restart the router to apply it]"
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		changes := Changes("f", []byte(tt.line), nil)
		_, why, _ := strings.Cut(tt.want, " names ")
		if len(changes) != 1 || changes[0].Stale(moved) != why {
			t.Errorf("%s: when it is removed: %q, want %q", name, changes[0].Stale(moved), why)
		}
	}
}
