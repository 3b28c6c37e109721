//go:build linux

package netlab

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Ports of an FTP server (RFC 959, section 8): where it listens, and whence it opens data connections.
const (
	ftpPort     = 21
	ftpDataPort = 20
)

// ftpCommand is the command that asks for a data connection to an endpoint: PORT (RFC 959, section 4.1.2), or EPRT where
// PORT can't say it (RFC 2428, section 2).
func ftpCommand(to netip.AddrPort) string {
	if to.Addr().Is6() {
		return fmt.Sprintf("EPRT |2|%s|%d|", to.Addr(), to.Port())
	}
	return fmt.Sprintf("PORT %s,%d,%d", strings.ReplaceAll(to.Addr().String(), ".", ","), to.Port()>>8, to.Port()&0xff)
}

// readFTPCommand is the reverse of ftpCommand. Of IPv6 addresses it takes every text (RFC 4291, section 2.2), as a router may
// write another one than the client.
func readFTPCommand(line string) (to netip.AddrPort, ok bool) {
	verb, argument, _ := strings.Cut(line, " ")
	switch verb {
	case "PORT":
		var a [4]byte
		var high, low uint8
		_, err := fmt.Sscanf(argument, "%d,%d,%d,%d,%d,%d", &a[0], &a[1], &a[2], &a[3], &high, &low)
		to = netip.AddrPortFrom(netip.AddrFrom4(a), uint16(high)<<8|uint16(low))
		return to, err == nil && ftpCommand(to) == line // Sscanf takes more than digits
	case "EPRT":
		parts := strings.Split(argument, "|")
		if len(parts) != 5 || parts[0] != "" || parts[1] != "2" || parts[4] != "" {
			return to, false
		}
		addr, err := netip.ParseAddr(parts[2])
		port, portErr := strconv.ParseUint(parts[3], 10, 16)
		return netip.AddrPortFrom(addr, uint16(port)), err == nil && portErr == nil && addr.Is6() && addr.Zone() == ""
	}
	return to, false
}

// ftpServer is an FTP server in active mode that keeps what it was told. RETR answers made-up bytes, STOR sums what it gets.
type ftpServer struct {
	n    *Namespace
	addr netip.Addr
	stop func()

	mu   sync.Mutex
	told []string            // guarded by mu; each command with an endpoint, as it came
	sums [][sha256.Size]byte // guarded by mu; of each transfer
}

// serveFTP starts a server, whose connections end with ctx.
func serveFTP(ctx context.Context, n *Namespace, addr netip.Addr) (*ftpServer, error) {
	l, err := n.Listen(netip.AddrPortFrom(addr, ftpPort))
	if err != nil {
		return nil, err
	}
	s := &ftpServer{n: n, addr: addr}
	s.stop = serve(l, func(c net.Conn) {
		defer closeOnDone(ctx, c)()
		s.control(ctx, c)
	})
	return s, nil
}

// seen returns the commands with an endpoint and the sums of the transfers so far.
func (s *ftpServer) seen() ([]string, [][sha256.Size]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told, s.sums
}

// control serves a control connection until it ends.
func (s *ftpServer) control(ctx context.Context, c net.Conn) {
	var to netip.AddrPort
	reply := "220 netlab"
	for lines := bufio.NewScanner(c); ; {
		if _, err := io.WriteString(c, reply+"\r\n"); err != nil || !lines.Scan() {
			return
		}
		line := lines.Text() // without CRLF
		switch verb, _, _ := strings.Cut(line, " "); verb {
		case "USER":
			reply = "331 any password"
		case "PASS":
			reply = "230 welcome"
		case "TYPE":
			reply = "200 bytes"
		case "PORT", "EPRT":
			to, reply = s.endpoint(line, remote(c).Addr())
		case "RETR", "STOR":
			reply = s.transfer(ctx, c, verb, to)
		default:
			reply = "502 not here"
		}
	}
}

// endpoint notes where data are to go. Like other servers it refuses third hosts (RFC 2577, section 3).
func (s *ftpServer) endpoint(line string, client netip.Addr) (to netip.AddrPort, reply string) {
	s.mu.Lock()
	s.told = append(s.told, line)
	s.mu.Unlock()
	to, ok := readFTPCommand(line)
	switch {
	case !ok:
		return to, "501 no endpoint"
	case to.Addr() != client:
		return netip.AddrPort{}, fmt.Sprintf("500 you are %s, not %s", client, to.Addr())
	}
	return to, "200 so be it"
}

// ftpBytes is the size of a file.
const ftpBytes = 5 << 20

// transfer opens a data connection, moves a file over it and returns the last reply.
func (s *ftpServer) transfer(ctx context.Context, control io.Writer, verb string, to netip.AddrPort) (reply string) {
	if !to.IsValid() {
		return "503 where to?"
	}
	if _, err := io.WriteString(control, "150 here it goes\r\n"); err != nil {
		return ""
	}
	c, err := s.dial(ctx, to)
	if err != nil {
		return "425 " + err.Error()
	}
	defer c.Close()
	defer closeOnDone(ctx, c)()
	sum := sha256.New()
	if verb == "RETR" {
		_, err = io.Copy(io.MultiWriter(c, sum), madeUp(uint64(to.Port()), ftpBytes))
	} else {
		_, err = io.Copy(sum, c)
	}
	if err != nil {
		return "426 " + err.Error()
	}
	s.mu.Lock()
	s.sums = append(s.sums, [sha256.Size]byte(sum.Sum(nil)))
	s.mu.Unlock()
	return "226 all of it"
}

// dial connects from the data port, which may just have been used.
func (s *ftpServer) dial(ctx context.Context, to netip.AddrPort) (c net.Conn, err error) {
	d := net.Dialer{
		Timeout:   dialTimeout,
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(s.addr, ftpDataPort)),
		Control: func(_, _ string, raw syscall.RawConn) error {
			var refused error
			err := raw.Control(func(fd uintptr) { refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
			return errors.Join(err, refused)
		},
	}
	err = s.n.Do(func() error {
		c, err = d.DialContext(ctx, "tcp"+family(to.Addr()), to.String())
		return err
	})
	return c, err
}
