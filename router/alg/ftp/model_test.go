package ftp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/natrouter/natrouter/router/alg/algtest"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// modelSession is a control connection and what the model knows of it.
type modelSession struct {
	*algtest.Conn
	client, asClient string
	pending          []modelCommand // not answered
	commands         int            // so far
	by               int            // the command that named who is awaited, 0: a reply
	taken            bool           // something positive was replied since
	from, to         string         // who is awaited, and where, as it must connect: addresses with ports (from's is open)
	where            string         // what it must reach
	until            conntrack.Time // when nobody is awaited any more
}

// modelCommand is a command that waits for its reply: PORT (or EPRT), PASV, EPSV, NOOP or QUIT.
type modelCommand struct {
	verb   string
	number int
}

func (c modelCommand) passive() bool { return c.verb == "PASV" || c.verb == "EPSV" }

// asks notes a command and returns its number.
func (s *modelSession) asks(verb string) int {
	s.commands++
	s.pending = append(s.pending, modelCommand{verb, s.commands})
	return s.commands
}

// answered notes a reply without an endpoint. A positive one can't be PASV's or EPSV's, and a refusal takes back who is
// awaited only where nothing positive came since.
func (s *modelSession) answered(code string) {
	refused := code[0] > '3'
	if s.taken = s.taken || !refused; code[0] == '1' {
		return
	}
	i := slices.IndexFunc(s.pending, func(c modelCommand) bool { return refused || !c.passive() })
	if i < 0 {
		return
	}
	c := s.pending[i]
	if s.pending = slices.Delete(s.pending, i, i+1); refused && c.number == s.by && !s.taken || c.verb == "QUIT" && !refused {
		s.to = ""
	}
}

// model is a router with some sessions.
type model struct {
	*world
	t        *rapid.T
	sessions []*modelSession
	ports    int // control connections so far
	data     int // data connections that were let in
}

// Some sessions of some clients at once, with everything that can be said and done in them, and segments that are lost,
// cut and repeated: after each step just those connections are awaited that the model awaits; each gets where it must,
// once, and no other does; and in the end nothing is left of them.
func TestModel(t *testing.T) {
	total := 0
	for _, p := range []place{clientInside, serverInside, places[2], places[3], places[4]} {
		t.Run(p.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m := &model{world: newWorld(t, p, map[string]any{"min_port": 2000}), t: t}
				t.Repeat(map[string]func(*rapid.T){
					"dial": m.dialSome, "command": m.command, "name": m.command, "pass": m.passive, "ask": m.ask, "answer": m.answer, "reply": m.reply, "refuse": m.refuse, "data": m.connect,
					"stranger": m.stranger, "wait": m.wait, "end": m.end, "": func(*rapid.T) { m.check() },
				})
				m.finish()
				total += m.data
			})
		})
	}
	if total < 300 {
		t.Errorf("%d data connections: too little to show anything", total)
	}
}

// some draws a session; nil: there is none.
func (m *model) some() *modelSession {
	if len(m.sessions) == 0 {
		return nil
	}
	return m.sessions[rapid.IntRange(0, len(m.sessions)-1).Draw(m.t, "session")]
}

// tell says a line in random segments, some of them lost at first or sent twice, and returns what arrived.
func (m *model) tell(c *modelSession, dir conntrack.Direction, text string) string {
	from, start := len(c.Heard(dir)), c.Sent(dir)
	c.Write(dir, text+"\r\n")
	size := rapid.IntRange(3, 40).Draw(m.t, "size")
	lost := rapid.Uint16().Draw(m.t, "lost")
	for at, i := start, 0; at < c.Said(dir); at, i = at+size, i+1 {
		to := min(at+size, c.Said(dir))
		c.Segment(dir, at, to, packet.Meta{}, func() bool { return lost>>(i%16)&1 != 0 })
		if lost>>((i+5)%16)&1 != 0 {
			c.Segment(dir, max(start, at-size), to, packet.Meta{}, nil)
		}
	}
	c.Settle(dir, func(int) int { return size })
	return strings.TrimSuffix(string(c.Heard(dir)[from:]), "\r\n")
}

func (m *model) dialSome(*rapid.T) {
	if len(m.sessions) == 4 {
		return
	}
	m.ports++
	s := &modelSession{client: m.client, asClient: m.asClient}
	if second := rapid.Bool().Draw(m.t, "another client"); second {
		s.client = map[string]string{"10.77.1.2": "10.77.1.3", "198.51.100.7": "198.51.100.8"}[m.client]
		if m.asClient == m.client {
			s.asClient = s.client
		}
	}
	s.Conn = m.Dial(host(s.client, 1024+m.ports), host(m.asServer, 21))
	for _, l := range dialogue {
		m.tell(s, l.dir, strings.TrimSuffix(l.text, "\r\n"))
	}
	m.sessions = append(m.sessions, s)
}

// command lets a client name an endpoint, its own or another.
func (m *model) command(*rapid.T) {
	s := m.some()
	if s == nil {
		m.dialSome(nil)
		return
	}
	addr := rapid.SampledFrom([]string{s.client, s.client, s.asClient, m.server, m.third}).Draw(m.t, "address")
	port := rapid.SampledFrom([]int{5000, 5001, 2000, 1999}).Draw(m.t, "port")
	extended := rapid.Bool().Draw(m.t, "extended")
	text := func(addr string, port int) string {
		if extended {
			return "EPRT " + piped(addr, port)
		}
		return "PORT " + numbers6(addr, port)
	}
	heard := m.tell(s, fromClient, text(addr, port))
	s.by, s.to, s.taken = s.asks("PORT"), "", false
	if addr != s.client && addr != s.asClient || port < 2000 {
		want(m.t, "refused", heard, text(addr, port))
		return
	}
	s.learn(m, heard, m.server, s.asClient, text, fmt.Sprintf("%s>%s", m.asServer, host(s.client, port)))
	if rapid.Bool().Draw(m.t, "at once") {
		m.transfer(s)
	}
}

// learn notes who is awaited: the port is the one that was heard.
func (s *modelSession) learn(m *model, heard, from, addr string, text func(string, int) string, where string) {
	for _, e := range m.Table.Expectations(m.Now, s.ID) {
		port := int(e.Tuple.DstID)
		want(m.t, "heard", heard, text(addr, port))
		s.from, s.to, s.where, s.until = from, host(addr, port), where, e.Deadline
		if late := m.Now + conntrack.Time(lifetime) - e.Deadline; late < 0 || late > 30*second {
			m.t.Errorf("awaited for %v less than it should", time.Duration(late))
		}
	}
}

func (m *model) ask(*rapid.T) {
	if s := m.some(); s != nil {
		verb := rapid.SampledFrom([]string{"PASV", "EPSV", "NOOP"}).Draw(m.t, "command")
		s.asks(verb)
		want(m.t, "asked", m.tell(s, fromClient, verb), verb)
	}
}

// answer lets the server name an endpoint, asked for or not, its own or another.
func (m *model) answer(*rapid.T) {
	s := m.some()
	if s == nil {
		return
	}
	extended := rapid.Bool().Draw(m.t, "extended")
	addr := rapid.SampledFrom([]string{m.server, m.server, m.asServer, s.client, m.third}).Draw(m.t, "address")
	port := rapid.SampledFrom([]int{5000, 6000, 1999}).Draw(m.t, "port")
	text := func(addr string, port int) string { return "227 go (" + numbers6(addr, port) + ")." }
	if extended {
		addr, text = m.server, func(_ string, port int) string { return fmt.Sprintf("229 go (|||%d|)", port) }
	}
	i := slices.IndexFunc(s.pending, modelCommand.passive)
	good := i >= 0
	heard := m.tell(s, fromServer, text(addr, port))
	if s.taken = true; good {
		s.pending, s.to, s.by = s.pending[i+1:], "", 0
	}
	if !good || addr != m.server && addr != m.asServer || port < 2000 {
		want(m.t, "refused", heard, text(addr, port))
		return
	}
	s.learn(m, heard, s.client, m.asServer, text, fmt.Sprintf("%s>%s", s.asClient, host(m.server, port)))
}

func (m *model) reply(*rapid.T) {
	s := m.some()
	if s == nil {
		return
	}
	code := rapid.SampledFrom([]string{"150 begin", "200 fine", "350 more", "500 no", "211-x\r\n227 (1,2,3,4,5,6)\r\n211 "}).Draw(m.t, "reply")
	want(m.t, "reply", m.tell(s, fromServer, code), code)
	s.answered(code)
}

// refuse lets the server refuse the newest command, in its turn.
func (m *model) refuse(*rapid.T) {
	s := m.some()
	if s == nil || len(s.pending) == 0 {
		return
	}
	for range len(s.pending) {
		want(m.t, "refusal", m.tell(s, fromServer, "500 no"), "500 no")
		s.answered("500")
	}
}

// passive asks and answers at once.
func (m *model) passive(t *rapid.T) {
	m.ask(t)
	m.answer(t)
}

// connect opens the awaited connection of a session.
func (m *model) connect(*rapid.T) {
	if s := m.some(); s != nil {
		m.transfer(s)
	}
}

func (m *model) transfer(s *modelSession) {
	if s.to == "" || s.until <= m.Now {
		return
	}
	m.data++
	from := host(s.from, 30000+m.data)
	got := m.Connect(from, s.to)
	as, target, _ := strings.Cut(s.where, ">")
	if !strings.HasPrefix(got, as+":") || !strings.HasSuffix(got, ">"+target) {
		m.t.Errorf("%s to %s went %s, want %s", from, s.to, got, s.where)
	}
	s.to = ""
}

// stranger tries to get where somebody else is awaited, or to a port that nobody named.
func (m *model) stranger(*rapid.T) {
	s := m.some()
	if s == nil {
		return
	}
	to := rapid.SampledFrom([]string{host(s.asClient, 5000), host(m.asServer, 5000), s.to}).Draw(m.t, "to")
	if to == "" || m.Route(addrPort(m.third, 1).Addr()) != algtest.WAN {
		return
	}
	if got := m.Connect(host(m.third, 20), to); strings.Contains(got, ">") {
		m.t.Errorf("a stranger gets to %s: %s", to, got)
	}
}

func (m *model) wait(*rapid.T) {
	m.Advance(time.Duration(rapid.IntRange(1, 200).Draw(m.t, "seconds")) * time.Second)
}

func (m *model) end(*rapid.T) {
	s := m.some()
	if s == nil {
		return
	}
	switch rapid.IntRange(0, 2).Draw(m.t, "how") {
	case 0:
		s.Reset(fromClient)
	case 1:
		s.Close(fromServer)
	default:
		m.tell(s, fromClient, "QUIT")
		s.asks("QUIT")
		for slices.ContainsFunc(s.pending, func(c modelCommand) bool { return c.verb == "QUIT" }) {
			m.tell(s, fromServer, "221 bye")
			s.answered("221")
		}
		m.awaitedBy(s)
	}
	s.to = ""
	m.sessions = slices.DeleteFunc(m.sessions, func(o *modelSession) bool { return o == s })
}

// awaitedBy looks that nobody is awaited by a session that has ended by its QUIT.
func (m *model) awaitedBy(s *modelSession) {
	if n := len(m.Table.Expectations(m.Now, s.ID)); n != 0 {
		m.t.Errorf("%d awaited behind QUIT", n)
	}
}

// check compares what is awaited.
func (m *model) check() {
	var list []string
	for _, s := range m.sessions {
		if s.to != "" && s.until > m.Now {
			list = append(list, fmt.Sprintf("tcp %s->%s", host(s.from, 0), s.to))
		}
		if !s.Helped() {
			m.t.Fatalf("%s is not helped any more", s.client)
		}
	}
	got := m.Expectations()
	slices.Sort(list)
	slices.Sort(got)
	if !slices.Equal(got, list) {
		m.t.Fatalf("awaited %q, want %q", got, list)
	}
}

// finish ends all and looks what is left.
func (m *model) finish() {
	for _, s := range m.sessions {
		s.Reset(fromClient)
	}
	m.awaits(m.t, 0)
	m.Advance(6 * 24 * time.Hour)
	if s := m.NAT.Stats(); m.Table.Len() > 0 || s.Mappings > 0 {
		m.t.Fatalf("%d connections and %d mappings are left", m.Table.Len(), s.Mappings)
	}
}
