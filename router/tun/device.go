package tun

import "github.com/natrouter/natrouter/router/packet"

// Frame is one packet in a caller's buffer: Buf[Off:Off+Len], from the IP header on.
type Frame struct {
	Buf      []byte
	Off, Len int
	Meta     packet.Meta
}

// Bytes returns the packet.
func (f *Frame) Bytes() []byte { return f.Buf[f.Off : f.Off+f.Len] }

// Packets returns how many packets the frame is on the wire: the segments of a super-segment that [Queue.Write] takes,
// else 1.
func (f *Frame) Packets() int {
	b := f.Bytes()
	if f.Meta.GSO == packet.GSONone || !validMeta(b, &f.Meta) {
		return 1
	}
	size := int(f.Meta.SegSize)
	return max(1, (len(b)-gsoHeaders(b, &f.Meta)+size-1)/size)
}

// Headroom is how many bytes before a packet its buffer must have free, so that a device can put its own header
// there; a caller that may grow packets adds to it.
const Headroom = 16

// MaxPacket is the largest IP packet and super-segment, bytes: that of IPv6.
const MaxPacket = packet.MaxIPv6

// Queue is one lane of a Device. One goroutine reads it, one writes it; queues are independent.
type Queue interface {
	// Read blocks for the first packet, then takes what is there. It fills n frames from frames[i].Off on and
	// keeps none; a frame must have room for MaxPacket bytes. A packet that contradicts its own offload header
	// comes with Len 0, which no parser takes. After Close it returns os.ErrClosed.
	Read(frames []Frame) (n int, err error)
	// Write sends in order, may use and change Buf outside the packet, and merges what Caps allows; of frames
	// merged, only those of different flows change places. The checksum of a super-segment is partial. Frames of
	// Len 0 are passed over. With an error, the first n were sent and frame n was not; of those behind it some
	// may have been sent too: their Len is then 0, so that Write can be called again with what is left.
	Write(frames []Frame) (n int, err error)
}

// Device is a TUN: IP packets without link header.
type Device interface {
	Name() string
	Driver() string // offload, water or memory
	Queues() []Queue
	Caps() Caps // GSO types and checksums that the other side accepts
	MTU() int   // bytes of IP packet, without link header
	Close() error
}

// Caps says what may be left unfinished in a written packet. The zero Caps: nothing.
type Caps struct {
	Checksum bool // partial transport checksums
	TSO4     bool // GSOTCPv4
	TSO6     bool // GSOTCPv6
	ECN      bool // super-segments with Meta.ECN
	USO      bool // GSOUDP, both families
}
