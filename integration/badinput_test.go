package integration

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
	"github.com/natrouter/natrouter/internal/testpkt"
)

// TestRefusals starts the router with what it can't work with: it ends with the right code and one line that names the
// place and the remedy.
func TestRefusals(t *testing.T) {
	lab.NeedLab(t)
	for _, tt := range []struct {
		name, config string
		code         int
		want         []string
	}{
		{"unknown key", lab.Config{LAN: "adress = []"}.Text(), 2, []string{"natrouter.toml:", `"adress"`, `"address"`}},
		{"wrong value", lab.Config{LAN: `mtu = "big"`}.Text(), 2, []string{"natrouter.toml:", "mtu"}},
		{"address clash", lab.Config{WAN: ""}.Text() + "\n[[interface]]\nname = \"dmz0\"\naddress = \"10.77.0.1/24\"\n", 2,
			[]string{"natrouter.toml:", "10.77.0.1"}},
		{"route to an unknown interface", lab.Config{Rules: "[[route]]\nto = \"192.0.2.0/24\"\ninterface = \"dmz0\"\n"}.Text(), 2,
			[]string{"natrouter.toml:", "dmz0"}},
		{"namespace that does not exist", lab.Config{}.Text(), 1, []string{"lan0", "client", "ip netns add"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := lab.Launch(t, lab.NewNamespace(t, "router"), tt.config, nil)
			mustRefuse(d, tt.code, tt.want...)
		})
	}
}

// TestTUNOfAnother has an ordinary user run the router on a TUN that belongs to somebody else, or to nobody yet.
func TestTUNOfAnother(t *testing.T) {
	as := asOrdinary(t)
	openTUNs(t, 0o666)
	in := lab.NewNamespace(t, "router")
	lab.Must(t, in.MakeTUN("lan0", 1))
	d := lab.Launch(t, in, bareConfig("", "", ""), as)
	mustRefuse(d, 1, "lan0", "belongs to another user", "ip tuntap add")
	d = lab.Launch(t, lab.NewNamespace(t, "empty"), bareConfig("", "", ""), as)
	mustRefuse(d, 1, "lan0", "ip tuntap add")
}

// mustRefuse wants the process to end with that exit code and these words in one line.
func mustRefuse(d *lab.Daemon, code int, want ...string) {
	d.T.Helper()
	select {
	case <-d.Exited:
	case <-time.After(lab.ReadyTimeout):
		d.T.Fatalf("still running after %s", lab.ReadyTimeout)
	}
	if got := d.Cmd.ProcessState.ExitCode(); got != code {
		d.T.Errorf("exit code %d, want %d", got, code)
	}
	for line := range strings.Lines(d.Log.String()) {
		missing := 0
		for _, w := range want {
			if !strings.Contains(line, w) {
				missing++
			}
		}
		if missing == 0 {
			return
		}
	}
	d.T.Errorf("no line with all of %q", want)
}

// mutated is how many damaged packets come from each side, in each family.
const mutated = 2000

// TestDamagedPackets floods the router with truncated and mutated packets from both sides. It must count them, and go on.
func TestDamagedPackets(t *testing.T) {
	lab.NeedLab(t)
	l := newPair(t, lab.Config{})
	r := rand.New(rand.NewPCG(1, 2))
	for _, e := range lab.Families {
		for _, side := range []struct {
			n        *netlab.Namespace
			link     string
			from, to netip.Addr
		}{{l.Client, "lan0", e.Client, e.Server}, {l.Server, "wan0", e.Server, e.WAN}} {
			var good [][]byte
			for _, p := range unsolicited(side.from, side.to) {
				good = append(good, p)
			}
			good = append(good, testpkt.Echo{Src: side.from, Dst: side.to, ID: 7, Payload: make([]byte, 64)}.Bytes())
			good = append(good, testpkt.Fragments(testpkt.UDP{Src: netip.AddrPortFrom(side.from, 1), Dst: netip.AddrPortFrom(side.to, 2),
				Payload: make([]byte, 600)}.Bytes(), 256, 9)...)
			packets := make([][]byte, 0, mutated)
			for range mutated {
				packets = append(packets, mutate(r, good[r.IntN(len(good))]))
			}
			for len(packets) > 0 { // no more at once than the host end's queue holds
				n := min(len(packets), 100)
				lab.Must(t, side.n.Inject(side.link, packets[:n]...))
				packets = packets[n:]
				l.Status()
			}
		}
	}
	drops := l.Status().Drops
	if drops["malformed"] == 0 || drops["netstack-panic"] > 0 || drops["unspecified"] > 0 {
		t.Errorf("drops: %v", drops)
	}
	lab.RunScenes(t, l.Client, l.Server, "ping", "port forward")
}

// mutate cuts a packet, changes some of its bytes, or both. The first byte stays, so that it goes out as its family.
func mutate(r *rand.Rand, b []byte) []byte {
	b = append([]byte(nil), b...)
	if r.IntN(2) == 0 {
		b = b[:1+r.IntN(len(b))]
	}
	for range r.IntN(4) {
		if i := r.IntN(len(b)); i > 0 {
			b[i] = byte(r.Uint32())
		}
	}
	return b
}
