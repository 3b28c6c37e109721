package testpkt

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"
)

// Captured is one IP packet of a capture. Data may be longer than the packet (padding), or cut short.
type Captured struct {
	Time time.Time
	Data []byte
}

// Captures returns the folder of captures: $NATROUTER_CAPTURES, else shared/captures beside the repository. Where
// there is neither it skips the test.
func Captures(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("NATROUTER_CAPTURES"); dir != "" {
		return dir
	}
	if root, err := repository(); err == nil {
		dir := filepath.Join(root, "..", "shared", "captures")
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
	}
	t.Skip("SKIPPED captures: not here")
	return ""
}

// repository returns the folder of go.mod, above the test's own.
func repository() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}

// ReadCapture returns the IP packets of a pcap or pcapng file in order, without link headers; frames of other
// protocols are left out. A file cut off in a packet gives what is whole.
func ReadCapture(path string) ([]Captured, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	src, link, err := openCapture(bufio.NewReader(f))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var all []Captured
	for {
		data, info, err := src.ReadPacketData()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return all, nil
		case err != nil:
			return all, fmt.Errorf("%s: %w", path, err)
		}
		if ip := stripLink(link, data); len(ip) > 0 {
			all = append(all, Captured{Time: info.Timestamp, Data: ip})
		}
	}
}

func openCapture(r *bufio.Reader) (src gopacket.PacketDataSource, link int, err error) {
	magic, err := r.Peek(4)
	if err != nil {
		return nil, 0, err
	}
	if binary.BigEndian.Uint32(magic) == 0x0a0d0d0a {
		ng, err := pcapgo.NewNgReader(r, pcapgo.DefaultNgReaderOptions)
		if err != nil {
			return nil, 0, err
		}
		return ng, int(ng.LinkType()), nil
	}
	return newClassic(r)
}

// classic reads pcap files. Unlike pcapgo's reader it takes files whose packets say that they were shorter on the
// wire than they are in the file, which some of the malformed captures do.
type classic struct {
	r     io.Reader
	order binary.ByteOrder
	unit  time.Duration // of the fraction in a time stamp
}

func newClassic(r io.Reader) (*classic, int, error) {
	var head [24]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, 0, err
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint32(head[:]) {
		case 0xa1b2c3d4:
			return &classic{r, order, time.Microsecond}, int(order.Uint32(head[20:])), nil
		case 0xa1b23c4d:
			return &classic{r, order, time.Nanosecond}, int(order.Uint32(head[20:])), nil
		}
	}
	return nil, 0, errors.New("not a capture file")
}

// ReadPacketData implements gopacket.PacketDataSource.
func (c *classic) ReadPacketData() (data []byte, info gopacket.CaptureInfo, err error) {
	var head [16]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return nil, info, err
	}
	n := c.order.Uint32(head[8:])
	if n > 1<<18 {
		return nil, info, fmt.Errorf("packet of %d bytes", n)
	}
	data = make([]byte, n)
	if _, err := io.ReadFull(c.r, data); err != nil {
		return nil, info, err
	}
	fraction := time.Duration(c.order.Uint32(head[4:])) * c.unit
	info.Timestamp = time.Unix(int64(c.order.Uint32(head[:])), int64(fraction)).UTC()
	info.CaptureLength, info.Length = int(n), int(c.order.Uint32(head[12:]))
	return data, info, nil
}

// stripLink returns the IP packet in a frame, nil if it holds none. The numbers are libpcap's link types.
func stripLink(link int, b []byte) []byte {
	switch link {
	case 1: // Ethernet
		return stripEther(b, 12)
	case 0, 108: // BSD loopback: an address family of four bytes, in the order of the capturing host
		return cut(b, 4)
	case 12, 14, 101, 228, 229: // raw IP
		return b
	case 113: // Linux cooked
		return stripEther(b, 14)
	case 276: // Linux cooked, version 2: the protocol comes first
		if len(b) < 2 || !isIP(binary.BigEndian.Uint16(b)) {
			return nil
		}
		return cut(b, 20)
	case 9, 50: // PPP, with or without address and control bytes
		if len(b) > 2 && b[0] == 0xff && b[1] == 3 {
			b = b[2:]
		}
		if len(b) > 2 && b[0] == 0 && (b[1] == 0x21 || b[1] == 0x57) {
			return b[2:]
		}
	}
	return nil
}

// stripEther strips an Ethernet header whose type stands at off, and VLAN tags.
func stripEther(b []byte, off int) []byte {
	for len(b) >= off+2 {
		switch typ := binary.BigEndian.Uint16(b[off:]); {
		case isIP(typ):
			return b[off+2:]
		case typ == 0x8100 || typ == 0x88a8 || typ == 0x9100:
			off += 4
		default:
			return nil
		}
	}
	return nil
}

func isIP(etherType uint16) bool { return etherType == 0x0800 || etherType == 0x86dd }

func cut(b []byte, n int) []byte {
	if len(b) <= n {
		return nil
	}
	return b[n:]
}
