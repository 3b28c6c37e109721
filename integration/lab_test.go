package integration

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/internal/netlab"
)

// lab is natrouter between a client and a server, each in a namespace of that name.
type lab struct {
	*daemon
	client, server *netlab.Namespace
}

// labConfig says how a lab differs from the usual one.
type labConfig struct {
	lan, wan string // more keys of the interfaces
	noRoute  bool   // no default route
	rules    string // more tables
}

// twoNamespaces is the usual configuration; the words in braces are replaced.
const twoNamespaces = `
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

// newLab makes a lab; all of it ends with the test.
func newLab(t *testing.T, c labConfig) *lab {
	t.Helper()
	l := &lab{client: newNamed(t, "client"), server: newNamed(t, "server")}
	l.daemon = startDaemon(t, newNamespace(t, "router"), c.text(), nil)
	return l
}

func (c labConfig) text() string {
	route := defaultRoute
	if c.noRoute {
		route = ""
	}
	return strings.NewReplacer("{lan}", c.lan, "{wan}", c.wan, "{route}", route, "{rules}", c.rules).Replace(twoNamespaces)
}

func newNamed(t *testing.T, name string) *netlab.Namespace {
	t.Helper()
	needLab(t)
	n, err := netlab.NewNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func newNamespace(t *testing.T, name string) *netlab.Namespace {
	t.Helper()
	needLab(t)
	n, err := netlab.New(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// ends are the addresses of a lab in one family.
type ends struct {
	name                             string
	client, lan, wan, server, nobody netip.Addr // nobody is an address of the server's network that nobody has
	inside                           netip.Prefix
}

// families are the ends of every lab.
var families = []ends{
	{"IPv4", addr("10.77.0.2"), addr("10.77.0.1"), addr("203.0.113.1"), addr("203.0.113.2"), addr("203.0.113.77"),
		netip.MustParsePrefix("10.77.0.0/16")},
	{"IPv6", addr("fd77::2"), addr("fd77::1"), addr("2001:db8:113::1"), addr("2001:db8:113::2"), addr("2001:db8:113::77"),
		netip.MustParsePrefix("fd77::/16")},
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// path is a family's way through the lab, for netlab's scenes.
func (l *lab) path(e ends) *netlab.Path { return scenePath(l.client, l.server, e) }

func scenePath(client, server *netlab.Namespace, e ends) *netlab.Path {
	return &netlab.Path{
		Client: client, Server: server,
		ClientAddr: e.client, RouterAddr: e.lan, OutsideAddr: e.wan, ServerAddr: e.server,
		ForwardPort: 8080, ForwardTarget: 80, Bulk: 20 << 20,
	}
}

// runScenes runs the named scenes, or all.
func runScenes(t *testing.T, client, server *netlab.Namespace, names ...string) {
	for _, e := range families {
		for _, s := range netlab.Scenes() {
			if len(names) > 0 && !strings.Contains(strings.Join(names, "\n"), s.Name) {
				continue
			}
			t.Run(e.name+"/"+s.Name, func(t *testing.T) {
				figure, err := s.Run(t.Context(), scenePath(client, server, e), func(string, ...any) {})
				if err != nil {
					t.Fatal(err)
				}
				t.Log(figure)
			})
		}
	}
}
