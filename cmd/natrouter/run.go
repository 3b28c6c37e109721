package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/natrouter/natrouter/internal/config"
	"github.com/natrouter/natrouter/router"
	"github.com/natrouter/natrouter/router/control"
	"github.com/natrouter/natrouter/router/tun"
	"github.com/spf13/cobra"
)

// stopTimeout is how long the router and the control socket have to end after a signal. The promise is 2 s from the
// signal to the end of the process.
const stopTimeout = 1800 * time.Millisecond

func newRunCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run --config FILE",
		Short: "Route, in the foreground",
		Long: `run opens the devices of the configuration, drops to its [process] user where it has one, and
routes until SIGTERM or SIGINT.

It is ready when it logs "ready"; under systemd (Type=notify) it says so to the service manager,
too. SIGTERM and SIGINT write what is queued and end it within 2 s with exit code 0; a second
one ends it at once, with 1.

SIGHUP reads the configuration again, with all checks of "check": with a mistake in it nothing
changes. It applies the addresses of interfaces; connections that stand on an address which is
gone end, but those of rules with on_address_change = "keep". Of every other key that changed
since the start it logs that it needs a restart, and of rules that name an address which is gone
that they match nothing now.`,
		Example: `  natrouter run --config /etc/natrouter.toml
  natrouter check /etc/natrouter.toml && natrouter run --config /etc/natrouter.toml`,
		Args: noArgs,
	}
	path := cmd.Flags().StringP("config", "c", "", "configuration file (required)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *path == "" {
			return usageErrorf(cmd, "run needs --config FILE")
		}
		signals := make(chan os.Signal, 4)
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		defer signal.Stop(signals)
		d := daemon{errOut: cmd.ErrOrStderr(), signals: signals, open: openDevice}
		return d.run(cmd.Context(), *path)
	}
	return cmd
}

// daemon is one run of the router with what it needs from the system.
type daemon struct {
	errOut  io.Writer // for the log
	signals <-chan os.Signal
	open    func(*router.Interface, *slog.Logger) (tun.Device, error)

	reload func() // what SIGHUP asks for; set once the router is made
}

// run routes until a signal, an end of ctx or a failure. The order is that of the privileges: devices and socket may need
// root, all that looks at packets must not have it.
func (d *daemon) run(ctx context.Context, path string) error {
	file, text, err := readConfig(path)
	if err != nil {
		return err
	}
	log := newLogger(d.errOut, file.Log)
	for _, w := range file.Warnings {
		log.Warn(w.String())
	}
	user, err := lookupAccount(file.Process.User)
	if err != nil {
		return err
	}
	devices, err := d.openAll(file.Config.Interfaces, log)
	if err != nil {
		return err
	}
	listener, err := listenControl(cmp.Or(file.Control, control.DefaultSocket()), user, log)
	if err != nil {
		closeAll(devices)
		return err
	}
	if listener != nil {
		defer listener.Close()
	}
	r, err := d.build(file, devices, user, log)
	if err != nil {
		closeAll(devices)
		return err
	}
	d.reload = newReloader(file, text, r.SetAddresses, log).reload
	return d.serve(ctx, r, listener, log)
}

// build drops the privileges and wires the router.
func (d *daemon) build(file *config.File, devices map[string]tun.Device, user *account, log *slog.Logger) (*router.Router, error) {
	if user != nil {
		if err := dropPrivileges(user); err != nil {
			return nil, fmt.Errorf("process.user %s: %w", user.name, err)
		}
		log.Info("privileges dropped", "user", user.name)
	}
	limitGarbage()
	file.Config.Conntrack.Memory = router.HugePages
	return router.New(file.Config, router.Options{Devices: devices, Helpers: helpers(), Log: log})
}

// garbagePercent is how much garbage may pile up, in percent of what is alive in the Go heap. Most of that are tables
// without pointers, which a collection does not look into: it takes a millisecond or two, so a smaller heap is cheap.
const garbagePercent = 25

// limitGarbage sets garbagePercent where the environment does not say otherwise.
func limitGarbage() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
}

// loadConfig reads the configuration. Its mistakes are printed as they are, FILE:LINE first, and exit with 2.
func loadConfig(path string) (*config.File, error) {
	file, err := config.Load(path)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err, bare: true}
	}
	return file, nil
}

func newLogger(w io.Writer, cfg config.LogConfig) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.Level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// openDevice opens the TUN of an interface as its configuration says.
func openDevice(in *router.Interface, log *slog.Logger) (tun.Device, error) {
	return tun.Open(tun.Config{
		Name:        in.Name,
		Driver:      in.Device.Driver,
		Queues:      in.Device.Queues,
		MTU:         in.MTU,
		FD:          in.Device.FD,
		FDName:      in.Device.FDName,
		NetNS:       in.Device.NetNS,
		NoGSO:       in.Device.NoGSO,
		NoChecksum:  in.Device.NoChecksum,
		NoCoalesce:  in.Device.NoCoalesce,
		HostAddress: in.Device.HostAddress,
		HostRoute:   in.Device.HostRoute,
		Log:         log,
	})
}

// openAll opens the device of every interface, or none.
func (d *daemon) openAll(interfaces []router.Interface, log *slog.Logger) (map[string]tun.Device, error) {
	devices := make(map[string]tun.Device, len(interfaces))
	for i := range interfaces {
		in := &interfaces[i]
		device, err := d.open(in, log)
		if err != nil {
			closeAll(devices)
			return nil, err
		}
		devices[in.Name] = device
	}
	return devices, nil
}

func closeAll(devices map[string]tun.Device) {
	for _, device := range devices {
		device.Close() // nothing was written yet that could be lost
	}
}

// listenControl makes the control socket and gives it to user, who will have to answer on it. Without a path it returns nil:
// the router then runs without.
func listenControl(path string, user *account, log *slog.Logger) (net.Listener, error) {
	if path == "" {
		log.Info("no control socket: set [control] socket, RUNTIME_DIRECTORY or XDG_RUNTIME_DIR for status and flow list")
		return nil, nil
	}
	listener, err := control.Listen(path)
	if err != nil {
		return nil, err
	}
	if user != nil {
		if err := os.Lchown(path, user.uid, user.gid); err != nil {
			listener.Close()
			return nil, fmt.Errorf("control socket: %w", err)
		}
	}
	return listener, nil
}

// serve runs the router and its control socket until a signal, an end of ctx or a failure.
func (d *daemon) serve(ctx context.Context, r *router.Router, listener net.Listener, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	routed, answered := make(chan error, 1), make(chan error, 1)
	go func() { routed <- r.Run(ctx) }()
	if listener == nil {
		answered <- nil
	} else {
		go func() {
			err := control.NewServer(r, log).Serve(ctx, listener)
			if err != nil { // routing matters more
				log.Error("control socket closed", "error", err)
			}
			answered <- err
		}()
	}
	d.ready(listener, log)
	if err := d.wait(ctx, routed, log); err != nil {
		return err
	}
	tell(log, "STOPPING=1")
	cancel()
	return d.stop(routed, answered, log)
}

// wait returns nil when the router is to stop, and an error when it has ended by itself.
func (d *daemon) wait(ctx context.Context, routed <-chan error, log *slog.Logger) error {
	for {
		select {
		case err := <-routed:
			return ended(err)
		case sig := <-d.signals:
			if sig != syscall.SIGHUP {
				log.Info("stopping", "signal", sig.String())
				return nil
			}
			d.reload()
		case <-ctx.Done():
			return nil
		}
	}
}

// ended is what a router that ended by itself means: it never should.
func ended(err error) error {
	if err == nil {
		err = errors.New("it ended without a reason")
	}
	return fmt.Errorf("router: %w", err)
}

func (d *daemon) ready(listener net.Listener, log *slog.Logger) {
	socket := "none"
	if listener != nil {
		socket = listener.Addr().String()
	}
	log.Info("ready", "control", socket)
	tell(log, "READY=1")
}

func tell(log *slog.Logger, state string) {
	if err := notify(state); err != nil {
		log.Warn("service manager not told", "state", state, "error", err)
	}
}

// stop waits until the router has written what is queued and the control socket is closed. A second signal ends the wait.
func (d *daemon) stop(routed, answered <-chan error, log *slog.Logger) error {
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	var result error
	for routed != nil || answered != nil {
		select {
		case err := <-routed:
			routed = nil
			if err != nil {
				result = fmt.Errorf("router: stop: %w", err)
			}
		case <-answered:
			answered = nil
		case sig := <-d.signals:
			if sig != syscall.SIGHUP {
				return fmt.Errorf("ended at once by a second signal (%v)", sig)
			}
		case <-timeout.C:
			return fmt.Errorf("the router did not stop within %v: what was queued is lost", stopTimeout)
		}
	}
	log.Info("stopped")
	return result
}
