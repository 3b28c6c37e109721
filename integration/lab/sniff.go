//go:build linux

package lab

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/netlab"
	"github.com/natrouter/natrouter/internal/testpkt"
)

// Sniffer checks every packet of an interface and keeps those that a test asked for.
type Sniffer struct {
	t       *testing.T
	Name    string
	capture *netlab.Capture
	check   func(netlab.Sniffed) error
	keep    func(netlab.Sniffed) bool

	mu      sync.Mutex
	kept    []netlab.Sniffed // guarded by mu
	changed chan struct{}    // guarded by mu; closed when kept grows
	seen    int              // guarded by mu
	bad     int              // guarded by mu
}

// badShown is how many bad packets a sniffer shows.
const badShown = 3

// Sniff watches an interface until the test ends. check judges every packet; keep, unless nil, chooses what find
// looks through.
func Sniff(t *testing.T, n *netlab.Namespace, name string, check func(netlab.Sniffed) error, keep func(netlab.Sniffed) bool) *Sniffer {
	t.Helper()
	s := &Sniffer{t: t, Name: n.Name + " " + name, check: check, keep: keep}
	var err error
	if s.capture, err = n.Sniff(name, s.see); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	return s
}

func (s *Sniffer) see(p netlab.Sniffed) {
	err := s.check(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen++
	if err != nil {
		if s.bad++; s.bad <= badShown {
			s.t.Errorf("%s: %v (outgoing %t, partial %t, %d bytes)\n%s", s.Name, err, p.Outgoing, p.Partial, len(p.Data),
				hex.Dump(p.Data[:min(len(p.Data), 128)]))
		}
	}
	if s.keep != nil && s.keep(p) {
		s.kept = append(s.kept, p)
		if s.changed != nil {
			close(s.changed)
			s.changed = nil
		}
	}
}

// Stop ends the sniffer and returns how many packets it saw.
func (s *Sniffer) Stop() int {
	s.capture.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bad > badShown {
		s.t.Errorf("%s: %d more packets like these", s.Name, s.bad-badShown)
	}
	s.bad = 0
	return s.seen
}

// Find waits up to timeout for a kept packet that fits.
func (s *Sniffer) Find(timeout time.Duration, fits func(netlab.Sniffed) bool) (netlab.Sniffed, bool) {
	deadline := time.After(timeout)
	for {
		s.mu.Lock()
		for _, p := range s.kept {
			if fits(p) {
				s.mu.Unlock()
				return p, true
			}
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			return netlab.Sniffed{}, false
		}
	}
}

// Checksums is nil if lengths and checksums of a packet are right. A checksum that is left to a device must hold the
// sum of the pseudo-header, which is what that device builds upon.
func Checksums(p netlab.Sniffed) error {
	if !p.Partial {
		return testpkt.Verify(p.Data)
	}
	want := bytes.Clone(p.Data)
	testpkt.MakePartial(want)
	if !bytes.Equal(want, p.Data) {
		return fmt.Errorf("partial checksum is not the pseudo-header's sum")
	}
	return nil
}

// CompleteChecksums is Checksums where nothing may be left to a device.
func CompleteChecksums(p netlab.Sniffed) error {
	if p.Partial {
		return fmt.Errorf("partial checksum")
	}
	return testpkt.Verify(p.Data)
}

// Translated is Checksums for the outside, where no inside address may show: not in the header, nor in the packet
// that an ICMP error quotes.
func Translated(check func(netlab.Sniffed) error) func(netlab.Sniffed) error {
	return func(p netlab.Sniffed) error {
		if err := check(p); err != nil {
			return err
		}
		l, err := testpkt.Parse(p.Data)
		if err != nil {
			return err
		}
		addresses := [][]byte{l.Src, l.Dst}
		if quote := Quoted(p.Data); quote != nil {
			if q, err := testpkt.Parse(quote); err == nil {
				addresses = append(addresses, q.Src, q.Dst)
			}
		}
		for _, raw := range addresses {
			a, _ := netip.AddrFromSlice(raw)
			for _, e := range Families {
				if e.Inside.Contains(a) {
					return fmt.Errorf("inside address %s outside", a)
				}
			}
		}
		return nil
	}
}

// Quoted returns the packet that an ICMP error quotes, nil for others.
func Quoted(b []byte) []byte {
	l, err := testpkt.Parse(b)
	if err != nil || l.Fragment() || len(b) < l.L4+8 {
		return nil
	}
	icmp := b[l.L4:]
	switch {
	case l.Proto == 1 && (icmp[0] == 3 || icmp[0] == 11 || icmp[0] == 12):
	case l.Proto == 58 && icmp[0] < 128:
	default:
		return nil
	}
	return icmp[8:]
}
