package beside

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// transport builds a step's transport header with its payload, and returns its protocol number.
func (v *view) transport(s *step, src, dst netip.AddrPort, payload []byte) ([]byte, uint8, error) {
	whole, err := v.whole(s, src, dst, payload)
	if err != nil {
		return nil, 0, err
	}
	l, err := testpkt.Parse(whole)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", s, err)
	}
	l4 := whole[l.L4:]
	at := map[int]int{1: 2, 6: 16, 17: 6, 58: 2, 132: 8, 136: 6}[l.Proto]
	switch s.words["sum"] {
	case "bad":
		l4[at] ^= 0x55
	case "none":
		l4[at], l4[at+1] = 0, 0
	}
	return l4, uint8(l.Proto), nil
}

// whole builds the packet as if its IP header had nothing special.
func (v *view) whole(s *step, src, dst netip.AddrPort, payload []byte) ([]byte, error) {
	switch s.proto {
	case "udp":
		return testpkt.UDP{Src: src, Dst: dst, Payload: payload}.Bytes(), nil
	case "udplite":
		return testpkt.UDPLite{Src: src, Dst: dst, Payload: payload}.Bytes(), nil
	case "tcp":
		return v.tcp(s, src, dst, payload)
	case "echo", "pong":
		id, err1 := v.number(s, "id", 1)
		n, err2 := v.number(s, "n", 1)
		e := testpkt.Echo{Src: src.Addr(), Dst: dst.Addr(), Reply: s.proto == "pong", ID: uint16(id), Seq: uint16(n), Payload: payload}
		return e.Bytes(), errors.Join(err1, err2)
	case "icmp":
		return v.icmp(s, src.Addr(), dst.Addr(), payload)
	case "gre", "gre0":
		return v.gre(s, src.Addr(), dst.Addr(), payload)
	case "sctp":
		tag, err1 := v.number(s, "tag", 0)
		chunks, err2 := hex.DecodeString(s.words["chunk"])
		return testpkt.SCTP{Src: src, Dst: dst, Tag: uint32(tag), Chunks: append(chunks, payload...)}.Bytes(), errors.Join(err1, err2)
	}
	proto, err := v.number(s, "proto", 0)
	return testpkt.Raw{Src: src.Addr(), Dst: dst.Addr(), Proto: uint8(proto), Payload: payload}.Bytes(), err
}

// flagBits are the flags of TCP by their letters (RFC 9293, section 3.1).
const flagBits = "FSRPAUEC"

func (v *view) tcp(s *step, src, dst netip.AddrPort, payload []byte) ([]byte, error) {
	seq, err1 := v.number(s, "seq", 0)
	ack, err2 := v.number(s, "ack", 0)
	win, err3 := v.number(s, "win", 8000)
	urgent, err4 := v.number(s, "urg", 0)
	options, err5 := v.tcpOptions(s)
	p := testpkt.TCP{Src: src, Dst: dst, Seq: uint32(seq), Ack: uint32(ack), Win: uint16(win), Urgent: uint16(urgent),
		Options: options, Payload: payload}
	for _, f := range s.words["flags"] {
		if bit := strings.IndexRune(flagBits, f); bit >= 0 {
			p.Flags |= 1 << bit
		}
	}
	if win == 0 {
		p.Win = 1
	}
	b := p.Bytes()
	if win == 0 {
		closeWindow(b[len(b)-len(payload)-len(options)-20:])
	}
	return b, errors.Join(err1, err2, err3, err4, err5)
}

// closeWindow makes a segment's window of 1 one of 0, which the builder takes for left out, and the checksum that of
// the new segment (RFC 1624).
func closeWindow(segment []byte) {
	binary.BigEndian.PutUint16(segment[14:], 0)
	sum := uint32(^binary.BigEndian.Uint16(segment[16:])) + 0xfffe
	binary.BigEndian.PutUint16(segment[16:], ^uint16(sum+sum>>16))
}

// tcpOptions builds the options that a step names (RFC 9293, section 3.1; RFC 7323; RFC 2018), padded with no-operation.
func (v *view) tcpOptions(s *step) ([]byte, error) {
	var b []byte
	mss, err1 := v.number(s, "mss", 0)
	if mss != 0 {
		b = binary.BigEndian.AppendUint16(append(b, 2, 4), uint16(mss))
	}
	scale, err2 := v.number(s, "ws", -1)
	if scale >= 0 {
		b = append(b, 3, 3, byte(scale))
	}
	if _, ok := s.words["sackok"]; ok {
		b = append(b, 4, 2)
	}
	var err3 error
	if text, ok := s.words["sack"]; ok {
		left, right, _ := strings.Cut(text, "-")
		l, errL := strconv.ParseUint(left, 10, 32)
		r, errR := strconv.ParseUint(right, 10, 32)
		b = binary.BigEndian.AppendUint32(append(b, 5, 10), uint32(l))
		b = binary.BigEndian.AppendUint32(b, uint32(r))
		err3 = errors.Join(errL, errR)
	}
	ts, err4 := v.number(s, "ts", 0)
	if ts != 0 {
		b = binary.BigEndian.AppendUint32(append(b, 8, 10), uint32(ts))
		b = append(b, 0, 0, 0, 0)
	}
	for len(b)%4 != 0 {
		b = append(b, 1)
	}
	return b, errors.Join(err1, err2, err3, err4)
}

func (v *view) icmp(s *step, src, dst netip.Addr, payload []byte) ([]byte, error) {
	typText, codeText, _ := strings.Cut(s.words["type"], "/")
	typ, err1 := strconv.ParseUint(typText, 10, 8)
	code, err2 := strconv.ParseUint(codeText, 10, 8)
	rest, err3 := v.number(s, "rest", 0)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	quote := append([]byte(nil), v.sent[s.words["sent"]]...)
	if label, given := s.words["quote"]; given {
		got, err := v.arrivalOf(label)
		if err != nil {
			return nil, err
		}
		quote = append(quote, got.data...)
	}
	trim, err := v.number(s, "trim", len(quote))
	if err != nil {
		return nil, err
	}
	quote = append(quote[:min(trim, len(quote))], payload...)
	return testpkt.ICMP{Src: src, Dst: dst, Type: uint8(typ), Code: uint8(code), Rest: uint32(rest), Payload: quote}.Bytes(), nil
}

func (v *view) gre(s *step, src, dst netip.Addr, payload []byte) ([]byte, error) {
	_, hasSeq := s.words["seq"]
	_, hasAck := s.words["ack"]
	_, hasKey := s.words["key"]
	call, err1 := v.number(s, "call", 0)
	seq, err2 := v.number(s, "seq", 0)
	ack, err3 := v.number(s, "ack", 0)
	key, err4 := v.number(s, "key", 0)
	err := errors.Join(err1, err2, err3, err4)
	if s.proto == "gre" {
		return testpkt.GREv1{Src: src, Dst: dst, CallID: uint16(call), HasSeq: hasSeq, HasAck: hasAck,
			Seq: uint32(seq), Ack: uint32(ack), Payload: payload}.Bytes(), err
	}
	return testpkt.GREv0{Src: src, Dst: dst, HasKey: hasKey, HasSeq: hasSeq, Key: uint32(key), Seq: uint32(seq), Payload: payload}.Bytes(), err
}
