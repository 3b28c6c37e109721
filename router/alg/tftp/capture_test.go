package tftp

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
)

// captured is a datagram of a transfer.
type captured struct {
	fromServer       bool
	client, transfer uint16 // ports; transfer is the server's
	payload          string
}

// readTransfer returns the datagrams of a capture that holds one transfer.
func readTransfer(t *testing.T, path string) (list []captured) {
	t.Helper()
	packets, err := testpkt.ReadCapture(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packets {
		packet.IPv4(p.Data).UpdateChecksum() // one capture has none: the capturing host's card was to make it
		h, reason := packet.Parse(p.Data)
		if reason != packet.NotDropped || h.Proto != packet.ProtoUDP {
			t.Fatalf("% x: %v", p.Data, reason)
		}
		udp, err := packet.ParseUDP(p.Data[h.L4:h.Len])
		if err != nil {
			t.Fatal(err)
		}
		c := captured{client: udp.SrcPort(), transfer: udp.DstPort(), payload: string(udp.Payload())}
		if len(list) > 0 && udp.DstPort() == list[0].client {
			c = captured{true, udp.DstPort(), udp.SrcPort(), c.payload}
		}
		list = append(list, c)
	}
	return list
}

// The transfers of captures, with the client inside and with the server inside: all of it passes with the helper, and
// nothing of it changes but addresses and ports; without the helper the first answer does not get through.
func TestCaptures(t *testing.T) {
	dir := testpkt.Captures(t)
	for _, name := range []string{"tftp-oack.pcap", "tftp-tcpdump.pcap"} {
		list := readTransfer(t, filepath.Join(dir, "tftp", name))
		if len(list) != 7 || list[0].transfer != port || list[1].transfer == port {
			t.Fatalf("%s: %+v", name, list)
		}
		for way, ends := range map[string]struct {
			rule                        nat.Rule
			client, asked, server, seen string
		}{
			"client inside": {masquerade(), "10.77.1.2", "198.51.100.7", "198.51.100.7", "203.0.113.1"},
			"server inside": {forward("203.0.113.1:69", "10.77.1.50:69"), "198.51.100.7", "203.0.113.1", "10.77.1.50", "198.51.100.7"},
		} {
			t.Run(name+" "+way, func(t *testing.T) {
				for _, helped := range []bool{true, false} {
					w := newWorld(t, helped, ends.rule)
					for i, c := range list {
						from, to := endpoint(ends.client, c.client), endpoint(ends.asked, c.transfer)
						wantFrom, wantTo := endpoint(ends.seen, c.client), endpoint(ends.server, c.transfer)
						if c.fromServer {
							from, to, wantFrom, wantTo = wantTo, wantFrom, to, from
						}
						out, _ := w.Send(testpkt.UDP{Src: from, Dst: to, Payload: []byte(c.payload)}.Bytes(), packet.Meta{})
						want := testpkt.UDP{Src: wantFrom, Dst: wantTo, Payload: []byte(c.payload)}.Bytes()
						passed := len(out) == 1 && string(out[0].Bytes) == string(want)
						if passed != (helped || i == 0) {
							t.Fatalf("helped %v: datagram %d, %s to %s: %v left, want % x", helped, i, from, to, out, want)
						}
						if !helped && i == 1 {
							break
						}
					}
				}
			})
		}
	}
}

func endpoint(addr string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), port)
}

// A request that claims more bytes than there are: its file name has no end, and the length in its UDP header goes
// behind the end of the packet.
func TestClaimsMoreThanThereIs(t *testing.T) {
	payload := []byte("\x00\x01" + strings.Repeat("n", 64))
	if got := classify(payload); got != malformed {
		t.Errorf("a name without an end is %d", got)
	}
	b := testpkt.UDP{Src: endpoint("10.77.1.2", 1069), Dst: endpoint("198.51.100.7", port), Payload: payload}.Bytes()
	w := newWorld(t, true, masquerade())
	for _, more := range []int{1, 512, 0xffff - packet.UDPSize - len(payload)} {
		claims := bytes.Clone(b)
		binary.BigEndian.PutUint16(claims[packet.IPv4Size+4:], uint16(packet.UDPSize+len(payload)+more)) // RFC 768, Length
		if out, reason := w.Send(claims, packet.Meta{}); len(out) != 0 || reason == packet.NotDropped {
			t.Errorf("%d bytes more than there are: %v left, reason %v", more, out, reason)
		}
	}
}
