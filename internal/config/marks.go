package config

import (
	"strings"

	"github.com/BurntSushi/toml"
)

// mark says on which line a key or a value of the file stands, and where what is in it stands. The TOML library gives
// no positions: not of a key that is fine for TOML and wrong for us, nor of the second table of an array.
type mark struct {
	line  int
	keys  map[string]*mark // of a table
	items []*mark          // of an array, of values or of tables
}

// key returns the mark of a key in a table, or that of the table if there is none.
func (m *mark) key(name string) *mark {
	if k, ok := m.keys[name]; ok {
		return k
	}
	return m
}

// item returns the mark of the i-th element of an array, or that of the array if there is none.
func (m *mark) item(i int) *mark {
	if i < len(m.items) {
		return m.items[i]
	}
	return m
}

// child returns the mark of a key below m, made on first use. In an array of tables it is that of the last table.
func (m *mark) child(name string, line int) *mark {
	if n := len(m.items); n > 0 {
		m = m.items[n-1]
	}
	if m.keys == nil {
		m.keys = map[string]*mark{}
	}
	k, ok := m.keys[name]
	if !ok {
		k = &mark{line: line}
		m.keys[name] = k
	}
	return k
}

// scanMarks returns the marks of a text that the TOML library accepts. Of any other text it returns some marks.
func scanMarks(text string) *mark {
	s := scanner{text: strings.TrimPrefix(text, "\ufeff"), line: 1}
	root := &mark{line: 1}
	table := root
	for s.space(); s.at < len(s.text); s.space() {
		start := s.at
		if s.peek() == '[' {
			table = s.header(root)
		} else {
			s.pair(table)
		}
		if s.at == start { // not TOML: go on, whatever it is
			s.at++
		}
	}
	return root
}

// scanner reads the structure of a TOML text and skips its values.
type scanner struct {
	text string
	at   int // offset of the next byte
	line int // of the next byte, from 1
}

// peek returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

// skip goes on by n bytes.
func (s *scanner) skip(n int) {
	n = min(n, len(s.text)-s.at)
	s.line += strings.Count(s.text[s.at:s.at+n], "\n")
	s.at += n
}

// take skips c if it is next.
func (s *scanner) take(c byte) bool {
	if s.at == len(s.text) || s.text[s.at] != c {
		return false
	}
	s.skip(1)
	return true
}

// blanks skips spaces and tabs.
func (s *scanner) blanks() {
	for s.peek() == ' ' || s.peek() == '\t' {
		s.skip(1)
	}
}

// space skips white space, line ends and comments.
func (s *scanner) space() {
	for {
		switch s.peek() {
		case ' ', '\t', '\r', '\n':
			s.skip(1)
		case '#':
			s.until("\n")
		default:
			return
		}
	}
}

// until skips to the next of the bytes in stops, or to the end, and returns what it skipped.
func (s *scanner) until(stops string) string {
	n := strings.IndexAny(s.text[s.at:], stops)
	if n < 0 {
		n = len(s.text) - s.at
	}
	start := s.at
	s.skip(n)
	return s.text[start : start+n]
}

// header reads [a.b] or [[a.b]] and returns the mark of the table that it opens.
func (s *scanner) header(root *mark) *mark {
	line := s.line
	s.take('[')
	array := s.take('[')
	m := root
	path := s.path()
	for i, name := range path {
		m = m.child(name, line)
		if i < len(path)-1 {
			continue
		}
		if array {
			m.items = append(m.items, &mark{line: line})
		} else if len(m.items) == 0 {
			m.line = line // the header counts, not a [a.b] that stood before [a]
		}
	}
	s.take(']')
	if array {
		s.take(']')
	}
	if n := len(m.items); n > 0 {
		m = m.items[n-1]
	}
	return m
}

// pair reads a.b = value below table.
func (s *scanner) pair(table *mark) {
	line := s.line
	m := table
	for _, name := range s.path() {
		m = m.child(name, line)
	}
	if s.take('=') {
		s.value(m)
	}
}

// path reads a dotted key, and the blanks around it.
func (s *scanner) path() []string {
	var path []string
	for {
		s.blanks()
		switch c := s.peek(); c {
		case '"', '\'':
			path = append(path, unquoteKey(s.quoted(c)))
		default:
			path = append(path, s.until(" \t\r\n.=[]{}#,\"'"))
		}
		s.blanks()
		if !s.take('.') {
			return path
		}
	}
}

// unquoteKey returns the name that a quoted key stands for. The library reads the escapes.
func unquoteKey(raw string) string {
	var v struct{ K string }
	if _, err := toml.Decode("K = "+raw, &v); err != nil {
		return raw
	}
	return v.K
}

// quoted reads a string in the given quotes, of one line or of many, and returns it with them.
func (s *scanner) quoted(quote byte) string {
	start := s.at
	end := string(quote)
	if triple := strings.Repeat(end, 3); strings.HasPrefix(s.text[s.at:], triple) {
		end = triple
	}
	s.skip(len(end))
	for s.at < len(s.text) && !strings.HasPrefix(s.text[s.at:], end) {
		if quote == '"' && s.peek() == '\\' {
			s.skip(1)
		}
		s.skip(1)
	}
	s.skip(len(end))
	for len(end) == 3 && s.peek() == quote { // up to two quotes may stand before the closing three
		s.skip(1)
	}
	return s.text[start:s.at]
}

// value skips a value and marks what is in it.
func (s *scanner) value(m *mark) {
	s.blanks()
	m.line = s.line
	switch c := s.peek(); c {
	case '"', '\'':
		s.quoted(c)
	case '[':
		s.skip(1)
		for s.space(); s.at < len(s.text) && !s.take(']'); s.space() {
			start := s.at
			item := &mark{line: s.line}
			s.value(item)
			m.items = append(m.items, item)
			s.space()
			if !s.take(',') && s.at == start {
				s.skip(1)
			}
		}
	case '{':
		s.skip(1)
		for s.space(); s.at < len(s.text) && !s.take('}'); s.space() {
			start := s.at
			s.pair(m)
			s.space()
			if !s.take(',') && s.at == start {
				s.skip(1)
			}
		}
	default:
		s.until(",]}#\n")
	}
}
