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
	in        Side
	family    int
	hosts     string // both addresses
	name      string // identification and, in IPv4, protocol (RFC 791, section 3.2; RFC 8200, section 4.5)
	parts     [][]byte
	deadline  time.Duration
	later     int  // datagrams of these hosts that began later and became whole
	condemned bool // fragments of it overlap, and it is IPv6: none of them counts (RFC 5722, section 4)
}

// first returns the fragment that begins the datagram, nil if it did not come.
func (d *datagram) first() []byte {
	for _, b := range d.parts {
		if partOf(b).off == 0 {
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

// overtaken is how many of the same hosts may become whole before an incomplete datagram of IPv4 is given up, because its
// identification may be used again (RFC 4963).
const overtaken = 64

// assemble returns a packet that is whole, or has become so by this fragment; and the size of its largest fragment, 0
// if it came whole. Else it keeps the fragment, or drops it, and returns nil.
func (r *Router) assemble(in Side, b []byte) (whole []byte, largest int) {
	l, err := testpkt.Parse(b)
	if err != nil {
		panic(fmt.Sprintf("plain: % x: %v", b, err))
	}
	if !l.Fragment() {
		return b, 0
	}
	d := r.waitingFor(in, l)
	if d.condemned || slices.ContainsFunc(d.parts, func(p []byte) bool { return partOf(p).equal(partOf(b)) }) {
		return nil, 0
	}
	if l.Family == 4 && l.FragOff == 0 && d.first() != nil { // another datagram: RFC 4963, section 3
		r.forget(d)
		d = r.waitingFor(in, l)
	}
	if slices.ContainsFunc(d.parts, func(p []byte) bool { return partOf(p).contradicts(partOf(b)) }) {
		if d.condemned, d.parts = l.Family == 6, nil; l.Family == 4 {
			r.forget(d)
		}
		return nil, 0
	}
	d.parts = append(d.parts, b)
	if whole, err = paste(d.parts); err != nil {
		return nil, 0
	}
	r.whole(d)
	if testpkt.Verify(whole) != nil { // it was of two datagrams
		return nil, 0
	}
	for _, p := range d.parts {
		largest = max(largest, len(p))
	}
	return whole, largest
}

// waitingFor returns the datagram of a fragment, a new one where none waits.
func (r *Router) waitingFor(in Side, l testpkt.Layout) *datagram {
	hosts, name := fmt.Sprintf("%x %x", l.Src, l.Dst), fmt.Sprint(l.ID)
	wait := wait6
	if l.Family == 4 {
		name, wait = fmt.Sprint(l.ID, " ", l.Proto), wait4
	}
	for _, d := range r.waiting {
		if d.in == in && d.hosts == hosts && d.name == name {
			return d
		}
	}
	d := &datagram{in: in, family: l.Family, hosts: hosts, name: name, deadline: r.now + wait}
	r.waiting = append(r.waiting, d)
	return d
}

func (r *Router) forget(d *datagram) {
	r.waiting = slices.DeleteFunc(r.waiting, func(e *datagram) bool { return e == d })
}

// whole takes a datagram out that is whole, and those of IPv4 that it is the last to overtake.
func (r *Router) whole(d *datagram) {
	for _, older := range r.waiting[:slices.Index(r.waiting, d)] {
		if older.in == d.in && older.hosts == d.hosts {
			older.later++
		}
	}
	r.forget(d)
	r.waiting = slices.DeleteFunc(r.waiting, func(e *datagram) bool { return e.family == 4 && e.later >= overtaken })
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

// part is what a fragment has of its datagram's payload.
type part struct {
	off  int
	more bool
	data []byte
}

func partOf(b []byte) part {
	l, err := testpkt.Parse(b)
	if err != nil {
		panic(fmt.Sprintf("plain: % x: %v", b, err))
	}
	return part{l.FragOff, l.More, b[l.L4:l.Len]}
}

func (p part) end() int { return p.off + len(p.data) }

func (p part) equal(q part) bool {
	return p.off == q.off && p.more == q.more && bytes.Equal(p.data, q.data)
}

// contradicts reports whether two fragments can't be of one datagram: they overlap, or one lies behind the last.
func (p part) contradicts(q part) bool {
	return p.off < q.end() && q.off < p.end() || !p.more && q.end() > p.end() || !q.more && p.end() > q.end() || !p.more && !q.more
}

// paste makes a datagram of all its fragments; they do not overlap.
func paste(parts [][]byte) ([]byte, error) {
	var all []part
	var head []byte
	for _, b := range parts {
		l, err := testpkt.Parse(b)
		if err != nil {
			return nil, err
		}
		if l.FragOff == 0 {
			head = bytes.Clone(b[:l.L4])
			if l.FragHdr > 0 { // only a fragment header follows the IPv6 header in these tests
				head[6], head = b[l.FragHdr], head[:40]
			}
		}
		all = append(all, partOf(b))
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
