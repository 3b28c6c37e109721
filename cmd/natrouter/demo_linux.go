package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os/signal"
	"syscall"
	"time"

	"github.com/natrouter/natrouter/internal/config"
	"github.com/natrouter/natrouter/internal/netlab"
	"github.com/natrouter/natrouter/router"
	"github.com/spf13/cobra"
)

// demoConfig is the router of the demo. The namespaces that it names exist only within the demo.
const demoConfig = `
[[interface]]
name = "lan0"
side = "inside"
address = ["10.77.0.1/24", "fd77::1/64"]
netns = "client"
host_address = ["10.77.0.2/24", "fd77::2/64"]
host_route = ["0.0.0.0/0", "::/0"]

[[interface]]
name = "wan0"
side = "outside"
address = ["203.0.113.1/24", "2001:db8:113::1/64"]
netns = "server"
host_address = ["203.0.113.2/24", "2001:db8:113::2/64"]

[[route]]
to = ["0.0.0.0/0", "::/0"]
interface = "wan0"

[[nat]]
action = "masquerade"
out = "wan0"
source = ["10.77.0.0/24", "fd77::/64"]

[[nat]]
action = "dnat"
in = "wan0"
protocol = "tcp"
destination = ["203.0.113.1", "2001:db8:113::1"]
port = 8080
to = ["10.77.0.2:80", "[fd77::2]:80"]

[[helper]]
name = "ftp"
protocol = "tcp"
port = 21

[[helper]]
name = "pptp"
protocol = "tcp"
port = 1723
`

const (
	demoBulk    = 100 << 20       // bytes of each HTTP transfer
	demoTimeout = 2 * time.Minute // far above what the scenes take together
)

// runDemo runs the demo in namespaces of its own: the process that the user started makes them and starts itself
// again in them.
func runDemo(cmd *cobra.Command, shell bool) error {
	if !netlab.Inside() {
		return enterDemo()
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := netlab.Prepare(false); err != nil {
		return err
	}
	d, err := newDemo(cmd.OutOrStdout(), cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer d.close()
	if shell {
		return d.shell(ctx, cmd.InOrStdin())
	}
	return d.show(ctx)
}

func enterDemo() error {
	tunRefused := netlab.TUNRefusal()
	if tunRefused != "" {
		return errors.New(tunRefused)
	}
	code, err := netlab.Enter()
	if err != nil {
		return errors.New(netlab.Refusal(err))
	}
	if code != exitOK {
		return &exitError{code: code} // it has said why
	}
	return nil
}

// demo is a running router with a client and a server, each in its namespace.
type demo struct {
	out, errOut    io.Writer
	client, server *netlab.Namespace
	second         *netlab.Namespace // another client, behind the first
	router         *router.Router
	stop           context.CancelFunc
	ended          chan error // of router.Run
}

// newDemo starts the router between a client and a server.
func newDemo(out, errOut io.Writer) (*demo, error) {
	d := &demo{out: out, errOut: errOut, ended: make(chan error, 1)}
	var err error
	if d.client, err = netlab.New("client"); err != nil {
		return nil, err
	}
	if d.server, err = netlab.New("server"); err != nil {
		return nil, err
	}
	paths := d.paths()
	d.second, err = d.client.Behind("second", paths[0].ClientAddr, paths[0].SecondAddr, paths[1].SecondAddr)
	if err != nil {
		return nil, err
	}
	file, err := config.Parse("demo", []byte(demoConfig))
	if err != nil {
		return nil, err
	}
	where := map[string]*netlab.Namespace{"client": d.client, "server": d.server}
	for i := range file.Config.Interfaces {
		device := &file.Config.Interfaces[i].Device
		device.NetNS = fmt.Sprintf("/proc/self/fd/%d", where[device.NetNS].FD())
	}
	log := slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: slog.LevelWarn}))
	devices, err := (&daemon{open: openDevice}).openAll(file.Config.Interfaces, log)
	if err != nil {
		return nil, err
	}
	if d.router, err = router.New(file.Config, router.Options{Devices: devices, Helpers: helpers(), Log: log}); err != nil {
		closeAll(devices)
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	go func() { d.ended <- d.router.Run(ctx) }()
	return d, nil
}

// close stops the router.
func (d *demo) close() {
	d.stop()
	<-d.ended
	d.client.Close()
	d.second.Close()
	d.server.Close()
}

// paths are the ways through the router of demoConfig, one a family.
func (d *demo) paths() []*netlab.Path {
	a := netip.MustParseAddr
	paths := []*netlab.Path{
		{ClientAddr: a("10.77.0.2"), SecondAddr: a("10.77.0.3"), RouterAddr: a("10.77.0.1"), OutsideAddr: a("203.0.113.1"),
			ServerAddr: a("203.0.113.2")},
		{ClientAddr: a("fd77::2"), SecondAddr: a("fd77::3"), RouterAddr: a("fd77::1"), OutsideAddr: a("2001:db8:113::1"),
			ServerAddr: a("2001:db8:113::2")},
	}
	for _, p := range paths {
		p.Client, p.Second, p.Server = d.client, d.second, d.server
		p.ForwardPort, p.ForwardTarget = 8080, 80
		p.Bulk = demoBulk
	}
	return paths
}
