package beside

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A script is lines of text. One that begins with "forward" is configuration:
//
//	forward tcp 8080 a:80          what comes for port 8080 of pub goes to port 80 of a
//
// All others send one packet, or the fragments of one:
//
//	q: a:5000 > x:53 udp "hello"
//	r: q.dst > q.src udp "world"
//
// A line has a label, the endpoints, the protocol, and words about the rest. The hosts are a and b inside, x and y
// outside; pub is the outside address of a and b, lan and wan are the router's own. LABEL.src and LABEL.dst are the
// endpoints of that line's packet as it arrived, which is how a script names ports that a router chose, LABEL.data is
// the endpoint that its payload announces; LABEL.id and LABEL.call are its ICMP identifier and the call ID of its
// sender, LABEL.end is the sequence number behind it, as it was sent. A line sends from the side of its source, or where its packet arrived whose endpoint the source is.
//
// Words (keys) are those of the table below. A quoted word is payload, in Go's spelling; {a} in it is an address as
// text, {a,} with commas as FTP has it, {a#} as a decimal number as IRC has it, {q.data} a port, {q.data,} its bytes.

// words are the words that a line may have, and whether they take a value.
var words = map[string]bool{
	"ttl": true, "tos": true, "df": false, "opt": true, // IP: hop count, type of service, don't fragment, options in hex
	"frag": true, "order": true, // fragments of at most so many bytes, and which of them are sent in which order
	"ipid": true,                // 0 to 31: which of the script's identifications it has, in place of one that no other line has
	"sum":  true, "ipsum": true, // bad or none: the checksum of the transport, bad: of the IP header
	"via": true,              // in or out: the side it is sent from, whatever its source
	"len": true, "cut": true, // payload of so many bytes; from-to: only these bytes of the payload
	"seq": true, "ack": true, "win": true, "urg": true, "mss": true, "ws": true, "sackok": false, "sack": true, "ts": true, // TCP
	"flags": true, "id": true, "n": true, // TCP; ICMP echo: identifier and sequence number
	"type": true, "rest": true, "quote": true, "sent": true, "trim": true, // ICMP: 3/1; bytes 4 to 7; which line's packet is quoted as it arrived, as it was sent; bytes of the quote
	"call": true, "key": true, "tag": true, "chunk": true, "proto": true, // GRE call ID (receiver's) and key; SCTP; any protocol by number
	"pptp": true, // a control message: its name, and its IDs
}

// protocols are the kinds of packets that a line may send.
var protocols = []string{"udp", "udplite", "tcp", "sctp", "echo", "pong", "icmp", "gre", "gre0", "raw"}

// step is one line that sends.
type step struct {
	label    string
	src, dst string
	proto    string
	payload  []string          // quoted words, unquoted
	words    map[string]string // by key
	numbers  map[int]bool      // all numbers in the line: a port that a router kept is one of them
}

// forward is a line that configures.
type forward struct {
	proto string
	port  int
	to    string // host and port
}

// script is a named run of packets.
type script struct {
	name     string
	group    string // the configuration it runs under
	v6       bool
	steps    []step
	forwards []forward
}

// parseScript reads a script's lines.
func parseScript(text string) (steps []step, forwards []forward, err error) {
	labels := map[string]bool{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			continue
		case strings.HasPrefix(line, "forward "):
			f, err := parseForward(line)
			if err != nil {
				return nil, nil, err
			}
			forwards = append(forwards, f)
		default:
			s, err := parseStep(line)
			if err != nil {
				return nil, nil, err
			}
			if err := s.refersTo(labels); err != nil {
				return nil, nil, fmt.Errorf("%q: %w", line, err)
			}
			if labels[s.label] {
				return nil, nil, fmt.Errorf("two lines %q", s.label)
			}
			labels[s.label] = true
			steps = append(steps, s)
		}
	}
	if len(steps) == 0 {
		return nil, nil, fmt.Errorf("sends nothing")
	}
	return steps, forwards, nil
}

func parseForward(line string) (forward, error) {
	f := strings.Fields(line)
	if len(f) != 4 || !strings.Contains(f[3], ":") {
		return forward{}, fmt.Errorf("%q: want forward PROTOCOL PORT HOST:PORT", line)
	}
	port, err := strconv.ParseUint(f[2], 10, 16)
	return forward{f[1], int(port), f[3]}, err
}

// parseStep reads one line that sends.
func parseStep(line string) (step, error) {
	s := step{words: map[string]string{}, numbers: numbersIn(line)}
	all, err := split(line)
	if err != nil {
		return s, err
	}
	if len(all) < 5 || !strings.HasSuffix(all[0], ":") || all[2] != ">" {
		return s, fmt.Errorf("%q: want LABEL: SOURCE > DESTINATION PROTOCOL", line)
	}
	s.label, s.src, s.dst, s.proto = strings.TrimSuffix(all[0], ":"), all[1], all[3], all[4]
	if s.label == "" || strings.ContainsAny(s.label+s.src+s.dst, `"={}`) || strings.Contains(s.label, ".") {
		return s, fmt.Errorf("%q: no label, or a strange one", line)
	}
	if !slices.Contains(protocols, s.proto) {
		return s, fmt.Errorf("%q: unknown protocol %q", line, s.proto)
	}
	for _, w := range all[5:] {
		if err := s.addWord(w); err != nil {
			return s, fmt.Errorf("%q: %w", line, err)
		}
	}
	return s, nil
}

// addWord takes one word about the packet.
func (s *step) addWord(w string) error {
	if strings.HasPrefix(w, `"`) {
		text, err := strconv.Unquote(w)
		if err != nil {
			return fmt.Errorf("%s: %w", w, err)
		}
		s.payload = append(s.payload, text)
		return nil
	}
	key, value, valued := strings.Cut(w, "=")
	if want, known := words[key]; !known || want != valued || valued && value == "" {
		return fmt.Errorf("unknown word %q, or one with too much or too little", w)
	}
	if _, twice := s.words[key]; twice {
		return fmt.Errorf("%s twice", key)
	}
	if key == "flags" && strings.Trim(value, "FSRPAUECN") != "" {
		return fmt.Errorf("unknown flags %q", value)
	}
	s.words[key] = value
	return nil
}

// refersTo checks that a step names only lines before it.
func (s *step) refersTo(labels map[string]bool) error {
	names := []string{s.src, s.dst, s.words["id"], s.words["call"], s.words["seq"], s.words["ack"]}
	for _, key := range []string{"quote", "sent"} {
		if v, given := s.words[key]; given {
			names = append(names, v+".")
		}
	}
	names = append(names, strings.Split(s.words["pptp"], ",")...)
	for _, n := range names {
		if label, _, isRef := strings.Cut(n, "."); isRef && !labels[label] {
			return fmt.Errorf("no line %q before this one", label)
		}
	}
	return nil
}

// String writes a step as parseStep reads it.
func (s *step) String() string {
	b := []string{s.label + ":", s.src, ">", s.dst, s.proto}
	keys := make([]string, 0, len(s.words))
	for key := range s.words {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if words[key] {
			key += "=" + s.words[key]
		}
		b = append(b, key)
	}
	for _, p := range s.payload {
		b = append(b, strconv.Quote(p))
	}
	return strings.Join(b, " ")
}

// split cuts a line at its spaces, but for those in quotes.
func split(line string) ([]string, error) {
	var all []string
	for line = strings.TrimLeft(line, " \t"); line != ""; line = strings.TrimLeft(line, " \t") {
		n := strings.IndexAny(line, " \t")
		if line[0] == '"' {
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				return nil, fmt.Errorf("%s: a quote that does not end", line)
			}
			n = len(quoted)
			if n < len(line) && line[n] != ' ' && line[n] != '\t' {
				return nil, fmt.Errorf("%s: something sticks to a quote", line)
			}
		}
		if n < 0 {
			n = len(line)
		}
		all = append(all, line[:n])
		line = line[n:]
	}
	return all, nil
}

// numbersIn returns all decimal numbers of a line, and those that FTP writes as two.
func numbersIn(line string) map[int]bool {
	all := map[int]bool{}
	last := -1
	for _, f := range strings.FieldsFunc(line, func(r rune) bool { return r < '0' || r > '9' }) {
		n, err := strconv.Atoi(f)
		if err != nil {
			last = -1
			continue
		}
		all[n] = true
		if last >= 0 && last < 256 && n < 256 {
			all[last<<8|n] = true
		}
		last = n
	}
	return all
}
