package pptp

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/router/conntrack"
)

const (
	client = "10.77.1.2"
	server = "198.51.100.7"
	router = "203.0.113.1"
)

// raw reads annotated hexadecimal; a star stands for 0 up to the length.
func raw(t testing.TB, s string, size int) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return append(b, make([]byte, size-len(b))...)
}

// snatCall is a control connection of a client behind SNAT with one call that is up: client 1111, by its outside
// 934f; server 2222. All in hexadecimal, as in the vectors.
func snatCall(t testing.TB) (*world, *control) {
	w := newWorld(t, masquerade())
	// 0x1111 is another host's already, and 0x934f is what it then gets: the vectors' translation.
	w.reserveAll(0x934f)
	c := w.dial(client+":1025", server+":1723", nil).start()
	in := raw(t, "00a8 0001 1a2b3c4d 0007 0000 1111 0001 0000012c 05f5e100 00000003 00000003 0040 0000 0000 0000", 168)
	c.swap(conntrack.Original, in, replaced(in, 12, 0x93, 0x4f))
	c.swap(conntrack.Reply, raw(t, "0020 0001 1a2b3c4d 0008 0000 2222 934f 01 00 0000 05f5e100 0040 0000 00000000", 32),
		raw(t, "0020 0001 1a2b3c4d 0008 0000 2222 1111 01 00 0000 05f5e100 0040 0000 00000000", 32))
	return w, c
}

func replaced(b []byte, at int, v ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[at:], v)
	return b
}

// The vectors of captured messages behind SNAT.
func TestVectors(t *testing.T) {
	for name, tt := range map[string]struct {
		dir      conntrack.Direction
		in, want string
		size     int
	}{
		"CCRQ":      {0, "0010 0001 1a2b3c4d 000c 0000 1111 0000", "0010 0001 1a2b3c4d 000c 0000 934f 0000", 16},
		"WEN":       {1, "0028 0001 1a2b3c4d 000e 0000 934f 0000", "0028 0001 1a2b3c4d 000e 0000 1111 0000", 40},
		"CDN":       {1, "0094 0001 1a2b3c4d 000d 0000 2222 0400", "0094 0001 1a2b3c4d 000d 0000 2222 0400", 148},
		"SLI out":   {0, "0018 0001 1a2b3c4d 000f 0000 2222 0000 ffffffff ffffffff", "0018 0001 1a2b3c4d 000f 0000 2222 0000 ffffffff ffffffff", 24},
		"SLI in":    {1, "0018 0001 1a2b3c4d 000f 0000 934f 0000 ffffffff ffffffff", "0018 0001 1a2b3c4d 000f 0000 1111 0000 ffffffff ffffffff", 24},
		"echo":      {0, "0010 0001 1a2b3c4d 0005 0000 00000007", "0010 0001 1a2b3c4d 0005 0000 00000007", 16},
		"echo back": {1, "0014 0001 1a2b3c4d 0006 0000 00000007 01 00 0000", "0014 0001 1a2b3c4d 0006 0000 00000007 01 00 0000", 20},
		"stop":      {0, "0010 0001 1a2b3c4d 0003 0000 01 00 0000", "0010 0001 1a2b3c4d 0003 0000 01 00 0000", 16},
		"stopped":   {1, "0010 0001 1a2b3c4d 0004 0000 01 00 0000", "0010 0001 1a2b3c4d 0004 0000 01 00 0000", 16},
		"unknown":   {0, "0010 0001 1a2b3c4d 000c 0000 3333 0000", "0010 0001 1a2b3c4d 000c 0000 3333 0000", 16},
		"type 0":    {0, "0010 0001 1a2b3c4d 0000 0000 1111 0000", "0010 0001 1a2b3c4d 0000 0000 1111 0000", 16},
		"type 16":   {0, "0010 0001 1a2b3c4d 0010 0000 1111 0000", "0010 0001 1a2b3c4d 0010 0000 1111 0000", 16},
		"too long":  {0, "0012 0001 1a2b3c4d 000c 0000 1111 0000 5555", "0012 0001 1a2b3c4d 000c 0000 934f 0000 5555", 18},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := snatCall(t)
			c.swap(tt.dir, raw(t, tt.in, tt.size), raw(t, tt.want, tt.size))
			echo := msg(echoRequest, 0, 7, 0)
			c.swap(tt.dir, echo, echo)
			if !c.Helped() {
				t.Error("detached")
			}
		})
	}
}

// A call that the PAC begins: the PNS is behind SNAT.
func TestIncomingCallVectors(t *testing.T) {
	w, c := snatCall(t)
	c.swap(conntrack.Original, msg(clearRequest, 0x1111, 0, 0), msg(clearRequest, 0x934f, 0, 0))
	c.feed(conntrack.Reply, msg(disconnectNotify, 0x2222, 0x0400, 0))
	w.Advance(30 * time.Second)
	request := msg(incomingRequest, 0x7777, 1, 0)
	c.swap(conntrack.Reply, request, request)
	in := raw(t, "0018 0001 1a2b3c4d 000a 0000 8888 7777 01 00 0040 0000 0000", 24)
	c.swap(conntrack.Original, in, replaced(in, 12, 0x93, 0x4f))
	c.swap(conntrack.Reply, raw(t, "001c 0001 1a2b3c4d 000b 0000 934f 0000", 28), raw(t, "001c 0001 1a2b3c4d 000b 0000 8888 0000", 28))
	w.wantGRE(client, server, 0x7777, router+">"+server+":30583")
	w.wantGRE(server, router, 0x934f, server+">"+client+":34952")
}

// What is no PPTP passes untouched from there on, what came before it is translated.
func TestDesync(t *testing.T) {
	good := msg(clearRequest, 0x1111, 0, 0)
	for name, bad := range map[string][]byte{
		"length 0":              replaced(good, 0, 0, 0),
		"length 11":             replaced(good, 0, 0, 11),
		"length 65535":          replaced(good, 0, 0xff, 0xff),
		"length 257":            replaced(good, 0, 1, 1),
		"shorter than its kind": replaced(good, 0, 0, 15),
		"cookie off by one":     replaced(good, 7, 0x4e),
		"TLS":                   []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03and so on"),
	} {
		t.Run(name, func(t *testing.T) {
			_, c := snatCall(t)
			in := bytes.Join([][]byte{good, bad, good}, nil)
			want := bytes.Join([][]byte{replaced(good, 12, 0x93, 0x4f), bad, good}, nil)
			c.swap(conntrack.Original, in, want)
			if c.Helped() {
				t.Error("not detached")
			}
		})
	}
}

// A stream that ends within a message: nothing is kept back but its IDs, and the reset ends the rest.
func TestTruncated(t *testing.T) {
	whole := msg(outgoingRequest, 0x1111, 1, 0)
	for n := range len(whole) {
		w := newWorld(t, masquerade())
		c := w.dial(client+":1025", server+":1723", nil).start()
		if got := len(c.feed(conntrack.Original, whole[:n])); got != n && (n <= 12 || n >= 16) || n > 12 && n < 16 && got != 12 {
			t.Errorf("%d bytes of %d left", got, n)
		}
		c.Close(conntrack.Original)
		c.Close(conntrack.Reply)
		if n := len(c.expectations()); n != 0 {
			t.Errorf("%d expectations", n)
		}
	}
}

// each is one of all fifteen messages, in an order in which a call of either kind comes up.
func each() (list []struct {
	dir conntrack.Direction
	b   []byte
}) {
	add := func(dir conntrack.Direction, k kind, first, second uint16) {
		list = append(list, struct {
			dir conntrack.Direction
			b   []byte
		}{dir, msg(k, first, second, 1)})
	}
	add(0, startRequest, 0x100, 0)
	add(1, startReply, 0x100, 0)
	add(0, echoRequest, 0, 5)
	add(1, echoReply, 0, 5)
	add(0, outgoingRequest, 7, 1)
	add(1, outgoingReply, 9, 0) // 0: the place of the ID that the client is known by
	add(0, setLink, 9, 0)
	add(1, errorNotify, 0, 0)
	add(1, incomingRequest, 10, 2)
	add(0, incomingReply, 8, 10)
	add(1, incomingConnected, 0, 0)
	add(0, clearRequest, 7, 0)
	add(1, disconnectNotify, 9, 0x400)
	add(0, stopRequest, 0x100, 0)
	add(1, stopReply, 0x100, 0)
	return list
}

// Every message cut in two at every place, byte by byte, and all of a direction's in one segment leave as whole ones
// do.
func TestEverySplit(t *testing.T) {
	run := func(cut func(i, n int) []int) (out [2][]byte) {
		w := newWorld(t, masquerade())
		other := w.dial("10.77.9.9:1000", server+":1723", nil).start()
		for id := range 20 {
			other.ask(uint16(id), 1) // so the IDs wanted are not free
		}
		c := w.dial(client+":1025", server+":1723", nil)
		var ids []uint16
		for i, m := range each() {
			b := bytes.Clone(m.b)
			switch kind(b[9]) {
			case outgoingReply:
				copy(b[14:], c.Heard(0)[len(c.Heard(0))-168+12:][:2])
			case errorNotify, incomingConnected:
				copy(b[12:], binaryID(ids[len(ids)-1]))
			}
			last := 0
			for _, at := range append(cut(i, len(b)), len(b)) {
				c.feed(m.dir, b[last:at])
				last = at
			}
			sent := c.Heard(m.dir)
			switch kind(b[9]) {
			case outgoingRequest, incomingReply:
				id := sent[len(sent)-len(b)+12:]
				if ids = append(ids, uint16(id[0])<<8|uint16(id[1])); ids[len(ids)-1] < 20 {
					t.Fatal("not translated")
				}
			}
		}
		out[0], out[1] = c.Heard(0), c.Heard(1)
		return out
	}
	whole := run(func(int, int) []int { return nil })
	for i, m := range each() {
		for at := 1; at < len(m.b); at += 1 + at/24*6 { // everywhere about the IDs, then here and there
			if got := run(func(j, _ int) []int { return map[bool][]int{true: {at}}[i == j] }); !same(got, whole) {
				t.Fatalf("%s cut at %d: % x, want % x", messages[m.b[9]].name, at, got, whole)
			}
		}
	}
	bytewise := func(_, n int) (all []int) {
		for at := 1; at < n; at++ {
			all = append(all, at)
		}
		return all
	}
	if got := run(bytewise); !same(got, whole) {
		t.Errorf("byte by byte: % x, want % x", got, whole)
	}
}

func binaryID(id uint16) []byte { return []byte{byte(id >> 8), byte(id)} }

func same(a, b [2][]byte) bool { return bytes.Equal(a[0], b[0]) && bytes.Equal(a[1], b[1]) }

// Ten messages in a segment, and a message over three.
func TestMerged(t *testing.T) {
	w, c := snatCall(t)
	var in, want []byte
	for range 3 {
		in = append(append(append(in, msg(echoRequest, 0, 1, 0)...), msg(setLink, 0x2222, 0, 0)...), msg(clearRequest, 0x1111, 0, 0)...)
		want = append(append(append(want, msg(echoRequest, 0, 1, 0)...), msg(setLink, 0x2222, 0, 0)...), msg(clearRequest, 0x934f, 0, 0)...)
	}
	in, want = append(in, msg(echoReply, 0, 1, 0)...), append(want, msg(echoReply, 0, 1, 0)...)
	c.swap(conntrack.Original, in, want)
	notify := msg(clearRequest, 0x1111, 0, 0)
	c.swap(conntrack.Original, notify[:5], notify[:5])
	c.swap(conntrack.Original, notify[5:13], notify[5:12])
	c.swap(conntrack.Original, notify[13:], replaced(notify, 12, 0x93, 0x4f)[12:])
	if w.count("messages") != 15 { // with those before
		t.Errorf("%d messages", w.count("messages"))
	}
}

// Nothing is allocated for what is not changed.
func TestStreamAllocs(t *testing.T) {
	s, p := newStream(New().(*helper), defaults), &paper{nat: [2]bool{true, true}}
	b := bytes.Join([][]byte{msg(echoRequest, 0, 1, 0), msg(setLink, 5, 0, 0)}, nil)
	if n := testing.AllocsPerRun(100, func() { s.Stream(p, conntrack.Original, b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
