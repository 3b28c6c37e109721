package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/natrouter/natrouter/router/control"
)

// serviceSocket is where a router that systemd started with RuntimeDirectory=natrouter listens. Its clients don't have its
// environment, so it is only ever suggested.
const serviceSocket = "/run/natrouter/control.sock"

// reachError gives an error of the control client its exit code, and what to do about it.
func reachError(err error) error {
	if !errors.Is(err, control.ErrNotReachable) {
		return err
	}
	remedy := `start one with "natrouter run --config FILE", or name its socket with --socket PATH`
	if errors.Is(err, fs.ErrPermission) {
		remedy = "ask as the user that the router runs as, or as root"
	} else if info, statErr := os.Stat(serviceSocket); statErr == nil && info.Mode()&fs.ModeSocket != 0 {
		remedy = "there is one on " + serviceSocket + ": name it with --socket"
	}
	return &exitError{code: exitNotReachable, err: fmt.Errorf("%w: %s", err, remedy)}
}
