package ftp

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

const (
	port         = 21              // RFC 959, section 8
	implicitPort = 990             // FTPS, encrypted from its first byte on: never helped
	activePort   = 20              // of the server for data that it opens (RFC 959, section 3.3: L-1)
	lifetime     = 5 * time.Minute // of an expectation
	second       = conntrack.Time(time.Second)
)

// The data connections that one control connection may announce: this many at once, and then so many a second. It
// bounds what a connection costs, far above what transfers need.
const (
	burst = 1000
	rate  = 200
)

// settings are the options of a rule.
type settings struct {
	loose     []conntrack.AddrRange // third hosts that data connections may go to
	dataPorts []conntrack.PortRange // of the server; empty: any
	minPort   int                   // no data connection to a port below
	denied    []conntrack.PortRange // nor to these
	strict20  bool                  // active data comes from port 20
	lprt      bool                  // read LPRT and LPSV
	ccc       bool                  // go on where encryption ends
}

var defaults = settings{minPort: 1024}

// helper is the FTP helper. It has no state: each connection is by itself.
type helper struct{}

// New returns the FTP helper. Its options are loose ([]conntrack.AddrRange), data_port and deny_port
// ([]conntrack.PortRange), min_port (int, 1 to 65535), strict20, lprt and ccc (bool); README.md says what they mean.
func New() alg.StreamHelper { return helper{} }

// Spec implements [alg.Helper].
func (helper) Spec() alg.Spec {
	return alg.Spec{
		Name: "ftp", Proto: packet.ProtoTCP, Port: port,
		Classes: []alg.Class{{Name: "data", Limit: 1, Lifetime: lifetime}},
	}
}

// Configure implements [alg.Helper].
func (helper) Configure(options map[string]any) (any, error) {
	s := defaults
	for name, v := range options {
		var ok bool
		switch name {
		case "loose":
			s.loose, ok = v.([]conntrack.AddrRange)
		case "data_port":
			s.dataPorts, ok = v.([]conntrack.PortRange)
		case "min_port":
			s.minPort, ok = v.(int)
			ok = ok && s.minPort >= 1 && s.minPort <= 65535
		case "deny_port":
			s.denied, ok = v.([]conntrack.PortRange)
		case "strict20":
			s.strict20, ok = v.(bool)
		case "lprt":
			s.lprt, ok = v.(bool)
		case "ccc":
			s.ccc, ok = v.(bool)
		default:
			return nil, fmt.Errorf("ftp: no option %q", name)
		}
		if !ok {
			return nil, fmt.Errorf("ftp: %s: bad value %v", name, v)
		}
	}
	return &s, nil
}

// New implements [alg.StreamHelper].
func (helper) New(m alg.Master, config any) alg.Stream {
	cfg, ok := config.(*settings)
	if !ok {
		cfg = &defaults
	}
	s := &stream{settings: cfg}
	in, out := m.Arriving(conntrack.Original), m.Leaving(conntrack.Original)
	if s.lost = in.DstID == implicitPort || out.DstID == implicitPort; s.lost {
		m.Logf("port %d is encrypted from its first byte on: not helped", implicitPort)
	}
	for dir := range conntrack.Direction(2) {
		in, out := m.Arriving(dir), m.Leaving(dir)
		s.ends[dir] = end{inner: in.SrcAddr(), outer: out.SrcAddr()}
	}
	return s
}

// end is the address of one end of the control connection.
type end struct {
	inner netip.Addr // as the end itself has it
	outer netip.Addr // as the other end knows it
}

func (e *end) translated() bool { return e.inner != e.outer }

func inAddresses(list []conntrack.AddrRange, a netip.Addr) bool {
	for _, r := range list {
		if r.First.BitLen() == a.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0 {
			return true
		}
	}
	return false
}

func inPorts(list []conntrack.PortRange, port uint16) bool {
	for _, r := range list {
		if r.First <= port && port <= r.Last {
			return true
		}
	}
	return false
}
