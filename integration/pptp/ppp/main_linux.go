package ppp

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mainTimeout is how long the program waits for the peer to come up, and to exchange.
const mainTimeout = 30 * time.Second

// Main is a program in place of pppd, at the end of the line that is its standard input and output. One of its
// arguments is the two addresses, 10.9.0.1:10.9.0.2, as pptpd passes them; it minds no other. It does an [Exchange]
// with its peer and ends with the link. It returns the exit code.
func Main(args []string) int {
	if err := serve(args); err != nil {
		fmt.Fprintln(os.Stderr, "ppp:", err)
		return 1
	}
	return 0
}

func serve(args []string) error {
	local, remote, ok := addresses(args)
	if !ok {
		return fmt.Errorf("no addresses in %q", args)
	}
	if err := makeRaw(0); err != nil {
		return fmt.Errorf("make the line raw: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), mainTimeout)
	defer cancel()
	p := New(os.Stdin, local, remote) // a terminal: standard output is the same
	x := NewExchange(p)
	p.Start(x.Receive)
	if _, err := x.Run(ctx); err != nil {
		return err
	}
	<-p.Ended()
	return nil
}

// addresses finds the argument with the addresses of both ends.
func addresses(args []string) (local, remote netip.Addr, ok bool) {
	for _, a := range args {
		l, r, _ := strings.Cut(a, ":")
		here, err := netip.ParseAddr(l)
		there, err2 := netip.ParseAddr(r)
		if err == nil && err2 == nil && here.Is4() && there.Is4() {
			return here, there, true
		}
	}
	return local, remote, false
}

// makeRaw takes from a terminal all that would change an octet on the way, as pppd does. What is no terminal is left
// as it is.
func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		if err == unix.ENOTTY {
			return nil
		}
		return err
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8 | unix.CREAD | unix.CLOCAL
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}
