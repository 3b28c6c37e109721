package irc

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
)

const (
	port     = 6667             // RFC 7194, section 1
	patience = 10 * time.Second // for whatever must come, on a busy machine
	silence  = 2 * time.Second  // for what must not
	fileSize = 3 << 20          // bytes
)

// ircd is a server: it knows who is there and passes messages on.
type ircd struct {
	mu    sync.Mutex
	users map[string]net.Conn // guarded by mu; by nick
}

// serve starts a server.
func serve(t *testing.T, n *netlab.Namespace, at netip.AddrPort) *ircd {
	t.Helper()
	l, err := n.Listen(at)
	lab.Must(t, err)
	s := &ircd{users: map[string]net.Conn{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			running.Go(func() { s.attend(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for _, c := range s.users {
			c.Close()
		}
		s.mu.Unlock()
		running.Wait()
	})
	return s
}

// attend serves one user until the connection ends.
func (s *ircd) attend(c net.Conn) {
	defer c.Close()
	nick := ""
	for lines := bufio.NewScanner(c); lines.Scan(); {
		command, rest, _ := strings.Cut(lines.Text(), " ")
		switch command {
		case "NICK":
			nick = rest
			s.mu.Lock()
			s.users[nick] = c
			s.mu.Unlock()
			s.tell(nick, ":irc.example 001 "+nick+" :Welcome")
		case "PRIVMSG":
			to, text, _ := strings.Cut(rest, " ")
			s.tell(to, fmt.Sprintf(":%s!user@example.org PRIVMSG %s %s", nick, to, text))
		}
	}
}

// tell sends a user a line. Nobody is told who is not there.
func (s *ircd) tell(nick, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.users[nick]; c != nil {
		_, _ = io.WriteString(c, line+"\r\n") // a user who has gone misses nothing
	}
}

// user is a client of the server.
type user struct {
	t     *testing.T
	home  *netlab.Namespace
	conn  net.Conn
	lines *bufio.Reader
	own   netip.Addr
}

// join connects a user to the server.
func join(t *testing.T, n *netlab.Namespace, server netip.AddrPort, nick string) *user {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := n.Dial(ctx, "tcp", server)
	lab.Must(t, err)
	t.Cleanup(func() { c.Close() })
	u := &user{t: t, home: n, conn: c, lines: bufio.NewReader(c), own: netip.MustParseAddrPort(c.LocalAddr().String()).Addr()}
	u.say("NICK " + nick)
	if got := u.hear(); !strings.Contains(got, " 001 ") {
		t.Fatalf("%s is welcomed with %q", nick, got)
	}
	return u
}

// say sends a line.
func (u *user) say(line string) {
	u.t.Helper()
	_, err := io.WriteString(u.conn, line+"\r\n")
	lab.Must(u.t, err)
}

// spell sends a line in many small segments.
func (u *user) spell(line string) {
	u.t.Helper()
	for i := range line {
		_, err := io.WriteString(u.conn, line[i:i+1])
		lab.Must(u.t, err)
	}
	u.say("")
}

// hear returns the next line.
func (u *user) hear() string {
	u.t.Helper()
	lab.Must(u.t, u.conn.SetReadDeadline(time.Now().Add(patience)))
	line, err := u.lines.ReadString('\n')
	lab.Must(u.t, err)
	return strings.TrimRight(line, "\r\n")
}

// number writes an address as DCC does: IPv4 as one number, IPv6 as text.
func number(a netip.Addr) string {
	if !a.Is4() {
		return a.String()
	}
	b := a.As4()
	return fmt.Sprint(binary.BigEndian.Uint32(b[:]))
}

// offer is the text of an offer of a file.
func offer(a netip.Addr, port uint16) string {
	return fmt.Sprintf("\x01DCC SEND file.bin %s %d %d\x01", number(a), port, fileSize)
}

// readOffer takes an offer out of a line as its receiver gets it.
func readOffer(t *testing.T, line string) netip.AddrPort {
	t.Helper()
	_, text, _ := strings.Cut(line, "\x01DCC SEND file.bin ")
	words := strings.Split(strings.TrimSuffix(text, "\x01"), " ")
	if len(words) != 3 {
		t.Fatalf("%q offers nothing", line)
	}
	a, err := netip.ParseAddr(words[0])
	if n, numberErr := strconv.ParseUint(words[0], 10, 32); numberErr == nil {
		a, err = netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(n)))), nil
	}
	lab.Must(t, err)
	p, err := strconv.ParseUint(words[1], 10, 16)
	lab.Must(t, err)
	return netip.AddrPortFrom(a, uint16(p))
}

// source is a file that is offered, and waits for one receiver.
type source struct {
	t    *testing.T
	at   netip.AddrPort
	sum  [sha256.Size]byte
	done chan error // what came of it
}

// share has a user wait for a receiver at a port of its own; 0: any.
func (u *user) share(port uint16, seed byte) *source {
	u.t.Helper()
	l, err := u.home.Listen(netip.AddrPortFrom(u.own, port))
	lab.Must(u.t, err)
	u.t.Cleanup(func() { l.Close() })
	body := make([]byte, fileSize)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(body) // never fails
	s := &source{t: u.t, at: netip.MustParseAddrPort(l.Addr().String()), sum: sha256.Sum256(body), done: make(chan error, 1)}
	go func() { s.done <- giveOut(l, body) }()
	return s
}

// giveOut sends the file to the first who connects, and waits until he says that he has all of it.
func giveOut(l net.Listener, body []byte) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.Write(body); err != nil {
		return err
	}
	var count uint32
	for int(count) < len(body) {
		if err := binary.Read(c, binary.BigEndian, &count); err != nil {
			return err
		}
	}
	return nil
}

// fetch gets an offered file as the receiver, and checks it.
func (u *user) fetch(from netip.AddrPort, s *source) {
	u.t.Helper()
	c, err := u.reach(from, patience)
	if err != nil {
		u.t.Fatalf("the offered %s is not reached: %v", from, err)
	}
	defer c.Close()
	lab.Must(u.t, c.SetDeadline(time.Now().Add(patience)))
	body := make([]byte, fileSize)
	_, err = io.ReadFull(c, body)
	lab.Must(u.t, err)
	if sha256.Sum256(body) != s.sum {
		u.t.Errorf("another file came from %s", from)
	}
	lab.Must(u.t, binary.Write(c, binary.BigEndian, uint32(len(body))))
	if err := <-s.done; err != nil {
		u.t.Errorf("sender: %v", err)
	}
}

// reach connects to where an offer points.
func (u *user) reach(to netip.AddrPort, within time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(u.t.Context(), within)
	defer cancel()
	return u.home.Dial(ctx, "tcp", to)
}
