//go:build linux

package netlab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// namedDir is where named namespaces are mounted, as iproute2 does.
const namedDir = "/run/netns"

// Namespace is a network namespace, held by descriptor: it ends when the last socket, process and TUN in it does.
// Its methods are safe for concurrent use, but for Close.
type Namespace struct {
	Name string // for messages; the name under which it is mounted if made by NewNamed

	file    *os.File
	mounted string
}

// home is the namespace that this process started in.
var home = sync.OnceValues(func() (*Namespace, error) {
	f, err := os.Open("/proc/self/ns/net")
	return &Namespace{Name: "home", file: f}, err
})

// Home returns the namespace that this process runs in.
func Home() (*Namespace, error) { return home() }

// New makes a namespace with loopback up. Its interfaces make no addresses of their own and solicit no routers, so
// a test sees only its own packets. name is for messages.
func New(name string) (*Namespace, error) {
	h, err := Home()
	if err != nil {
		return nil, err
	}
	n := &Namespace{Name: name}
	err = h.Do(func() error {
		// The thread leaves for the new namespace; Do brings it home.
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		n.file = f
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, s := range []string{"accept_ra=0", "accept_dad=0", "addr_gen_mode=1", "router_solicitations=0"} {
		if err := n.Sysctl("net/ipv6/conf/default/" + s); err != nil {
			n.Close()
			return nil, err
		}
	}
	if err := n.Up("lo"); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// NewNamed makes a namespace that others find by name, as `ip netns add` does. [Prepare] must have made the place.
func NewNamed(name string) (*Namespace, error) {
	n, err := New(name)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(namedDir, name)
	f, err := os.Create(path)
	if err != nil {
		n.Close()
		return nil, err
	}
	f.Close()
	n.mounted = path
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", n.file.Fd()), path, "", unix.MS_BIND, ""); err != nil {
		n.Close()
		return nil, fmt.Errorf("name namespace %s: %w", name, err)
	}
	return n, nil
}

// Close lets go of the namespace and its name.
func (n *Namespace) Close() {
	if n.mounted != "" {
		_ = unix.Unmount(n.mounted, unix.MNT_DETACH) // best effort: the mount namespace ends with us
		_ = os.Remove(n.mounted)
	}
	n.file.Close()
}

// FD returns the descriptor of the namespace; it stays n's.
func (n *Namespace) FD() int { return int(n.file.Fd()) }

// Do runs f on a thread in the namespace. Sockets that f makes and processes that it starts stay there; goroutines
// that it starts do not.
func (n *Namespace) Do(f func() error) error {
	h, err := Home()
	if err != nil {
		return err
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(n.FD(), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("enter namespace %s: %w", n.Name, err)
			return
		}
		err := f()
		if unix.Setns(h.FD(), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread() // else the thread ends with this goroutine: it must serve no other
		}
		done <- err
	}()
	return <-done
}

// Start starts cmd in the namespace; it is killed when this process ends.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	return n.Do(cmd.Start)
}

// Sysctl sets path=value, path below /proc/sys.
func (n *Namespace) Sysctl(setting string) error {
	path, value, ok := strings.Cut(setting, "=")
	if !ok {
		return fmt.Errorf("sysctl %q has no value", setting)
	}
	return n.Do(func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0) })
}

// Forward makes the kernel a router in the namespace. Interfaces made later have a link-local address, without which
// the kernel asks for no neighbour on another's behalf.
func (n *Namespace) Forward() error {
	for _, s := range []string{"net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1", "net/ipv6/conf/default/addr_gen_mode=0"} {
		if err := n.Sysctl(s); err != nil {
			return err
		}
	}
	return nil
}

// dialTimeout bounds a connect, long enough for a lost SYN to be sent again twice.
const dialTimeout = 5 * time.Second

// Dial connects from the namespace to addr. network is tcp or udp.
func (n *Namespace) Dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
	var c net.Conn
	err := n.Do(func() (err error) {
		d := net.Dialer{Timeout: dialTimeout}
		c, err = d.DialContext(ctx, network+family(addr.Addr()), addr.String())
		return err
	})
	return c, err
}

// Listen listens for TCP connections in the namespace.
func (n *Namespace) Listen(addr netip.AddrPort) (net.Listener, error) {
	var l net.Listener
	err := n.Do(func() (err error) {
		var c net.ListenConfig
		c.SetMultipathTCP(false)
		l, err = c.Listen(context.Background(), "tcp"+family(addr.Addr()), addr.String())
		return err
	})
	return l, err
}

// ListenPacket opens a packet socket in the namespace. network is udp, or ip with a protocol (ip:icmp).
func (n *Namespace) ListenPacket(network string, addr netip.AddrPort) (net.PacketConn, error) {
	var c net.PacketConn
	err := n.Do(func() (err error) {
		address := addr.String()
		name, protocol, raw := strings.Cut(network, ":")
		name += family(addr.Addr())
		if raw {
			name += ":" + protocol
			address = addr.Addr().String()
		}
		c, err = net.ListenPacket(name, address)
		return err
	})
	return c, err
}

// family returns the suffix that binds a network name to one family, so that the net package makes its socket at
// once, in the calling thread.
func family(a netip.Addr) string {
	if a.Is4() {
		return "4"
	}
	return "6"
}
