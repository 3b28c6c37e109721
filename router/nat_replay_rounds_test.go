package router

import (
	"bytes"
	"cmp"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// replayed is one captured packet with its place in the replay.
type replayed struct {
	at      time.Time
	b       []byte
	inbound bool // sent by the outside host
}

// eachCapture calls f for all captures there are, in a test of its own each. repair is false where wrong checksums are
// the point.
func eachCapture(t *testing.T, f func(t *testing.T, packets []testpkt.Captured, repair bool)) {
	t.Helper()
	err := filepath.WalkDir(testpkt.Captures(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(d.Name(), ".pcap") {
			return err
		}
		packets, err := testpkt.ReadCapture(path)
		if err != nil {
			t.Logf("%s: %v", d.Name(), err)
			return nil
		}
		t.Run(d.Name(), func(t *testing.T) { f(t, packets, filepath.Base(filepath.Dir(path)) != "malformed") })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// rounds sorts the packets of a capture so that in each round every address is on one side only. Of each pair of
// addresses the one that sends first is inside, or (serverInside) the other.
func rounds(packets []testpkt.Captured, repair, serverInside bool) [][]replayed {
	type pair [2]netip.Addr
	insider := map[pair]netip.Addr{}        // by sorted pair
	var sides []map[netip.Addr]bool         // of each round: is the address outside?
	var all [][]replayed                    // by round
	roundOf := map[pair]int{}               // by sorted pair
	place := func(in, out netip.Addr) int { // the first round where both fit
		for i, s := range sides {
			inOut, known := s[in]
			outOut, knownToo := s[out]
			if !(known && inOut) && !(knownToo && !outOut) {
				return i
			}
		}
		sides, all = append(sides, map[netip.Addr]bool{}), append(all, nil)
		return len(sides) - 1
	}
	for _, p := range packets {
		l, err := testpkt.Parse(p.Data)
		if len(p.Data) == 0 || len(p.Data) > tun.MaxPacket || len(l.Src) == 0 {
			continue
		}
		b := bytes.Clone(p.Data)
		if err == nil {
			if b = b[:l.Len]; repair {
				repairChecksum(b)
			}
		}
		from, to := layoutAddrs(&l)
		if q, ok := quoteOf(b, &l); err == nil && ok { // an error goes to who sent what it quotes, by whatever router
			quoteFrom, quoteTo := layoutAddrs(&q)
			if in, ok := insider[sorted(quoteFrom, quoteTo)]; ok {
				i := roundOf[sorted(quoteFrom, quoteTo)]
				if outside, known := sides[i][from]; !known || outside == (in == quoteFrom) {
					sides[i][from] = in == quoteFrom
					all[i] = append(all[i], replayed{p.Time, b, in == quoteFrom})
					continue
				}
			}
		}
		key := sorted(from, to)
		if _, ok := insider[key]; !ok {
			in, out := from, to
			if serverInside {
				in, out = out, in
			}
			i := place(in, out)
			insider[key], roundOf[key] = in, i
			sides[i][in], sides[i][out] = false, true
		}
		i := roundOf[key]
		all[i] = append(all[i], replayed{p.Time, b, insider[key] != from})
	}
	return all
}

func sorted(a, b netip.Addr) [2]netip.Addr {
	if b.Less(a) {
		a, b = b, a
	}
	return [2]netip.Addr{a, b}
}

func layoutAddrs(l *testpkt.Layout) (src, dst netip.Addr) {
	src, _ = netip.AddrFromSlice(l.Src)
	dst, _ = netip.AddrFromSlice(l.Dst)
	return src, dst
}

// repairChecksum computes a transport checksum that the capturing host had left to its device.
func repairChecksum(b []byte) {
	if h, reason := packet.Parse(b); reason == packet.NotDropped && !h.Fragment && testpkt.Verify(b) != nil {
		packet.ComputeTransport(b, &h)
	}
}

// whole puts fragments together; it is no more than that, since the router refuses those that overlap.
func whole(fragments [][]byte) []byte {
	slices.SortStableFunc(fragments, func(a, b []byte) int {
		x, _ := testpkt.Parse(a)
		y, _ := testpkt.Parse(b)
		return cmp.Compare(x.FragOff, y.FragOff)
	})
	first, _ := testpkt.Parse(fragments[0])
	if !first.Fragment() {
		return bytes.Clone(fragments[0])
	}
	b := bytes.Clone(fragments[0][:first.Len])
	for i, f := range fragments[1:] {
		l, _ := testpkt.Parse(f)
		if previous, _ := testpkt.Parse(fragments[i]); l.FragOff != previous.FragOff { // else sent twice
			b = append(b, f[l.L4:l.Len]...)
		}
	}
	if first.Family == 6 {
		b[6] = b[first.FragHdr]
		b = slices.Delete(b, first.FragHdr, first.FragHdr+8)
		b[4], b[5] = byte((len(b)-40)>>8), byte(len(b)-40)
		return b
	}
	b[2], b[3] = byte(len(b)>>8), byte(len(b))
	b[6], b[7] = b[6]&0x40, 0
	setSum(b[:first.L4], 10)
	return b
}
