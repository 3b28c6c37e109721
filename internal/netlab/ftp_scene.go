//go:build linux

package netlab

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"time"
)

// ftpTimeout bounds the scene.
const ftpTimeout = 20 * time.Second

// active has a client fetch and send a file by FTP in active mode: it tells the server where to connect to. What the server
// was told must be the outside address, and its connection must come to the client all the same.
func active(ctx context.Context, p *Path, say Progress) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, ftpTimeout)
	defer cancel()
	server, err := serveFTP(ctx, p.Server, p.ServerAddr)
	if err != nil {
		return "", err
	}
	defer server.stop()
	c, err := p.Client.Dial(ctx, "tcp", netip.AddrPortFrom(p.ServerAddr, ftpPort))
	if err != nil {
		return "", err
	}
	defer c.Close()
	defer closeOnDone(ctx, c)()
	client := &ftpClient{Path: p, text: textproto.NewConn(c)}
	if err := client.login(); err != nil {
		return "", err
	}
	for _, verb := range []string{"RETR", "STOR"} {
		said := len(client.said)
		if err := client.transfer(ctx, verb, say); err != nil {
			told, _ := server.seen()
			return "", fmt.Errorf("sent %q, which arrived as %q: %w", client.said[said:], told[min(said, len(told)):], err)
		}
	}
	return client.compare(server)
}

// ftpClient is a client in active mode.
type ftpClient struct {
	*Path
	text *textproto.Conn
	said []string            // each command with an endpoint, as it was sent
	sums [][sha256.Size]byte // of each transfer
}

// ask sends a command and reads the reply, whose code must begin with a digit.
func (c *ftpClient) ask(want int, command string) error {
	if err := c.text.PrintfLine("%s", command); err != nil {
		return err
	}
	_, _, err := c.text.ReadResponse(want)
	return err
}

func (c *ftpClient) login() error {
	if _, _, err := c.text.ReadResponse(2); err != nil {
		return err
	}
	if err := c.ask(3, "USER anonymous"); err != nil {
		return err
	}
	if err := c.ask(2, "PASS guest"); err != nil {
		return err
	}
	return c.ask(2, "TYPE I")
}

// transfer moves a file over a data connection that the server opens.
func (c *ftpClient) transfer(ctx context.Context, verb string, say Progress) error {
	l, err := c.Client.Listen(netip.AddrPortFrom(c.ClientAddr, 0))
	if err != nil {
		return err
	}
	defer l.Close()
	defer closeOnDone(ctx, l)()
	command := ftpCommand(netip.AddrPortFrom(c.ClientAddr, l.Addr().(*net.TCPAddr).AddrPort().Port()))
	say("%s", command)
	c.said = append(c.said, command)
	if err := c.ask(2, command); err != nil {
		return err
	}
	if err := c.ask(1, verb+" file"); err != nil {
		return err
	}
	data, err := l.Accept()
	if err != nil {
		return err
	}
	defer data.Close()
	defer closeOnDone(ctx, data)()
	if from := remote(data); from != netip.AddrPortFrom(c.ServerAddr, ftpDataPort) {
		return fmt.Errorf("data came from %s, not from port %d of %s", from, ftpDataPort, c.ServerAddr)
	}
	sum := sha256.New()
	if verb == "RETR" {
		_, err = io.Copy(sum, data)
	} else {
		_, err = io.Copy(io.MultiWriter(data, sum), madeUp(uint64(len(c.said)), ftpBytes))
		data.Close() // the end of the file
	}
	if err != nil {
		return err
	}
	c.sums = append(c.sums, [sha256.Size]byte(sum.Sum(nil)))
	_, _, err = c.text.ReadResponse(2)
	return err
}

// compare holds what both sides have seen against each other.
func (c *ftpClient) compare(server *ftpServer) (string, error) {
	told, sums := server.seen()
	if len(told) != len(c.said) || len(sums) != len(c.sums) {
		return "", fmt.Errorf("the server saw %d transfers, not %d", len(sums), len(c.sums))
	}
	for i := range sums {
		if sums[i] != c.sums[i] {
			return "", fmt.Errorf("file %d has SHA-256 %x at the client and %x at the server", i, c.sums[i], sums[i])
		}
		to, ok := readFTPCommand(told[i])
		if !ok {
			return "", fmt.Errorf("%q arrived as %q", c.said[i], told[i])
		}
		if err := c.mustBeOutside(to.Addr()); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s arrived as %s, %d MB each way", c.said[0], told[0], ftpBytes>>20), nil
}
