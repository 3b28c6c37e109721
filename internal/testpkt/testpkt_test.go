package testpkt

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Packets computed by hand: the oracle itself has to be right.
const (
	knownTCP  = "450000280001400040063d17c0a8010acb007105" + "9c4006bb000003e8000000005002faf010560000"
	knownEcho = "0800e5ca12340001" // ICMP only
)

func TestBuildersGiveKnownPackets(t *testing.T) {
	src, dst := netip.MustParseAddrPort("192.168.1.10:40000"), netip.MustParseAddrPort("203.0.113.5:1723")
	got := TCP{Src: src, Dst: dst, Seq: 1000, Flags: 2, ID: 1, DF: true}.Bytes()
	if hex.EncodeToString(got) != knownTCP {
		t.Errorf("TCP %x, want %s", got, knownTCP)
	}
	got = Echo{Src: src.Addr(), Dst: dst.Addr(), ID: 0x1234, Seq: 1}.Bytes()
	if hex.EncodeToString(got[20:]) != knownEcho {
		t.Errorf("echo %x, want %s", got[20:], knownEcho)
	}
	if c := crc32c([]byte("123456789")); c != 0xe3069283 { // the check value of CRC-32C
		t.Errorf("crc32c = %08x", c)
	}
	if s := sum([]byte{0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7}); s != 0xddf2 { // RFC 1071, section 3
		t.Errorf("sum = %04x", s)
	}
}

func TestVerify(t *testing.T) {
	src, dst := netip.MustParseAddrPort("[fd77::2]:1"), netip.MustParseAddrPort("[fd77::3]:2")
	for name, b := range map[string][]byte{
		"tcp":  TCP{Src: src, Dst: dst, Payload: []byte("hello")}.Bytes(),
		"sctp": SCTP{Src: src, Dst: dst, Chunks: []byte("chunks..")}.Bytes(),
		"gre":  GREv0{Src: src.Addr(), Dst: dst.Addr(), HasChecksum: true, Payload: []byte("inside")}.Bytes(),
		"dccp": DCCP{Src: src, Dst: dst, Payload: []byte("data")}.Bytes(),
	} {
		if err := Verify(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		b[len(b)-1] ^= 1
		if err := Verify(b); !errors.Is(err, ErrChecksum) {
			t.Errorf("%s: a bit turned over: %v", name, err)
		}
		if err := Verify(append(b, 0)); err == nil {
			t.Errorf("%s: a byte behind the packet: passed", name)
		}
	}
	if err := Verify(UDP{Src: src, Dst: dst, NoChecksum: true}.Bytes()); !errors.Is(err, ErrChecksum) {
		t.Errorf("UDP over IPv6 without checksum: %v", err)
	}
}

// capture makes a classic capture file.
func capture(order binary.AppendByteOrder, magic, link uint32, frames ...[]byte) []byte {
	b := order.AppendUint32(nil, magic)
	b = append(b, make([]byte, 12)...)
	b = order.AppendUint32(b, 65535)
	b = order.AppendUint32(b, link)
	for i, f := range frames {
		for _, v := range []uint32{1000, uint32(i), uint32(len(f)), 1} { // on the wire it was shorter, it says
			b = order.AppendUint32(b, v)
		}
		b = append(b, f...)
	}
	return b
}

func TestReadCapture(t *testing.T) {
	ip := UDP{Src: netip.MustParseAddrPort("10.0.0.1:1"), Dst: netip.MustParseAddrPort("10.0.0.2:2")}.Bytes()
	frame := func(head ...byte) []byte { return append(head, ip...) }
	mac := make([]byte, 12)
	for name, tt := range map[string]struct {
		link  uint32
		frame []byte
		none  bool
	}{
		"raw":                {101, ip, false},
		"ethernet":           {1, frame(append(mac[:12:12], 8, 0)...), false},
		"ethernet, ARP":      {1, frame(append(mac[:12:12], 8, 6)...), true},
		"ethernet, short":    {1, mac, true},
		"two VLAN tags":      {1, frame(append(mac[:12:12], 0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 8, 0)...), false},
		"linux cooked":       {113, frame(append(make([]byte, 14), 8, 0)...), false},
		"linux cooked 2":     {276, frame(append([]byte{8, 0}, make([]byte, 18)...)...), false},
		"linux cooked 2 ARP": {276, frame(append([]byte{8, 6}, make([]byte, 18)...)...), true},
		"loopback":           {0, frame(2, 0, 0, 0), false},
		"ppp":                {9, frame(0xff, 3, 0, 0x21), false},
		"ppp, LCP":           {9, frame(0xff, 3, 0xc0, 0x21), true},
		"unknown link":       {147, ip, true},
	} {
		for magic, unit := range map[uint32]time.Duration{0xa1b2c3d4: time.Microsecond, 0xa1b23c4d: time.Nanosecond} {
			for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
				path := filepath.Join(t.TempDir(), "c.pcap")
				whole := capture(order, magic, tt.link, tt.frame, tt.frame)
				if err := os.WriteFile(path, whole, 0o600); err != nil {
					t.Fatal(err)
				}
				got, err := ReadCapture(path)
				switch {
				case err != nil || tt.none != (len(got) == 0):
					t.Errorf("%s: %d packets, %v", name, len(got), err)
				case !tt.none && (len(got) != 2 || !bytes.Equal(got[1].Data, ip) || !got[1].Time.Equal(time.Unix(1000, int64(unit)))):
					t.Errorf("%s: %+v", name, got)
				}
			}
		}
	}
}

func TestReadCaptureCutOff(t *testing.T) {
	whole := capture(binary.LittleEndian, 0xa1b2c3d4, 101, []byte{0x45, 0}, []byte{0x45, 1})
	path := filepath.Join(t.TempDir(), "c.pcap")
	for n := range whole {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadCapture(path)
		if (err != nil) != (n < 24) || len(got) != max(0, n-24)/18 {
			t.Errorf("%d bytes: %d packets, %v", n, len(got), err)
		}
	}
	if err := os.WriteFile(path, make([]byte, 64), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadCapture(path); err == nil {
		t.Error("zeros were read as a capture")
	}
}

func TestCapturesFromEnvironment(t *testing.T) {
	t.Setenv("NATROUTER_CAPTURES", "somewhere")
	if dir := Captures(t); dir != "somewhere" {
		t.Errorf("Captures = %q", dir)
	}
}
