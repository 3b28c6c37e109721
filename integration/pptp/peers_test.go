package pptp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/integration/pptp/ppp"
	"github.com/natrouter/natrouter/internal/netlab"
	"golang.org/x/sys/unix"
)

const (
	port      = 1723             // RFC 2637, section 2
	upIn      = 10 * time.Second // a call must be up, on a busy machine
	exchanged = 20 * time.Second // and data have gone both ways
	endIn     = 3 * time.Second  // pptp ends after its line
	silence   = 2 * time.Second  // after which a call that must not come up has not: PPP asks ten times a second
	goneIn    = 10 * time.Second // the router forgets a call that has ended
)

// program is another one in a process namespace of its own, where it is the first process: all that it starts ends
// with it.
type program struct {
	cmd    *exec.Cmd
	log    lab.Output
	exited chan struct{}
}

// start starts a program by way of a shell script, in namespaces of mounts and processes of its own. name is for messages.
func start(t *testing.T, n *netlab.Namespace, name string, stdin *os.File, env []string, script string, args ...string) *program {
	t.Helper()
	p := &program{exited: make(chan struct{})}
	p.cmd = exec.Command("/bin/sh", append([]string{"-ec", script, "sh"}, args...)...)
	p.cmd.Env = append(os.Environ(), env...)
	if stdin != nil {
		p.cmd.Stdin = stdin
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	if err := n.Start(p.cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its log
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s in %s wrote:\n%s", name, n.Name, &p.log)
		}
	})
	return p
}

// kill is kill -9, of the program and all that it started.
func (p *program) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.exited
}

// pptpdConfig gives each call the next address; the server's end is the same in all.
const pptpdConfig = `
localip 10.99.0.1
remoteip 10.99.0.10-60
connections 50
`

// serve starts a pptpd and waits until it listens. It ends with the test.
func serve(t *testing.T, n *netlab.Namespace, addr netip.Addr) {
	t.Helper()
	self, err := os.Executable()
	lab.Must(t, err)
	dir := t.TempDir()
	config := filepath.Join(dir, "pptpd.conf")
	lab.Must(t, os.WriteFile(config, []byte(pptpdConfig), 0o644))
	start(t, n, "pptpd", nil, []string{pppEnv + "=1"}, `exec "$@"`, lab.NeedTool(t, "pptpd"), "--fg", "--conf", config,
		"--option", os.DevNull, "--pidfile", filepath.Join(dir, "pid"), "--ppp", self, "--listen", addr.String())
	eventually(t, upIn, "pptpd listens", func() bool {
		c, err := n.Dial(t.Context(), "tcp", netip.AddrPortFrom(addr, port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// call is a pptp and the PPP at its end.
type call struct {
	*program
	t    *testing.T
	peer *ppp.Peer
	data *ppp.Exchange
}

// pptpScript gives pptp a place of its own for the socket of its call manager, which all clients of one machine would
// share, and a /dev/random that holds the same two octets for ever: it draws its call ID there.
const pptpScript = `
mount -t tmpfs tmpfs /run
printf "$1" >/run/random
mount --bind /run/random /dev/random
shift
exec "$@"
`

// dial has a host call a server; pptp's call ID is id. The call may come up later, or never.
func dial(t *testing.T, n *netlab.Namespace, to netip.Addr, id uint16, options ...string) *call {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	lab.Must(t, err)
	theirs := os.NewFile(uintptr(fds[0]), "line of pptp")
	defer theirs.Close()
	ours := os.NewFile(uintptr(fds[1]), "line of ppp")
	defer ours.Close()
	line, err := net.FileConn(ours)
	lab.Must(t, err)
	random := fmt.Sprintf(`\%03o\%03o`, id&0xff, id>>8)
	c := &call{t: t}
	args := append([]string{random + random, lab.NeedTool(t, "pptp"), to.String(), "--nolaunchpppd", "--nohostroute"}, options...)
	c.program = start(t, n, "pptp", theirs, nil, pptpScript, args...)
	unspecified := netip.IPv4Unspecified()
	c.peer = ppp.New(line, unspecified, unspecified)
	c.data = ppp.NewExchange(c.peer)
	c.peer.Start(c.data.Receive)
	t.Cleanup(func() { line.Close() })
	return c
}

// mustExchange waits until the call is up and data have gone both ways.
func (c *call) mustExchange() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), exchanged)
	defer cancel()
	again, err := c.data.Run(ctx)
	if err == nil {
		err = c.peer.Echo(ctx)
	}
	if err != nil {
		c.t.Errorf("call: %v", err)
		return
	}
	if again > 0 {
		c.t.Logf("%d of %d requests had to be sent again", again, ppp.Exchanged)
	}
}

// mustEcho asks the other end whether the call is still up.
func (c *call) mustEcho() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), upIn)
	defer cancel()
	if err := c.peer.Echo(ctx); err != nil {
		c.t.Errorf("call: %v", err)
	}
}

// hangUp ends the call as its user would: the link first, then the line under it, at whose end pptp clears the call. Now
// and then pptp 1.10 does that and then waits for ever, for a lock that the signal handler of its own end holds; it is
// killed.
func (c *call) hangUp() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), upIn)
	defer cancel()
	if err := c.peer.Close(ctx); err != nil {
		c.t.Errorf("hang up: %v", err)
	}
	select {
	case <-c.exited:
	case <-time.After(endIn):
		c.kill()
	}
}

// eventually waits until what is true.
func eventually(t *testing.T, within time.Duration, what string, is func() bool) {
	t.Helper()
	timeout := time.After(within)
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		if is() {
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			tick.Stop()
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}
