package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// echoAddr is where the server sends back what it gets.
const echoAddr = ":7"

// exchangeSize is how much goes through the tunnel each way, bytes.
const exchangeSize = 256 << 10

// exchangeTimeout is how long that may take.
const exchangeTimeout = 10 * time.Second

// reflect sends back what comes on each connection until l is closed.
func reflect(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c) // the client misses the rest
		}()
	}
}

// exchange sends random bytes through the tunnel by TCP and wants them back.
func exchange() error {
	c, err := net.DialTimeout("tcp4", tunnelAddr+echoAddr, exchangeTimeout)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(exchangeTimeout)); err != nil {
		return err
	}
	sent := make([]byte, exchangeSize)
	r := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	for i := range sent {
		sent[i] = byte(r.Uint32())
	}
	written := make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		written <- err
	}()
	got := make([]byte, exchangeSize)
	if n, err := io.ReadFull(c, got); err != nil {
		return fmt.Errorf("%d of %d bytes came back: %w", n, exchangeSize, err)
	}
	if !bytes.Equal(got, sent) {
		return errors.New("not the bytes that were sent came back")
	}
	return <-written
}

// hangUp ends pppd as its user would, and waits until it has.
func hangUp() error {
	b, err := os.ReadFile("/run/ppp0.pid")
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return err
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		return err
	}
	// pppd has left us, so all children that this first process has inherited are waited for until it is gone.
	for unix.Kill(pid, 0) == nil {
		if _, err := unix.Wait4(-1, nil, 0, nil); err != nil {
			return err
		}
	}
	return nil
}
