package packet

import "net/netip"

// AddrTo16 writes an address of 4 (as 4-in-6) or 16 bytes to dst.
func AddrTo16(dst *[16]byte, b []byte) {
	if len(b) == 4 {
		*dst = [16]byte{10: 0xff, 11: 0xff, 12: b[0], 13: b[1], 14: b[2], 15: b[3]}
		return
	}
	copy(dst[:], b)
}

// AddrFrom16 writes a to dst, an address field of 4 (the last four bytes of a, which stand 4-in-6) or 16 bytes.
func AddrFrom16(dst []byte, a *[16]byte) { copy(dst, a[16-len(dst):]) }

// Is4In6 reports whether a holds an IPv4 address.
func Is4In6(a *[16]byte) bool {
	return *(*[12]byte)(a[:12]) == [12]byte{10: 0xff, 11: 0xff}
}

// Addr returns the address of a field of 4 or 16 bytes, the zero Addr for any other length.
func Addr(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Src returns the source address of the packet that h was parsed from: bytes of b itself.
func (h *Headers) Src(b []byte) []byte {
	if h.Family == 4 {
		return b[12:16]
	}
	return b[8:24]
}

// Dst returns the destination address of the packet that h was parsed from: bytes of b itself.
func (h *Headers) Dst(b []byte) []byte {
	if h.Family == 4 {
		return b[16:20]
	}
	return b[24:40]
}
