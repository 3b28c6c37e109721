package pptp

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"sync"
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
	"github.com/natrouter/natrouter/router"
)

// twin is a call ID that several clients have at once.
const twin = 0x1111

// gre is the GRE of a call as the router has it, seen from the caller.
type gre struct {
	server   netip.Addr // as the caller addresses it
	pns, pac uint16     // the call IDs on the caller's side
	outside  uint16     // the caller's call ID on the server's side
}

// calls returns the GRE of all calls. Either end's packet may have come first, so its direction says nothing.
func (w *world) calls(t *testing.T) (flows []router.Flow) {
	t.Helper()
	out, code := w.daemon.Ask("flow", "list", "--protocol", "gre", "-o", "json")
	if code == 0 {
		lab.Must(t, json.Unmarshal([]byte(out), &flows))
	} else if code != 4 { // no match
		t.Fatalf("flow list: exit code %d\n%s", code, out)
	}
	return flows
}

// callsOf returns the GRE of one caller.
func (w *world) callsOf(t *testing.T, caller netip.Addr) (list []gre) {
	t.Helper()
	for _, f := range w.calls(t) {
		there, back := f.Original, f.Reply
		if back.Source == caller.String() {
			there, back = back, there
		}
		if there.Source == caller.String() {
			list = append(list, gre{lab.Addr(there.Destination), *there.SourcePort, *there.DestinationPort, *back.DestinationPort})
		}
	}
	return list
}

// mustForget waits until the router has no GRE of a client.
func (w *world) mustForget(t *testing.T, client netip.Addr) {
	t.Helper()
	eventually(t, goneIn, "no GRE of "+client.String(), func() bool { return len(w.callsOf(t, client)) == 0 })
}

// exchangeAll has all calls exchange data at once.
func exchangeAll(calls ...*call) {
	var all sync.WaitGroup
	for _, c := range calls {
		all.Go(c.mustExchange)
	}
	all.Wait()
}

// TestThreeClients has three inside hosts call one server at once, two of them with the same call ID. Each hears only
// its own; one that hangs up and calls again disturbs no other (spec: scenarios A and B of the PPTP helper).
func TestThreeClients(t *testing.T) {
	lab.NeedLab(t)
	w := newWorld(t, helperRule)
	wire(t, w.server, "wan0", lab.Translated(lab.Checksums))
	serve(t, w.server, serverAddr)
	ids := [insideHosts]uint16{twin, twin, 0x2222}
	var calls [insideHosts]*call
	for i, id := range ids {
		calls[i] = dial(t, w.hosts[i], serverAddr, id)
	}
	exchangeAll(calls[:]...)
	seen := map[uint16]netip.Addr{}
	for i, id := range ids {
		list := w.callsOf(t, hostAddr(i))
		if len(list) != 1 || list[0].pns != id || list[0].server != serverAddr {
			t.Fatalf("host %d with call ID %d has GRE %+v", i, id, list)
		}
		if other, taken := seen[list[0].outside]; taken {
			t.Errorf("%s and %s are both call %d outside", other, hostAddr(i), list[0].outside)
		}
		seen[list[0].outside] = hostAddr(i)
	}
	if _, kept := seen[twin]; !kept {
		t.Errorf("none of the twins has kept its call ID: %v", seen)
	}

	calls[0].hangUp()
	w.mustForget(t, hostAddr(0))
	if n := len(w.calls(t)); n != 2 {
		t.Errorf("after one of three has hung up, there is GRE of %d calls", n)
	}
	again := dial(t, w.hosts[0], serverAddr, twin)
	exchangeAll(again)
	for _, c := range []*call{again, calls[1], calls[2]} {
		c.mustEcho()
		c.hangUp()
	}
	eventually(t, goneIn, "no GRE", func() bool { return len(w.calls(t)) == 0 })
}

// TestServerBehindForward calls a server that stands inside, through a forwarded port: from two addresses outside with
// one call ID, and from an inside host through the outside address (scenarios D and F).
func TestServerBehindForward(t *testing.T) {
	lab.NeedLab(t)
	const home = 2 // the host of the server
	w := newWorld(t, helperRule+`
[[nat]]
action = "dnat"
in = "wan0"
protocol = "tcp"
destination = "203.0.113.1"
port = 1723
to = "10.77.13.2:1723"
`)
	wire(t, w.server, "wan0", lab.Translated(lab.Checksums))
	second := lab.Addr("203.0.113.3")
	lab.Must(t, w.server.Address("wan0", netip.PrefixFrom(second, 24)))
	serve(t, w.hosts[home], hostAddr(home))
	callers := []*call{
		dial(t, w.server, outside, twin, "--localbind", serverAddr.String()),
		dial(t, w.server, outside, twin, "--localbind", second.String()),
		dial(t, w.hosts[0], outside, twin),
	}
	exchangeAll(callers...)
	for _, client := range []netip.Addr{serverAddr, second, hostAddr(0)} {
		if list := w.callsOf(t, client); len(list) != 1 || list[0].server != outside || list[0].pns != twin {
			t.Errorf("%s has GRE %+v", client, list)
		}
	}
	for _, c := range callers {
		c.hangUp()
	}
	eventually(t, goneIn, "no GRE", func() bool { return len(w.calls(t)) == 0 })
}

// TestKilledClient kills a client, with all that it could say goodbye with. Its system closes the control connection,
// so its call is forgotten with that, and one with the same call ID can be made at once.
func TestKilledClient(t *testing.T) {
	lab.NeedLab(t)
	w := newWorld(t, helperRule)
	wire(t, w.server, "wan0", lab.Translated(lab.Checksums))
	serve(t, w.server, serverAddr)
	killed, other := dial(t, w.hosts[0], serverAddr, twin), dial(t, w.hosts[1], serverAddr, twin)
	exchangeAll(killed, other)
	killed.kill()
	w.mustForget(t, hostAddr(0))
	again := dial(t, w.hosts[0], serverAddr, twin)
	exchangeAll(again)
	other.mustEcho()
}

// TestCrashedClient takes a client's machine away without a word. Its call stays for as long as its control connection
// is known, here 8 s. Before that the machine, started again, makes a call with the same ID (scenario C). That ends the
// old one, for the server still sends its data, which must not come to the new one: so that is another one outside.
func TestCrashedClient(t *testing.T) {
	lab.NeedLab(t)
	w := newWorld(t, helperRule+`
[conntrack.timeout]
tcp_established = "8s"
`)
	wire(t, w.server, "wan0", lab.Translated(lab.Checksums))
	serve(t, w.server, serverAddr)
	first := dial(t, w.hosts[0], serverAddr, twin)
	exchangeAll(first)
	w.crash(t, first)
	before := w.callsOf(t, hostAddr(0))
	if len(before) != 1 {
		t.Fatalf("right after the crash the GRE is %+v", before)
	}
	again := dial(t, w.hosts[0], serverAddr, twin)
	exchangeAll(again)
	if list := w.callsOf(t, hostAddr(0)); len(list) != 1 || list[0].outside == before[0].outside || list[0].pns != twin {
		t.Errorf("after the second call the GRE is %+v, before it was %+v", list, before)
	}
	if n := w.daemon.Status().Helpers["pptp"]["superseded"]; n != 1 {
		t.Errorf("%d calls were superseded", n)
	}
	w.crash(t, again)
	w.mustForget(t, hostAddr(0))
}

// crash takes host 0 from the network and puts one that has just started in its place, then kills the old one's call:
// nothing that it says goes anywhere.
func (w *world) crash(t *testing.T, c *call) {
	t.Helper()
	started := lab.NewNamespace(t, "host0, started again")
	lab.Must(t, w.hosts[0].Move("eth0", started))
	c.kill()
	w.hosts[0] = started
	w.plug(t, 0)
}

// TestWithoutHelper takes the rule of the helper away. The control connection still works, so both ends begin to send
// GRE. What the client sends leaves, but what the server sends belongs to nothing and is dropped: the call never comes up.
func TestWithoutHelper(t *testing.T) {
	lab.NeedLab(t)
	w := newWorld(t, "")
	out := wire(t, w.server, "wan0", lab.Translated(lab.Checksums))
	in := wire(t, w.hosts[0], "eth0", lab.Checksums)
	serve(t, w.server, serverAddr)
	c := dial(t, w.hosts[0], serverAddr, twin)
	ctx, cancel := context.WithTimeout(t.Context(), silence)
	defer cancel()
	if err := c.peer.Up(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without the helper the call came to %v, want it to wait in vain", err)
	}
	for what, at := range map[string]struct {
		*lab.Sniffer
		src, dst netip.Addr
		want     bool
	}{
		"the client's GRE outside": {out, outside, serverAddr, true},
		"the server's GRE outside": {out, serverAddr, outside, true},
		"the server's GRE inside":  {in, serverAddr, hostAddr(0), false},
	} {
		if _, got := at.Find(0, func(p netlab.Sniffed) bool { return isGRE(p, at.src, at.dst) }); got != at.want {
			t.Errorf("%s is seen: %t, want %t", what, got, at.want)
		}
	}
	if n := w.daemon.Status().Drops["no-mapping"]; n == 0 {
		t.Errorf("no packet was dropped as no-mapping")
	}
}
