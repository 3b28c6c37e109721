package beside

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strconv"
	"strings"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// errAbsent says that a step names a packet that did not arrive on this system, so it can't be sent.
var errAbsent = errors.New("did not arrive")

// view is one system as one script sees it.
type view struct {
	*place
	sent     map[string][]byte    // the packet of each line as it was sent
	arrived  map[string][]arrival // what each line made arrive
	ports    chosen               // outside ports and ICMP identifiers
	calls    chosen               // outside call IDs
	written  map[int]bool         // all numbers of the script
	baseIPID uint16               // of the script's first packet
}

// newView begins a script on a system; i is its slot.
func newView(s *script, i int) *view {
	v := &view{place: newPlace(i, s), sent: map[string][]byte{}, arrived: map[string][]arrival{}, written: map[int]bool{},
		baseIPID: uint16(i+1) << 6}
	for j := range s.steps {
		maps.Copy(v.written, s.steps[j].numbers)
	}
	for _, f := range s.forwards {
		for n := range numbersIn(f.to) {
			v.written[n] = true
		}
		v.ports.name(map[string]int{"tcp": 6, "udp": 17, "sctp": 132}[f.proto], f.port, true)
	}
	return v
}

// arrivalOf returns the packet of a line as its receiver had it: on the far side, else where it came from.
func (v *view) arrivalOf(label string) (arrival, error) {
	all := v.arrived[label]
	for _, a := range all {
		if a.far {
			return a, nil
		}
	}
	if len(all) == 0 {
		return arrival{}, fmt.Errorf("%s %w", label, errAbsent)
	}
	return all[0], nil
}

// endpoint returns what a script's word for an endpoint is here, and the side that it stands on.
func (v *view) endpoint(word string) (netip.AddrPort, side, error) {
	if label, field, isRef := strings.Cut(word, "."); isRef {
		got, err := v.arrivalOf(label)
		if err != nil {
			return netip.AddrPort{}, inside, err
		}
		l, err := testpkt.Parse(got.data)
		if err != nil {
			return netip.AddrPort{}, inside, fmt.Errorf("%s arrived unreadable: %w", label, err)
		}
		raw := l.Src
		if field == "dst" {
			raw = l.Dst
		}
		port, err := v.port(label, field)
		a, _ := netip.AddrFromSlice(raw)
		return netip.AddrPortFrom(a, uint16(port)), got.side, err
	}
	host, portText, _ := strings.Cut(word, ":")
	a, known := v.byName[host]
	if !known {
		return netip.AddrPort{}, inside, fmt.Errorf("no host %q", host)
	}
	port := uint64(0)
	if portText != "" {
		var err error
		if port, err = strconv.ParseUint(portText, 10, 16); err != nil {
			return netip.AddrPort{}, inside, err
		}
	}
	at := inside
	if outsideHost(host) {
		at = outside
	}
	return netip.AddrPortFrom(a, uint16(port)), at, nil
}

// port returns a number of a packet as it arrived: a port, an identifier, a call ID or what its payload announces.
func (v *view) port(label, field string) (int, error) {
	if field == "end" {
		return v.end(label)
	}
	got, err := v.arrivalOf(label)
	if err != nil {
		return 0, err
	}
	l, err := testpkt.Parse(got.data)
	if err != nil {
		return 0, fmt.Errorf("%s arrived unreadable: %w", label, err)
	}
	b := got.data[l.L4:]
	payload := got.data[l.Payload:l.Len]
	switch field {
	case "src", "dst":
		at := map[string]int{"src": 0, "dst": 2}[field]
		if l.Proto == 1 || l.Proto == 58 || l.Proto == 47 || len(b) < 4 {
			return 0, nil // without ports
		}
		return int(binary.BigEndian.Uint16(b[at:])), nil
	case "id":
		return int(binary.BigEndian.Uint16(b[4:])), nil
	case "data":
		if n := announced(string(payload)); n != 0 {
			return n, nil
		}
		return 0, fmt.Errorf("an endpoint in %s %w", label, errAbsent)
	case "call":
		if m := readMessage(payload); m != nil && m.own != 0 {
			return int(binary.BigEndian.Uint16(payload[m.own:])), nil
		}
		return 0, fmt.Errorf("a call ID in %s %w", label, errAbsent)
	}
	return 0, fmt.Errorf("no field %q", field)
}

// end is the sequence number that follows a line's segment as it was sent.
func (v *view) end(label string) (int, error) {
	b := v.sent[label]
	l, err := testpkt.Parse(b)
	if err != nil || l.Proto != 6 {
		return 0, fmt.Errorf("%s is no TCP segment: %w", label, err)
	}
	return int(binary.BigEndian.Uint32(b[l.L4+4:])) + l.Len - l.Payload, nil
}

// number returns the value of a word: a number, or that of a packet that arrived. none is that of a word left out.
func (v *view) number(s *step, key string, none int) (int, error) {
	text, given := s.words[key]
	if !given {
		return none, nil
	}
	return v.value(text)
}

func (v *view) value(text string) (int, error) {
	if label, field, isRef := strings.Cut(text, "."); isRef {
		return v.port(label, field)
	}
	n, err := strconv.ParseInt(text, 0, 64)
	return int(n), err
}

// build returns the packets of a step on this system, and the side that they are sent from.
func (v *view) build(s *step) ([][]byte, side, error) {
	src, from, err := v.endpoint(s.src)
	if err != nil {
		return nil, from, err
	}
	dst, _, err := v.endpoint(s.dst)
	if err != nil {
		return nil, from, err
	}
	switch s.words["via"] {
	case "in":
		from = inside
	case "out":
		from = outside
	}
	payload, err := v.payload(s)
	if err != nil {
		return nil, from, err
	}
	l4, proto, err := v.transport(s, src, dst, payload)
	if err != nil {
		return nil, from, err
	}
	id, err := v.identification(s)
	if err != nil {
		return nil, from, err
	}
	raw := testpkt.Raw{Src: src.Addr(), Dst: dst.Addr(), Proto: proto, Payload: l4, ID: id}
	if err := v.ipWords(s, &raw); err != nil {
		return nil, from, err
	}
	b := raw.Bytes()
	if s.words["ipsum"] == "bad" {
		b[10] ^= 0x55
	}
	v.sent[s.label] = b
	all, err := v.fragments(s, b, id)
	return all, from, err
}

// identification returns that of a step's packet, in IPv6 of its fragments. A script's lines count up from its first;
// those with a word share the ones below that.
func (v *view) identification(s *step) (uint16, error) {
	shared, err := v.number(s, "ipid", -1)
	switch {
	case shared == -1 || err != nil:
		return v.baseIPID + uint16(len(v.sent)), err
	case shared < 0 || shared > 31:
		return 0, fmt.Errorf("ipid=%d: use 0 to 31", shared)
	}
	return v.baseIPID - 1 - uint16(shared), nil
}

func (v *view) ipWords(s *step, raw *testpkt.Raw) error {
	ttl, err1 := v.number(s, "ttl", 64)
	tos, err2 := v.number(s, "tos", 0)
	options, err3 := hex.DecodeString(s.words["opt"])
	_, df := s.words["df"]
	raw.TTL, raw.TOS, raw.DF, raw.IPOptions = uint8(ttl), uint8(tos), df, options
	return errors.Join(err1, err2, err3)
}

// payload builds what stands behind the transport header.
func (v *view) payload(s *step) ([]byte, error) {
	var b []byte
	if text, given := s.words["pptp"]; given {
		for one := range strings.SplitSeq(text, "/") {
			part, err := v.control(one)
			if err != nil {
				return nil, err
			}
			b = append(b, part...)
		}
	}
	for _, text := range s.payload {
		filled, err := v.fill(text)
		if err != nil {
			return nil, err
		}
		b = append(b, filled...)
	}
	n, err := v.number(s, "len", 0)
	if err != nil {
		return nil, err
	}
	for i := range n {
		b = append(b, pattern(i))
	}
	if text, given := s.words["cut"]; given {
		from, to, _ := strings.Cut(text, "-")
		i, err1 := strconv.Atoi(from)
		j, err2 := strconv.Atoi(to)
		if err := errors.Join(err1, err2); err != nil || i > j || i > len(b) {
			return nil, fmt.Errorf("cut=%s of %d bytes: %w", text, len(b), err)
		}
		b = b[i:min(j, len(b))]
	}
	return b, nil
}

// pattern is byte i of a payload that is only a length.
func pattern(i int) byte { return byte('A' + i%26) }

// control builds a control message of PPTP from its name and IDs.
func (v *view) control(text string) ([]byte, error) {
	parts := strings.Split(text, ",")
	var ids []int
	for _, p := range parts[1:] {
		n, err := v.value(p)
		if err != nil {
			return nil, err
		}
		ids = append(ids, n)
	}
	for _, m := range messages {
		if m.name == parts[0] {
			return m.bytes(ids), nil
		}
	}
	return nil, fmt.Errorf("no control message %q", parts[0])
}

// fragments cuts a packet if its step says so.
func (v *view) fragments(s *step, b []byte, id uint16) ([][]byte, error) {
	size, err := v.number(s, "frag", 0)
	if err != nil || size == 0 {
		return [][]byte{b}, err
	}
	all := testpkt.Fragments(b, size, uint32(id))
	order, given := s.words["order"]
	if !given {
		return all, nil
	}
	var ordered [][]byte
	for text := range strings.SplitSeq(order, ",") {
		i, err := strconv.Atoi(text)
		if err != nil || i >= len(all) {
			return nil, fmt.Errorf("order=%s of %d fragments: %w", order, len(all), err)
		}
		ordered = append(ordered, all[i])
	}
	return ordered, nil
}
