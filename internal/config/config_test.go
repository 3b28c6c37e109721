package config

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/router"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

func parse(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse("f", []byte(text+twoSides))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func addrs(t *testing.T, texts ...string) []conntrack.AddrRange {
	t.Helper()
	var l []conntrack.AddrRange
	for _, s := range texts {
		r, err := parseAddrRange(s)
		if err != nil {
			t.Fatal(err)
		}
		l = append(l, r)
	}
	return l
}

func TestEmptyFileIsTheDefault(t *testing.T) {
	f := parse(t, "")
	want := router.DefaultConfig()
	want.Interfaces = f.Config.Interfaces
	if !reflect.DeepEqual(f.Config, want) {
		t.Errorf("got\n%+v\nwant\n%+v", f.Config, want)
	}
	if f.Log != (LogConfig{slog.LevelInfo, "text"}) || f.Control != "" || f.MetricsListen != "" || f.Process.User != "" {
		t.Errorf("got %+v", f)
	}
}

// TestZeroInTheFile: 0 in the file is none; in Go, where 0 is the default, a negative number is.
func TestZeroInTheFile(t *testing.T) {
	cfg := parse(t, `
[icmp]
error_rate = 0
[nat_defaults]
quarantine = "0s"
hairpin = false
port_parity = false
[conntrack]
max_expectations = 0
tcp_loose = false
accounting = false
[filter]
reverse_path = false
[fast_path]
enabled = false
`).Config
	want := router.DefaultConfig()
	want.Interfaces = cfg.Interfaces
	want.ErrorRate, want.Defaults.Quarantine, want.Conntrack.MaxExpect = -1, -1, -1
	want.Defaults.NoHairpin, want.Defaults.NoPortParity, want.Conntrack.NoTCPLoose, want.Conntrack.NoAccounting = true, true, true, true
	want.Filter.NoReversePath, want.NoFastPath = true, true
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got\n%+v\nwant\n%+v", cfg, want)
	}
}

func TestNATRules(t *testing.T) {
	f := parse(t, `
[[nat]]
action = "masquerade"
out = "wan0"
source = ["10.77.0.0/16", "fd77::/16"]
to_port = ["2000-2999", 4000]
mapping = "endpoint-independent"
hairpin = false
on_address_change = "keep"
[[nat]]
action = "dnat"
in = "wan0"
protocol = "tcp"
port = 8080
to = ["10.77.1.2:80-89", "[fd77::2]:80-89"]
[[nat]]
action = "redirect"
in = "lan0"
protocol = 17
port = "53"
to = ":5353"
[[nat]]
action = "snat"
out = "wan0"
to = ["198.51.100.0/27", "198.51.100.64-198.51.100.66", "2001:db8:7::1"]
[[nat]]
action = "nptv6"
out = "wan0"
source = "fd01:203:405::/48"
to = "2001:db8:1::/48"
`)
	ports := func(l ...conntrack.PortRange) []conntrack.PortRange { return l }
	want := []nat.Rule{
		{
			Action: nat.Masquerade, Out: "wan0", Source: addrs(t, "10.77.0.0/16", "fd77::/16"),
			ToPorts: ports(conntrack.PortRange{First: 2000, Last: 2999}, conntrack.PortRange{First: 4000, Last: 4000}),
			Mapping: nat.EndpointIndependent, Hairpin: nat.Off, KeepOnChange: true, Line: 2,
		},
		{
			Action: nat.DNAT, In: "wan0", Proto: packet.ProtoTCP, Ports: ports(conntrack.PortRange{First: 8080, Last: 8080}),
			To: addrs(t, "10.77.1.2", "fd77::2"), ToPorts: ports(conntrack.PortRange{First: 80, Last: 89}), Line: 10,
		},
		{
			Action: nat.Redirect, In: "lan0", Proto: packet.ProtoUDP, Ports: ports(conntrack.PortRange{First: 53, Last: 53}),
			ToPorts: ports(conntrack.PortRange{First: 5353, Last: 5353}), Line: 16,
		},
		{
			Action: nat.SNAT, Out: "wan0",
			To: addrs(t, "198.51.100.0/27", "198.51.100.64-198.51.100.66", "2001:db8:7::1"), Line: 22,
		},
		{Action: nat.NPTv6, Out: "wan0", Source: addrs(t, "fd01:203:405::/48"), To: addrs(t, "2001:db8:1::/48"), Line: 26},
	}
	for i := range want {
		if !reflect.DeepEqual(f.Config.NAT[i], want[i]) {
			t.Errorf("rule %d: got\n%+v\nwant\n%+v", i, f.Config.NAT[i], want[i])
		}
	}
}

func TestSides(t *testing.T) {
	for name, tt := range map[string]struct {
		rule string
		want router.Side
	}{
		"no rule":          {"", router.Inside},
		"masquerade":       {"action = \"masquerade\"\nout = \"wan0\"", router.Outside},
		"snat":             {"action = \"snat\"\nout = \"wan0\"\nto = \"198.51.100.1\"", router.Outside},
		"netmap":           {"action = \"netmap\"\nout = \"wan0\"\nsource = \"10.77.1.0/24\"\nto = \"198.51.100.0/24\"", router.Outside},
		"accept exempts":   {"action = \"accept\"\nout = \"wan0\"", router.Inside},
		"dnat from inside": {"action = \"dnat\"\nin = \"wan0\"\nto = \"10.77.0.2\"", router.Inside},
	} {
		if tt.rule != "" {
			tt.rule = "[[nat]]\n" + tt.rule
		}
		f, err := Parse("f", []byte(tt.rule+regexp.MustCompile("side = .*").ReplaceAllString(twoSides, "")))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Config.Interfaces[1].Side; got != tt.want {
			t.Errorf("%s: wan0 is on side %v, want %v", name, got, tt.want)
		}
		if got := f.Config.Interfaces[0].Side; got != router.Inside {
			t.Errorf("%s: lan0 is on side %v", name, got)
		}
	}
}

func TestTimeoutsAndPolicies(t *testing.T) {
	f := parse(t, `
[conntrack]
profile = "linux"
[conntrack.timeout]
udp = "2h4m"
[[conntrack.policy]]
protocol = "udp"
destination = "192.0.2.53"
port = 53
timeout = { udp = "10s", udp_stream = "20s" }
`)
	want := conntrack.DefaultTimeouts(conntrack.ProfileLinux)
	want.UDP = 2*time.Hour + 4*time.Minute
	if f.Config.Conntrack.Timeouts != want {
		t.Errorf("timeouts %+v", f.Config.Conntrack.Timeouts)
	}
	policy := conntrack.TimeoutPolicy{
		Proto: packet.ProtoUDP, Destination: addrs(t, "192.0.2.53"), Ports: []conntrack.PortRange{{First: 53, Last: 53}},
		Timeouts: conntrack.Timeouts{UDP: 10 * time.Second, UDPStream: 20 * time.Second},
	}
	if got := f.Config.Conntrack.Policies; len(got) != 1 || !reflect.DeepEqual(got[0], policy) {
		t.Errorf("policies %+v", got)
	}
}

// TestTimeoutsAreComplete sets each field of conntrack.Timeouts by its key: a field without key couldn't be set.
func TestTimeoutsAreComplete(t *testing.T) {
	var got conntrack.Timeouts
	for i, k := range timeouts {
		if f := k.field(&got); *f != 0 {
			t.Errorf("%s sets a field that another key sets", k.name)
		} else {
			*f = time.Duration(i + 1)
		}
	}
	v := reflect.ValueOf(got)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("no key sets %s", v.Type().Field(i).Name)
		}
	}
	rfc := conntrack.DefaultTimeouts(conntrack.ProfileRFC)
	for name, f := range floors {
		i := slices.IndexFunc(timeoutKeys(), func(k key) bool { return k.name == name })
		if i < 0 || *timeouts[i].field(&rfc) < f.least {
			t.Errorf("floor of %s: no such key, or profile rfc is below it", name)
		}
	}
}

func TestHelperOptions(t *testing.T) {
	root := decoder{problems: &problems{}, schema: schema()}
	tree := root.decode("[[helper]]\nname = \"ftp\"\nprotocol = \"tcp\"\nport = 21\nmin_port = 2000\nloose = \"10.0.0.1\"\nccc = true")
	b := builder{problems: root.problems}
	got := b.helper(tree.tables["helper"][0])
	want := map[string]any{"min_port": 2000, "loose": []conntrack.AddrRange(addrs(t, "10.0.0.1")), "ccc": true}
	if len(root.errors) > 0 || !reflect.DeepEqual(got.Options, want) {
		t.Errorf("options %#v, errors %v", got.Options, root.errors)
	}
}

func TestUnbuiltKeysExist(t *testing.T) {
	for _, f := range unbuilt {
		found := false
		walk(schema(), "", func(_ *key, path string) { found = found || path == f.key })
		if !found {
			t.Errorf("%s is no key", f.key)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "natrouter.toml")
	if _, err := Load(missing); err == nil || !strings.HasPrefix(err.Error(), missing+": no such file") {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "can't be read") {
		t.Errorf("folder: %v", err)
	}
	path := filepath.Join(t.TempDir(), "bad.toml")
	if err := os.WriteFile(path, []byte("\xff"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.HasPrefix(err.Error(), path+":1: ") {
		t.Errorf("no text: %v", err)
	}
}

func TestInterfaceKeys(t *testing.T) {
	f, err := Parse("f", []byte(`
interface = [
  { name = "a", side = "outside", driver = "water", address = "10.0.0.1/31", mtu = 65535, queues = 256, netns = "n", gso = false },
  { name = "b", fd_name = "tun", host_address = ["10.9.0.2/24"], host_route = "0.0.0.0/0", checksum = false, coalesce = false },
]`))
	if err != nil {
		t.Fatal(err)
	}
	want := []router.Interface{
		{
			Name: "a", Side: router.Outside, Address: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/31")}, MTU: 65535, Line: 3,
			Device: router.DeviceConfig{Driver: "water", Queues: 256, FD: -1, NetNS: "n", NoGSO: true},
		},
		{
			Name: "b", Side: router.Inside, MTU: 1500, Line: 4,
			Device: router.DeviceConfig{
				Driver: "auto", Queues: 1, FD: -1, FDName: "tun", NoChecksum: true, NoCoalesce: true,
				HostAddress: []netip.Prefix{netip.MustParsePrefix("10.9.0.2/24")},
				HostRoute:   []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
			},
		},
	}
	if !reflect.DeepEqual(f.Config.Interfaces, want) {
		t.Errorf("got\n%+v\nwant\n%+v", f.Config.Interfaces, want)
	}
}
