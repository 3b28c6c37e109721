package ftp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/alg/algtest"
	"github.com/natrouter/natrouter/router/conntrack"
)

var thirdAddr = netip.MustParseAddr("192.0.2.66")

// paper is a Master that keeps one expectation and knows no other connection.
type paper struct {
	ends    [2]end
	next    conntrack.ExpectID // so many were awaited
	awaited string
	held    int // reserved ports
}

func (p *paper) tuple(src, dst netip.Addr) conntrack.Tuple {
	return conntrack.Tuple{Src: src.As16(), Dst: dst.As16(), SrcID: 1025, DstID: 21, Proto: 6, Family: 4}
}

func (p *paper) Arriving(dir conntrack.Direction) conntrack.Tuple {
	return p.tuple(p.ends[dir].inner, p.ends[1-dir].outer)
}

func (p *paper) Leaving(dir conntrack.Direction) conntrack.Tuple {
	return p.tuple(p.ends[dir].outer, p.ends[1-dir].inner)
}
func (p *paper) Now() conntrack.Time                                   { return 1 }
func (p *paper) ID() conntrack.Handle                                  { return 1 }
func (p *paper) Expectations() []conntrack.Expectation                 { return nil }
func (p *paper) Find(*conntrack.Tuple) (s conntrack.Snapshot, ok bool) { return s, false }
func (p *paper) Kill(conntrack.Handle) bool                            { return false }
func (p *paper) Timeouts(conntrack.Timeouts) uint16                    { return 1 }
func (p *paper) Wake(conntrack.Time)                                   {}
func (p *paper) Count(string)                                          {}
func (p *paper) Logf(string, ...any)                                   {}

func (p *paper) Expect(e conntrack.Expectation) (conntrack.ExpectID, error) {
	p.next++
	to := netip.AddrPortFrom(e.Tuple.DstAddr(), e.Tuple.DstID)
	p.awaited = fmt.Sprintf("%s>%s, %d", e.Tuple.SrcAddr(), to, e.NAT.Dst.Key)
	return p.next, nil
}

func (p *paper) Unexpect(id conntrack.ExpectID) bool {
	if id == p.next {
		p.awaited = ""
	}
	return id == p.next
}

func (p *paper) Reserve(_ uint8, _ netip.Addr, inside netip.AddrPort) (uint16, bool) {
	p.held++
	return reserved(inside.Port()), true
}

func (p *paper) Unreserve(uint8, netip.Addr, uint16) { p.held-- }

// reserved is the outside port for a port: sometimes it is free.
func reserved(port uint16) uint16 {
	if port%3 == 0 {
		return port ^ 0x1f
	}
	return port
}

var _ alg.Master = (*paper)(nil)

// feeder gives the helper bytes as the kit does.
type feeder struct {
	t       algtest.T
	m       *paper
	stream  alg.Stream
	off     bool
	pending [2][]byte // not consumed
	left    [2]int    // bytes of pending that have left already
	holds   [2]bool   // the helper wants more first
	out     [2][]byte // with what is left over of pending: all that was said
}

func (f *feeder) feed(dir conntrack.Direction, b []byte) {
	f.pending[dir] = append(f.pending[dir], b...)
	hold := false
	for !f.off && len(f.pending[dir]) > 0 {
		p := f.pending[dir]
		r := f.stream.Stream(f.m, dir, slices.Clip(p))
		last := 0
		for _, e := range r.Edits {
			if e.Off < max(f.left[dir], last) || e.Off+e.Len > r.Consumed || e.Len == 0 {
				f.t.Fatalf("edit of %d bytes at %d, of %d consumed and %d that have left", e.Len, e.Off, r.Consumed, f.left[dir])
			}
			f.out[dir] = append(append(f.out[dir], p[last:e.Off]...), e.New...)
			last = e.Off + e.Len
		}
		f.out[dir] = append(f.out[dir], p[last:r.Consumed]...)
		f.pending[dir] = p[r.Consumed:]
		f.left[dir] = max(0, f.left[dir]-r.Consumed)
		if f.off, hold = r.Detach, r.Hold; r.Consumed == 0 {
			break
		}
	}
	if !hold {
		f.left[dir] = len(f.pending[dir])
	}
	f.holds[dir] = hold && len(f.pending[dir]) > 0
}

// letGo lets what waits leave.
func (f *feeder) letGo(dir conntrack.Direction) {
	if f.holds[dir] && !f.off {
		f.stream.(alg.Yielder).LetGo(f.m, dir)
		f.left[dir], f.holds[dir] = len(f.pending[dir]), false
	}
}

// setting is what a case is about, by bits: which end is translated, the family, options.
func setting(bits uint8) ([2]end, map[string]any) {
	a := [4]string{"10.77.1.2", "203.0.113.1", "198.51.100.7", "203.0.113.99"}
	if bits&4 != 0 {
		a = [4]string{"fd77::2", "2001:db8:113::1", "2001:db8:7::7", "2001:db8:113::99"}
	}
	var ends [2]end
	for dir := range ends {
		ends[dir] = end{netip.MustParseAddr(a[2*dir]), netip.MustParseAddr(a[2*dir])}
		if bits>>dir&1 != 0 {
			ends[dir].outer = netip.MustParseAddr(a[2*dir+1])
		}
	}
	return ends, map[string]any{"lprt": bits&8 != 0, "loose": algtest.Ranges("192.0.2.66/32")}
}

// compare gives what two ends say to the helper and to the slow one, cut as cuts says: in each the direction and how many
// bytes come next; none: what waits is let go. It returns how many connections
// were awaited, and whether the helper read to the end.
func compare(t algtest.T, bits uint8, streams [2][]byte, cuts []byte) (awaited int, whole bool) {
	t.Helper()
	ends, options := setting(bits)
	config, err := New().Configure(options)
	if err != nil {
		t.Fatalf("%v", err)
	}
	f := &feeder{t: t, m: &paper{ends: ends}}
	f.stream = New().New(f.m, config)
	s := &slow{ends: ends, lprt: bits&8 != 0, reserve: reserved}
	step := func(dir, n int) {
		piece := streams[dir][:n]
		streams[dir] = streams[dir][n:]
		if n == 0 {
			s.letGo(dir)
			f.letGo(conntrack.Direction(dir))
		} else {
			s.arrive(dir, latin1(piece))
			f.feed(conntrack.Direction(dir), piece)
		}
		for d := range 2 {
			if got, want := f.out[d], bytesOf(s.out[d]); !f.off && (!bytes.Equal(got, want) || f.left[d] != s.gone[d] && len(f.pending[d]) > 0) {
				t.Fatalf("bits %d, direction %d, after %q:\n got %q, %d of %q\nwant %q, %d of %q", bits, d, piece, got, f.left[d], f.pending[d], want, s.gone[d], s.line[d])
			}
		}
		if f.off != s.off {
			t.Fatalf("after %q: left alone %v, want %v", piece, f.off, s.off)
		}
		if !f.off && f.m.awaited != s.awaited {
			t.Fatalf("after %q: awaited %q, want %q", piece, f.m.awaited, s.awaited)
		}
	}
	for _, c := range cuts {
		dir := int(c & 1)
		step(dir, min(len(streams[dir]), int(c>>1)))
	}
	for dir := range 2 {
		if len(streams[dir]) > 0 {
			step(dir, len(streams[dir]))
		}
	}
	for dir := range 2 {
		if got, want := append(f.out[dir], f.pending[dir]...), bytesOf(s.out[dir]+s.line[dir]); !bytes.Equal(got, want) {
			t.Fatalf("bits %d, direction %d:\n got %q\nwant %q", bits, dir, got, want)
		}
	}
	if f.stream.Destroy(f.m); f.m.held != 0 || f.m.awaited != "" {
		t.Fatalf("%d ports held, %q awaited after the end", f.m.held, f.m.awaited)
	}
	return int(f.m.next), !f.off
}

// conversation makes what two ends say: mostly right, in words that matter.
func conversation(r *rand.Rand, bits uint8, turns int) (streams [2][]byte, cuts []byte) {
	ends, _ := setting(bits)
	said := 0 // cuts of the other direction so far
	say := func(dir int, text string) {
		for len(text) > 0 { // cut as it is said, so that the order of the two is kept
			n := min(len(text), 1+r.IntN(127))
			streams[dir] = append(streams[dir], text[:n]...)
			if cuts = append(cuts, byte(n<<1|dir)); r.IntN(60) == 0 {
				cuts = append(cuts, byte(dir))
			}
			text = text[n:]
			said++
		}
	}
	eol := func() string { return []string{"\r\n", "\r\n", "\r\n", "\n", "\r\r\n", " \r\n"}[r.IntN(6)] }
	ports := []int{5000, 5001, 5002, 5003, 1024, 1023, 0, 65535}
	address := func(dir int) (addr, six, twenty string, p int) {
		a := []netip.Addr{
			ends[dir].inner, ends[dir].inner, ends[dir].inner, ends[dir].outer, thirdAddr, ends[1-dir].inner, netip.IPv4Unspecified(), netip.IPv6Unspecified(),
		}[r.IntN(8)]
		p = ports[r.IntN(len(ports))]
		port := appendNumbers(nil, byte(p>>8), byte(p))
		six = string(appendNumbers(nil, a.AsSlice()...)) + "," + string(port)
		af, n := 4, 4
		if a.Is6() {
			af, n = 6, 16
		}
		twenty = fmt.Sprintf("%d,%d,%s,2,%s", af, n, appendNumbers(nil, a.AsSlice()...), port)
		return a.String(), six, twenty, p
	}
	if r.IntN(4) == 0 {
		say(1, []string{"welcome\r\n", "\xff\xfb\x01\xff\xfd\x03", "\xff\xfa\x18\xff\xff\r\n\xff\xf0", "\xe9t\xe9\r\n", "120 soon\r\n"}[r.IntN(5)])
		say(0, []string{"\r\n", "\xff\xfc\x01\r\n", "\xff\xf1", "", ""}[r.IntN(5)])
	}
	login := []string{"230 welcome\r\n", "200 ok\r\n", "232 x\r\n", "299-a\r\n299 b\r\n"}[max(0, r.IntN(8)-4)]
	for _, l := range dialogue {
		if l.text == "230 welcome\r\n" {
			l.text = login
		}
		if l.text == "USER u\r\n" && r.IntN(8) == 0 {
			l.text = []string{"OPEN x\r\nUSER u\r\n", "SITE x\r\nUSER u\r\n"}[r.IntN(2)]
		}
		if r.IntN(30) > 0 {
			say(int(l.dir), l.text)
		}
	}
	for range turns {
		addr, six, twenty, p := address(0)
		af := 1 + bits>>2&1
		commands := []string{"PORT " + six, "port  " + six, "EPRT " + fmt.Sprintf("|%d|%s|%d|", af, addr, p),
			"EPRT " + fmt.Sprintf("~%d~%s~%d~", af, addr, p), "LPRT " + twenty, "PASV", "EPSV", "EPSV 1", "LPSV", "\xff\xf4\xff\xf2PASV", "EPSV",
			"NOOP", "RETR x", "TYPE I", "ABOR", "\xff\xf4\xff\xf2ABOR", "\xff\xfb\x01PORT " + six, "", "USER x", "PASS", "xx yy"}
		rare := []string{"EPSV ALL", "AUTH TLS", "REIN", "QUIT", string(make([]byte, 3)), "NO\x00OP", "\xe9", "\xff\xfa\x18x\xff\xf0PORT " + six, "STOR " + string(bytes.Repeat([]byte("x"), 500+r.IntN(20)))}
		for n := 1 + r.IntN(3)/2; n > 0; n-- {
			text := commands[r.IntN(len(commands))]
			if r.IntN(40) == 0 {
				text = rare[r.IntN(len(rare))]
			}
			say(0, mutate(r, text)+eol())
		}
		addr, six, twenty, p = address(1)
		replies := []string{"227 go (" + six + ").", "227 =" + six, "227 1 " + six, "229 go (" + fmt.Sprintf("|||%d|", p) + ")", "229 (!!!" + fmt.Sprint(p) + "!)",
			"229 (|1|" + addr + "|5000|)", "228 go (" + twenty + ")", "200 fine", "226 done", "150 begin", "500 no", "230 in", "331 x", "220 x", "211-a", "211 b", "227-", "229-x",
			"250 late", "350 more", "\xff\xfb\x01227 (" + six + ")", "\xff\xf9229 (|||5003|)", "227 go (" + strings.ReplaceAll(six, ",", ", ") + ")",
			"228 (" + strings.ReplaceAll(twenty, ",", ",  ") + ")", "\xe9t", "632 x"}
		for n := 1 + r.IntN(3)/2; n > 0; n-- {
			say(1, mutate(r, replies[r.IntN(len(replies))])+eol())
		}
		if r.IntN(100) == 0 {
			say(1, "234 go\r\n")
		}
	}
	return streams, cuts
}

// mutate changes a byte of a text, seldom.
func mutate(r *rand.Rand, text string) string {
	if text == "" || r.IntN(15) > 0 {
		return text
	}
	b, i := []byte(text), r.IntN(len(text))
	switch r.IntN(4) {
	case 0:
		b[i] = byte(r.IntN(256))
	case 1:
		b = slices.Delete(b, i, i+1)
	case 2:
		b = slices.Insert(b, i, b[i])
	default:
		b[i] = "0123456789,|()- \r\n"[r.IntN(18)]
	}
	return string(b)
}

// The helper agrees with the slow one, however the streams are cut.
func TestSlow(t *testing.T) {
	awaited, whole := 0, 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		streams, cuts := conversation(r, uint8(seed), 1+r.IntN(40))
		if seed%4 == 0 { // cut otherwise than they were said
			for i := range cuts {
				cuts[i] = byte(r.IntN(256))
			}
		}
		n, ok := compare(t, uint8(seed), streams, cuts)
		if awaited += n; ok {
			whole++
		}
	}
	if awaited < 4000 || whole < 1000 {
		t.Errorf("%d connections awaited, %d conversations read to the end: too little to show anything", awaited, whole)
	}
}

// FuzzStream is TestSlow for the fuzzer.
func FuzzStream(f *testing.F) {
	for seed := range uint64(32) {
		streams, cuts := conversation(rand.New(rand.NewPCG(seed, 2)), uint8(seed), 10)
		f.Add(uint8(seed), streams[0], streams[1], cuts)
	}
	f.Fuzz(func(t *testing.T, bits uint8, there, back, cuts []byte) {
		if len(there)+len(back) > 1<<12 || len(cuts) > 1<<9 {
			return // the slow one is slow
		}
		compare(t, bits, [2][]byte{there, back}, cuts)
	})
}
