package pptp

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/integration/pptp/guest"
	"github.com/natrouter/natrouter/internal/netlab"
)

// guestIn is how long a guest may take to boot and to reach what is awaited.
const guestIn = 40 * time.Second

// kernelGuest is a user-mode Linux guest.
type kernelGuest struct {
	*program
	console io.WriteCloser
}

// boot starts a guest behind n, on a link of its own whose near end has the address before the guest's. args are for
// its part.
func boot(t *testing.T, n *netlab.Namespace, name, part string, addr netip.Prefix, args ...string) *kernelGuest {
	t.Helper()
	uml := lab.NeedTool(t, "linux.uml")
	self, err := os.Executable()
	lab.Must(t, err)
	gateway := addr.Addr().Prev()
	at := lab.NewNamespace(t, name)
	lab.Must(t, netlab.Veth(n, name, at, "link"))
	lab.Must(t, n.Forward())
	lab.Must(t, n.Address(name, netip.PrefixFrom(gateway, addr.Bits())))
	lab.Must(t, at.Up("link"))
	console, typed, err := os.Pipe()
	lab.Must(t, err)
	defer console.Close()
	command := append([]string{
		uml, "mem=96M", "quiet", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "init=" + self, "uml_dir=" + t.TempDir(),
		"console=tty0", "con=null", "con0=fd:0,fd:1", "vec0:transport=raw,ifname=link,depth=64,gro=0", guestEnv + "=1", "--",
		part, addr.String(), gateway.String(),
	}, args...)
	g := &kernelGuest{console: typed}
	g.program = start(t, at, "the guest", console, nil, `"$@"`, command...)
	t.Cleanup(func() { typed.Close() })
	return g
}

// enter types a line at the console; it does not matter which.
func (g *kernelGuest) enter(t *testing.T, line string) {
	t.Helper()
	_, err := io.WriteString(g.console, line+"\n")
	lab.Must(t, err)
}

// mustSay waits for a line of a guest's console.
func (g *kernelGuest) mustSay(t *testing.T, line string) {
	t.Helper()
	for timeout := time.After(guestIn); ; {
		text, more := g.log.Next()
		if strings.Contains(text, line) {
			return
		}
		if strings.Contains(text, guest.Failed) {
			t.Fatal("the guest failed")
		}
		select {
		case <-more:
		case <-g.exited:
			t.Fatalf("the guest ended before it said %q", line)
		case <-timeout:
			t.Fatalf("the guest did not say %q within %s", line, guestIn)
		}
	}
}

// TestPPPD runs two pppd over pptp in guests, both with the same call ID, to one pptpd with pppd in a third: with
// MS-CHAPv2 and MPPE, and TCP of the guests' own kernels in the tunnels.
func TestPPPD(t *testing.T) {
	lab.NeedRoot(t) // whose pppd is: the guest sees the machine's files as we do
	lab.NeedTool(t, "pppd")
	w := newWorld(t, helperRule)
	wire(t, w.server, "wan0", lab.Translated(lab.Checksums))
	random := filepath.Join(t.TempDir(), "random")
	lab.Must(t, os.WriteFile(random, []byte{twin & 0xff, twin >> 8, twin & 0xff, twin >> 8}, 0o644))
	at := netip.MustParsePrefix("203.0.113.66/30")
	server := boot(t, w.server, "guests", "server", at)
	var clients []*kernelGuest
	var addrs []netip.Addr
	for i := range 2 {
		addr := netip.MustParsePrefix(fmt.Sprintf("10.77.%d.2/24", 14+i))
		addrs = append(addrs, addr.Addr())
		clients = append(clients, boot(t, w.client, fmt.Sprintf("guest%d", i), "client", addr, at.Addr().String(), random))
	}
	server.mustSay(t, guest.Serving)
	for _, c := range clients {
		c.mustSay(t, guest.Ready)
		c.enter(t, "call")
	}
	for _, c := range clients {
		c.mustSay(t, guest.Exchanged)
	}
	seen := map[uint16]bool{}
	for _, a := range addrs {
		list := w.callsOf(t, a)
		if len(list) != 1 || list[0].pns != twin {
			t.Fatalf("%s has GRE %+v", a, list)
		}
		seen[list[0].outside] = true
	}
	if len(seen) != 2 {
		t.Errorf("two calls are %v outside", seen)
	}
	for _, c := range clients {
		c.enter(t, "hang up")
	}
	for i, c := range clients {
		c.mustSay(t, guest.Ended)
		w.mustForget(t, addrs[i])
	}
}
