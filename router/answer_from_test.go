package router

import (
	"net/netip"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
)

// TestAnswerFrom: an error comes from an address of the ingress interface, of another one where it has none of the
// family, and from none where the router has none.
func TestAnswerFrom(t *testing.T) {
	sent := testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), TTL: 1}.Bytes()
	for name, tt := range map[string]struct {
		lan, wan []netip.Prefix
		want     netip.Addr // not valid: silence
	}{
		"the interface's":     {prefixes("10.77.0.1/24"), prefixes("203.0.113.1/24"), lan4},
		"another interface's": {prefixes("fd77::1/64"), prefixes("203.0.113.1/24"), wan4},
		"none":                {prefixes("fd77::1/64"), prefixes("2001:db8:113::1/64"), netip.Addr{}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			cfg.Interfaces[0].Address, cfg.Interfaces[1].Address = tt.lan, tt.wan
			cfg.Routes = append(cfg.Routes, Route{To: netip.MustParsePrefix("10.77.0.0/24"), Interface: "lan0"})
			n := newNetwork(t, cfg)
			out := n.send("lan0", sent)
			if tt.want.IsValid() {
				checkError(t, n.one(out, "lan0"), sent, tt.want, client4, [2]uint8{11, 0}, [2]uint8{3, 0})
				n.reason(packet.TTLExceeded)
			} else {
				n.dropped(out, packet.TTLExceeded)
			}
		})
	}
}

// TestRejectResetNumbers: the RST that stands for the destination's has the number that the segment acknowledges; a RST
// gets none (RFC 9293, section 3.10.7.1).
func TestRejectResetNumbers(t *testing.T) {
	for name, tt := range map[string]struct {
		flags   uint8
		payload int
		answer  bool
	}{
		"data":     {packet.FlagACK, 10, true},
		"last ACK": {packet.FlagACK, 0, true},
		"FIN":      {packet.FlagFIN | packet.FlagACK, 10, true},
		"RST":      {packet.FlagRST | packet.FlagACK, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			cfg.Filter.Rules = []FilterRule{{Proto: packet.ProtoTCP, In: "lan0", State: []string{"established"}, Action: FilterReject}}
			n := newNetwork(t, cfg)
			n.one(n.send("lan0", testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 25), Seq: 98, Flags: packet.FlagSYN}.Bytes()), "wan0")
			n.one(n.send("wan0", testpkt.TCP{Src: port(server4, 25), Dst: port(wan4, 5000), Seq: 7999, Ack: 99,
				Flags: packet.FlagSYN | packet.FlagACK}.Bytes()), "lan0")
			out := n.send("lan0", testpkt.TCP{Src: port(client4, 5000), Dst: port(server4, 25), Seq: 99, Ack: 8000, Flags: tt.flags,
				Payload: pattern(tt.payload)}.Bytes())
			if !tt.answer {
				n.dropped(out, packet.Filtered)
				return
			}
			seg := packet.TCP(n.one(out, "lan0")[packet.IPv4Size:])
			if seg.Flags() != packet.FlagRST || seg.Seq() != 8000 || seg.Ack() != 0 {
				t.Errorf("flags %02x, seq %d, ack %d; want a RST of number 8000", seg.Flags(), seg.Seq(), seg.Ack())
			}
		})
	}
}
