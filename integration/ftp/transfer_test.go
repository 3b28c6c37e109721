package ftp

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
)

// place is where the two ends of a control connection are.
type place struct {
	name           string
	client, server func(w *world) *netlab.Namespace
	serves         func(family int) netip.Addr // the server's own address
	to             func(family int) netip.Addr // where the client connects to
	// alone reports whether a way needs no helper.
	alone func(w *way) bool
}

var (
	clientSide = func(w *world) *netlab.Namespace { return w.client }
	hostSide   = func(w *world) *netlab.Namespace { return w.host }
	serverSide = func(w *world) *netlab.Namespace { return w.server }

	hostAddr    = func(family int) netip.Addr { return hostAddrs[family] }
	outsideAddr = func(family int) netip.Addr { return lab.Families[family].WAN }
	serverAddr  = func(family int) netip.Addr { return lab.Families[family].Server }
)

var (
	// A client inside that opens its data connections needs no help.
	clientInside = place{"client inside", clientSide, serverSide, serverAddr, serverAddr,
		func(w *way) bool { return !w.active() }}
	// A server inside that does needs none either.
	serverInside = place{"server inside", serverSide, hostSide, hostAddr, outsideAddr, (*way).active}
	bothInside   = place{"both inside, by the outside address", clientSide, hostSide, hostAddr, outsideAddr, nil}
)

// each runs the ways of each family to servers at a place.
func (p *place) each(t *testing.T, w *world, kinds []kind, try func(t *testing.T, family int, s *server, way *way)) {
	for i, e := range lab.Families {
		t.Run(e.Name, func(t *testing.T) {
			for k := range kinds {
				s := kinds[k].serve(t, p.server(w), p.serves(i), netip.Addr{})
				for j := range ways {
					way := &ways[j]
					if (way.only == "" || way.only == e.Name) && (way.client == "curl" || slices.Contains(kinds[k].clients, way.client)) {
						t.Run(s.name+" "+way.String(), func(t *testing.T) { try(t, i, s, way) })
					}
				}
			}
		})
	}
}

// helped runs all ways at a place with a helper: all work.
func (p *place) helped(t *testing.T, kinds []kind) {
	both(t, true, func(t *testing.T, w *world) {
		tried := 0
		p.each(t, w, kinds, func(t *testing.T, family int, s *server, way *way) {
			tried++
			if wrong := way.transfer(t, p.client(w), s, p.to(family)); wrong != "" {
				t.Error(wrong)
			}
		})
		if n := w.helper("expect-matched"); w.daemon != nil && n < uint64(tried*transfers) {
			t.Errorf("%d data connections came as announced, want %d", n, tried*transfers)
		}
	})
}

// TestClientInside transfers between a client inside and a server outside.
func TestClientInside(t *testing.T) { clientInside.helped(t, kinds) }

// TestServerInside transfers between a client outside and a server inside that knows nothing of its outside address.
func TestServerInside(t *testing.T) { serverInside.helped(t, kinds) }

// TestBothInside transfers between two hosts inside, one of which knows the other by the outside address.
func TestBothInside(t *testing.T) { bothInside.helped(t, kinds[:1]) }

// TestServerToldItsAddress transfers to servers inside that are configured with their outside address, which they tell
// passive clients themselves. The kernel's helper takes it for a third host's and awaits nobody there (its parameter loose
// is off), so PASV does not work with it; ours knows the address, and awaits the client.
func TestServerToldItsAddress(t *testing.T) {
	both(t, true, func(t *testing.T, w *world) {
		for i := range kinds {
			s := kinds[i].serve(t, w.host, hostAddrs[0], lab.Families[0].WAN)
			for j := range ways {
				way := &ways[j]
				if way.client != "curl" {
					continue // what the server says is the same to all
				}
				t.Run(s.name+" "+way.verb, func(t *testing.T) {
					came, said := way.fetch(t, w.server, s, lab.Families[0].WAN, giveUp)
					if want := w.daemon != nil || way.verb != "PASV"; came != want {
						t.Errorf("works: %v, want %v: %s", came, want, said)
					}
				})
			}
		}
	})
}

// TestWithoutHelper transfers without a helper: what the inside end opens works, all else doesn't.
func TestWithoutHelper(t *testing.T) {
	curlOnly := kinds[0]
	curlOnly.clients = nil
	for _, p := range []*place{&clientInside, &serverInside} {
		t.Run(p.name, func(t *testing.T) {
			both(t, false, func(t *testing.T, w *world) {
				p.each(t, w, []kind{curlOnly}, func(t *testing.T, family int, s *server, way *way) {
					within := giveUp
					if !p.alone(way) {
						within = "2"
					}
					if came, said := way.fetch(t, p.client(w), s, p.to(family), within); came != p.alone(way) {
						t.Errorf("works: %v, want %v: %s", came, p.alone(way), said)
					}
				})
				if n := w.helper("attached"); n > 0 {
					t.Errorf("%d connections were helped", n)
				}
			})
		})
	}
}

// TestPipelined sends several commands before the first is answered. Once the client is in, the helper finds PORT wherever
// it stands; the kernel's sees the first command of a segment only, so it is not asked.
func TestPipelined(t *testing.T) {
	w := newWorld(t, true, "")
	lab.Sniff(t, w.server, "wan0", discreet, nil)
	pipelined := way{"PORT", "lftp", "", []string{"set ftp:passive-mode no", "cd .", "set ftp:sync-mode no"}}
	s := kinds[0].serve(t, w.server, lab.Families[0].Server, netip.Addr{})
	if wrong := pipelined.transfer(t, w.client, s, lab.Families[0].Server); wrong != "" {
		t.Error(wrong)
	}
}

// TestClientSpeaksFirst sends commands before the greeting. That is how others are made to speak to port 21, so such a
// client is left alone for good. It may still use passive mode.
func TestClientSpeaksFirst(t *testing.T) {
	const atOnce = "set ftp:sync-mode no"
	w := newWorld(t, true, "")
	s := kinds[0].serve(t, w.server, lab.Families[0].Server, netip.Addr{})
	active := way{"PORT", "lftp", "", []string{"set ftp:passive-mode no", atOnce}}
	if wrong := active.transfer(t, w.client, s, lab.Families[0].Server); wrong == "" {
		t.Error("active mode works where the client spoke first")
	}
	passive := way{"EPSV", "lftp", "", []string{"set ftp:prefer-epsv yes", atOnce}}
	if wrong := passive.transfer(t, w.client, s, lab.Families[0].Server); wrong != "" {
		t.Error(wrong)
	}
	if n := w.helper("client-first"); n != 2 {
		t.Errorf("%d clients are counted that spoke first, want 2", n)
	}
}
