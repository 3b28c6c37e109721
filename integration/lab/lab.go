//go:build linux

package lab

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/internal/netlab"
)

// Lab is natrouter between a client and a server, each in a namespace of that name.
type Lab struct {
	*Daemon
	Client, Server *netlab.Namespace
}

// Config says how a lab differs from the usual one.
type Config struct {
	LAN, WAN string // more keys of the interfaces
	NoRoute  bool   // no default route
	Rules    string // more tables
}

// TwoNamespaces is the usual configuration; the words in braces are replaced.
const TwoNamespaces = `
[[interface]]
name = "lan0"
side = "inside"
address = ["10.77.0.1/24", "fd77::1/64"]
netns = "client"
host_address = ["10.77.0.2/24", "fd77::2/64"]
host_route = ["0.0.0.0/0", "::/0"]
{lan}
[[interface]]
name = "wan0"
side = "outside"
address = ["203.0.113.1/24", "2001:db8:113::1/64"]
netns = "server"
host_address = ["203.0.113.2/24", "2001:db8:113::2/64"]
{wan}
{route}
[[nat]]
action = "masquerade"
out = "wan0"
source = ["10.77.0.0/16", "fd77::/16"]

[[nat]]
action = "dnat"
in = "wan0"
protocol = "tcp"
destination = ["203.0.113.1", "2001:db8:113::1"]
port = 8080
to = ["10.77.0.2:80", "[fd77::2]:80"]

{rules}
`

const defaultRoute = `
[[route]]
to = ["0.0.0.0/0", "::/0"]
interface = "wan0"
`

// New makes a lab; all of it ends with the test.
func New(t *testing.T, c Config) *Lab {
	t.Helper()
	l := &Lab{Client: NewNamed(t, "client"), Server: NewNamed(t, "server")}
	l.Daemon = Start(t, NewNamespace(t, "router"), c.Text(), nil)
	return l
}

// Text is the TOML of the configuration.
func (c Config) Text() string {
	route := defaultRoute
	if c.NoRoute {
		route = ""
	}
	return strings.NewReplacer("{lan}", c.LAN, "{wan}", c.WAN, "{route}", route, "{rules}", c.Rules).Replace(TwoNamespaces)
}

// NewNamed makes a namespace that a configuration can name (netns); it ends with the test.
func NewNamed(t *testing.T, name string) *netlab.Namespace {
	t.Helper()
	NeedLab(t)
	n, err := netlab.NewNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// NewNamespace makes a namespace that ends with the test.
func NewNamespace(t *testing.T, name string) *netlab.Namespace {
	t.Helper()
	NeedLab(t)
	n, err := netlab.New(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// Ends are the addresses of a lab in one family.
type Ends struct {
	Name                             string
	Client, LAN, WAN, Server, Nobody netip.Addr // nobody is an address of the server's network that nobody has
	Inside                           netip.Prefix
}

// Families are the ends of every lab.
var Families = []Ends{
	{"IPv4", Addr("10.77.0.2"), Addr("10.77.0.1"), Addr("203.0.113.1"), Addr("203.0.113.2"), Addr("203.0.113.77"),
		netip.MustParsePrefix("10.77.0.0/16")},
	{"IPv6", Addr("fd77::2"), Addr("fd77::1"), Addr("2001:db8:113::1"), Addr("2001:db8:113::2"), Addr("2001:db8:113::77"),
		netip.MustParsePrefix("fd77::/16")},
}

// Addr is netip.MustParseAddr.
func Addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// Path is a family's way through the lab, for netlab's scenes.
func (l *Lab) Path(e Ends) *netlab.Path { return ScenePath(l.Client, l.Server, e) }

// ScenePath is a family's way between two namespaces that are addressed as those of a lab.
func ScenePath(client, server *netlab.Namespace, e Ends) *netlab.Path {
	return &netlab.Path{
		Client: client, Server: server,
		ClientAddr: e.Client, RouterAddr: e.LAN, OutsideAddr: e.WAN, ServerAddr: e.Server,
		ForwardPort: 8080, ForwardTarget: 80, Bulk: 20 << 20,
	}
}

// RunScenes runs the named scenes, or all.
func RunScenes(t *testing.T, client, server *netlab.Namespace, names ...string) {
	for _, e := range Families {
		for _, s := range netlab.Scenes() {
			if len(names) > 0 && !strings.Contains(strings.Join(names, "\n"), s.Name) {
				continue
			}
			t.Run(e.Name+"/"+s.Name, func(t *testing.T) {
				figure, err := s.Run(t.Context(), ScenePath(client, server, e), func(string, ...any) {})
				if err != nil {
					t.Fatal(err)
				}
				t.Log(figure)
			})
		}
	}
}

// Must ends the test with an error.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
