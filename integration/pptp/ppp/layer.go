package ppp

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// layer is one end of LCP or IPCP: the part of the automaton of RFC 1661, section 4, that is left when both ends are
// willing and the link below never goes down but for good.
type layer struct {
	protocol uint16
	ask      func() []Option // what we want now
	// judge returns what to answer to an option of the peer: configureAck, configureNak with a better option, or
	// configureReject.
	judge func(Option) (code uint8, better Option)
	// told takes the answer to ours: an option that was acknowledged, or one that the peer would rather see.
	told func(Option)

	id           uint8 // of our last request
	here, theirs bool  // our options are acknowledged by the peer; the peer's by us
}

// open reports whether both ends agree.
func (l *layer) open() bool { return l.here && l.theirs }

// request is our Configure-Request; each has an ID of its own.
func (l *layer) request() Packet {
	l.id++
	return Packet{Code: configureRequest, ID: l.id, Data: appendOptions(nil, l.ask())}
}

// configure handles a Configure packet and returns what to send, if anything.
func (l *layer) configure(p Packet) (answer []Packet) {
	options, err := ParseOptions(p.Data)
	if err != nil {
		return nil
	}
	switch {
	case p.Code == configureRequest:
		a := l.decide(p.ID, options)
		l.theirs = a.Code == configureAck
		return []Packet{a}
	case p.ID != l.id:
		return nil // to an older request
	case p.Code == configureAck:
		if !bytes.Equal(p.Data, appendOptions(nil, l.ask())) {
			return nil // RFC 1661, section 5.2: the options must be ours
		}
		for _, o := range options {
			l.told(o)
		}
		l.here = true
	case p.Code == configureNak:
		for _, o := range options {
			l.told(o)
		}
		return []Packet{l.request()}
	}
	return nil // a Configure-Reject of what we can't do without: we ask until the peer gives up
}

// decide judges a request as a whole: rejected options count more than those to be changed (RFC 1661, section 5.4).
func (l *layer) decide(id uint8, options []Option) Packet {
	var bad, better []Option
	for _, o := range options {
		switch code, other := l.judge(o); code {
		case configureReject:
			bad = append(bad, o)
		case configureNak:
			better = append(better, other)
		}
	}
	switch {
	case len(bad) > 0:
		return Packet{Code: configureReject, ID: id, Data: appendOptions(nil, bad)}
	case len(better) > 0:
		return Packet{Code: configureNak, ID: id, Data: appendOptions(nil, better)}
	}
	return Packet{Code: configureAck, ID: id, Data: appendOptions(nil, options)}
}

// lcp is the LCP of an end with a magic number, which tells its own requests, sent back by a line that echoes, from
// the peer's (RFC 1661, section 6.4).
func lcp(magic uint32) *layer {
	mine := Option{optionMagic, binary.BigEndian.AppendUint32(nil, magic)}
	return &layer{
		protocol: protoLCP,
		ask:      func() []Option { return []Option{mine} },
		judge: func(o Option) (uint8, Option) {
			switch {
			case o.Type == optionMagic && bytes.Equal(o.Value, mine.Value):
				return configureNak, Option{optionMagic, binary.BigEndian.AppendUint32(nil, magic+1)}
			case o.Type == optionMagic && len(o.Value) == 4, o.Type == optionMap && len(o.Value) == 4,
				o.Type == optionMRU && len(o.Value) == 2:
				return configureAck, o
			}
			return configureReject, o
		},
		told: func(Option) {},
	}
}

// ipcp is the IPCP of an end. local and remote are the addresses of both; local may be unspecified, then the peer
// gives one, and a remote that is unspecified is what the peer says.
func ipcp(local, remote *netip.Addr) *layer {
	return &layer{
		protocol: protoIPCP,
		ask:      func() []Option { return []Option{{optionAddress, local.AsSlice()}} },
		judge: func(o Option) (uint8, Option) {
			a, ok := netip.AddrFromSlice(o.Value)
			switch {
			case o.Type != optionAddress || !ok || !a.Is4():
				return configureReject, o
			case remote.IsUnspecified() && !a.IsUnspecified():
				*remote = a
			case a != *remote:
				return configureNak, Option{optionAddress, remote.AsSlice()}
			}
			return configureAck, o
		},
		told: func(o Option) {
			if a, ok := netip.AddrFromSlice(o.Value); o.Type == optionAddress && ok && a.Is4() {
				*local = a
			}
		},
	}
}
