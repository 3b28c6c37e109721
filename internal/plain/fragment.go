package plain

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// datagram is one whose fragments have not all come.
type datagram struct {
	in       Side
	name     string // addresses, identification and, in IPv4, protocol (RFC 791, section 3.2; RFC 8200, section 4.5)
	parts    [][]byte
	deadline time.Duration
}

// first returns the fragment that begins the datagram, nil if it did not come.
func (d *datagram) first() []byte {
	for _, b := range d.parts {
		if l, _ := testpkt.Parse(b); l.FragOff == 0 {
			return b
		}
	}
	return nil
}

// Times that an incomplete datagram waits: RFC 8200, section 4.5, and for IPv4 what kernels use.
const (
	wait4 = 30 * time.Second
	wait6 = 60 * time.Second
)

// assemble returns a packet that is whole, or has become so by this fragment; and the size of its largest fragment, 0
// if it came whole. Else it keeps the fragment and returns nil.
func (r *Router) assemble(in Side, b []byte) (whole []byte, largest int) {
	l, err := testpkt.Parse(b)
	if err != nil {
		panic(fmt.Sprintf("plain: % x: %v", b, err))
	}
	if !l.Fragment() {
		return b, 0
	}
	name := fmt.Sprintf("%x %x %d %d", l.Src, l.Dst, l.ID, l.Proto)
	i := slices.IndexFunc(r.waiting, func(d *datagram) bool { return d.in == in && d.name == name })
	if i < 0 {
		i = len(r.waiting)
		r.waiting = append(r.waiting, &datagram{in: in, name: name, deadline: r.now + map[int]time.Duration{4: wait4, 6: wait6}[l.Family]})
	}
	d := r.waiting[i]
	d.parts = append(d.parts, b)
	if whole, err = paste(d.parts); err != nil {
		return nil, 0
	}
	r.waiting = slices.Delete(r.waiting, i, i+1)
	for _, p := range d.parts {
		largest = max(largest, len(p))
	}
	return whole, largest
}

// join returns the one packet that came out, whole, in fragments or in segments of a size, each of which must fit.
func join(out [][]byte, mtu, size int) ([]byte, error) {
	all, err := packets(out, mtu)
	switch {
	case err != nil:
		return nil, err
	case len(all) == 0:
		return nil, errors.New("nothing came out")
	case size > 0:
		return glue(all, size)
	case len(all) > 1:
		return nil, fmt.Errorf("%d packets came out, want one", len(all))
	}
	return all[0], nil
}

// paste makes a datagram of all its fragments; they do not overlap.
func paste(parts [][]byte) ([]byte, error) {
	type part struct {
		off  int
		more bool
		data []byte
	}
	var all []part
	var head []byte
	for _, b := range parts {
		l, err := testpkt.Parse(b)
		if err != nil {
			return nil, err
		}
		start := l.L4
		if l.FragOff == 0 {
			head = bytes.Clone(b[:l.L4])
			if l.FragHdr > 0 { // only a fragment header follows the IPv6 header in these tests
				head[6], head = b[l.FragHdr], head[:40]
			}
		}
		all = append(all, part{l.FragOff, l.More, b[start:l.Len]})
	}
	slices.SortFunc(all, func(a, b part) int { return a.off - b.off })
	var data []byte
	for _, p := range all {
		if p.off != len(data) {
			return nil, errors.New("a fragment is missing")
		}
		data = append(data, p.data...)
	}
	if head == nil || all[len(all)-1].more {
		return nil, errors.New("a fragment is missing")
	}
	whole := append(head, data...)
	if head[0]>>4 == 6 {
		binary.BigEndian.PutUint16(whole[4:], uint16(len(whole)-40))
		return whole, nil
	}
	binary.BigEndian.PutUint16(whole[2:], uint16(len(whole)))
	whole[6], whole[7] = whole[6]&0x40, 0
	sumIP(whole)
	return whole, nil
}
