package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"github.com/natrouter/natrouter/internal/netlab"
	"github.com/natrouter/natrouter/router/control"
	"golang.org/x/sys/unix"
)

// demoFilesPort is where the server's HTTP answers while the shell is open.
const demoFilesPort = 80

// shell opens a shell beside the client, with the router and an HTTP server running, and a control socket for the
// other commands.
func (d *demo) shell(ctx context.Context, in io.Reader) error {
	for _, p := range d.paths() {
		files, err := netlab.ServeFiles(d.server, netip.AddrPortFrom(p.ServerAddr, demoFilesPort))
		if err != nil {
			return err
		}
		defer files.Close()
	}
	dir, err := os.MkdirTemp("", "natrouter-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	listener, err := control.Listen(filepath.Join(dir, "control.sock"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	answered := make(chan error, 1)
	go func() { answered <- control.NewServer(d.router, slog.New(slog.DiscardHandler)).Serve(ctx, listener) }()
	defer func() {
		cancel()
		<-answered
	}()
	d.hints()
	return d.runShell(in, dir)
}

// runShell runs $SHELL until the user leaves it; its exit code is his, not the demo's.
func (d *demo) runShell(in io.Reader, dir string) error {
	signal.Ignore(unix.SIGINT, unix.SIGQUIT, unix.SIGTTOU, unix.SIGTSTP) // the terminal's: for the shell
	shell := exec.Command(cmp.Or(os.Getenv("SHELL"), "/bin/sh"))
	shell.Stdin, shell.Stdout, shell.Stderr = in, d.out, d.errOut
	shell.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+dir, "PS1=natrouter-demo# ")
	if err := d.client.Start(shell); err != nil {
		return fmt.Errorf("shell: %w", err)
	}
	err := shell.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

func (d *demo) hints() {
	me, err := os.Executable()
	if err != nil {
		me = "natrouter"
	}
	fmt.Fprintf(d.out, `You are the client 10.77.0.2, fd77::2. The server is 203.0.113.2, 2001:db8:113::2; the router is 10.77.0.1, fd77::1 and
outside 203.0.113.1, 2001:db8:113::1. Try:

  ping 203.0.113.2
  traceroute 203.0.113.2
  curl -o /dev/null http://203.0.113.2/1000000000        # a download of so many bytes
  curl -T FILE 'http://[2001:db8:113::2]/'               # an upload: it answers with its SHA-256 and your outside address
  %[1]s flow list
  %[1]s status

Leave with exit.
`, me)
}
