package beside

import (
	"fmt"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/config"
	"github.com/natrouter/natrouter/internal/netlab"
)

// linkNames are the interfaces of both routers, by side.
var linkNames = [2]string{"lan0", "wan0"}

// oursText is what both routers have in common, as natrouter's configuration. Its offloads are off: a packet that
// goes in comes out as one.
const oursText = `
[[interface]]
name = "lan0"
side = "inside"
address = ["10.77.0.1/24", "fd77::1/64"]
netns = "client"
gso = false
checksum = false
coalesce = false

[[interface]]
name = "wan0"
side = "outside"
address = ["203.0.113.1/24", "2001:db8:113::1/64"]
netns = "server"
gso = false
checksum = false
coalesce = false
mtu = %d

[[route]]
to = ["10.80.0.0/16", "fd77::/16"]
interface = "lan0"

[[route]]
to = ["0.0.0.0/0", "::/0"]
interface = "wan0"

[[nat]]
action = "masquerade"
out = "wan0"
source = ["10.77.0.0/24", "fd77::/64"]

[icmp]
error_rate = %d

[[helper]]
name = "pptp"
protocol = "tcp"
port = 1723

[[helper]]
name = "ftp"
protocol = "tcp"
port = 21

[[helper]]
name = "tftp"
protocol = "udp"
port = 69

[[helper]]
name = "irc"
protocol = "tcp"
port = 6667
`

// oursConfig is the configuration for a group and the scripts that one router serves, in slot order.
func oursConfig(g *group, all []script) string {
	var b strings.Builder
	fmt.Fprintf(&b, oursText, g.wanMTU(), g.errors)
	b.WriteString(g.ours)
	for i, s := range all {
		p := newPlace(i, &s)
		fmt.Fprintf(&b, "[[nat]]\naction = \"snat\"\nout = \"wan0\"\nsource = %q\nto = %q\n", p.inside, p.byName["pub"])
		if g.ports != "" {
			fmt.Fprintf(&b, "to_port = %q\n", g.ports)
		}
		for _, f := range s.forwards {
			to, err := newView(&s, i).forwardTo(f)
			if err != nil {
				panic(err) // a script of ours
			}
			fmt.Fprintf(&b, "[[nat]]\naction = \"dnat\"\nin = \"wan0\"\nprotocol = %q\ndestination = %q\nport = %d\nto = %q\n",
				f.proto, p.byName["pub"], f.port, to)
		}
	}
	return b.String()
}

// forwardTo is where a forward leads, as text.
func (v *view) forwardTo(f forward) (string, error) {
	to, _, err := v.endpoint(f.to)
	return to.String(), err
}

// newOurs starts natrouter for some scripts of a group.
func newOurs(t *testing.T, g *group, all []script) *system {
	t.Helper()
	hosts := [2]*netlab.Namespace{lab.NewNamed(t, "client"), lab.NewNamed(t, "server")}
	lab.Start(t, lab.NewNamespace(t, "router"), oursConfig(g, all), nil)
	s := newSystem("natrouter")
	var links [2]*netlab.Injector
	s.send = func(at side, b []byte) error { return links[at].Send(b) }
	for at, host := range hosts {
		name := linkNames[at]
		lab.Must(t, host.Up(name))
		capture, err := host.Sniff(name, func(p netlab.Sniffed) {
			if !p.Outgoing {
				s.receive(side(at), p.Data)
			}
		})
		lab.Must(t, err)
		t.Cleanup(capture.Close)
		links[at], err = host.Injector(name)
		lab.Must(t, err)
		t.Cleanup(links[at].Close)
	}
	s.start(t)
	return s
}

// TestGoodConfigurations: what the scripts run through is read without a mistake or a warning, but for those of a group that
// breaks a standard on purpose.
func TestGoodConfigurations(t *testing.T) {
	for i := range groups {
		var all []script
		for _, s := range scripts() {
			if s.group == groups[i].name {
				all = append(all, s)
			}
		}
		f, err := config.Parse(groups[i].name, []byte(oursConfig(&groups[i], all[:min(len(all), slots)])))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, w := range f.Warnings {
			if !strings.Contains(w.Message, "RFC") {
				t.Error(w)
			}
		}
	}
}
