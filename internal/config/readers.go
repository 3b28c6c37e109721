package config

import (
	"strconv"
	"time"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/ruleset"
)

// reader checks the value of a key and returns it in the type that the key has. After a mistake, which it reports, it isn't
// ok and returns nil, or the part of a list that is right.
type reader func(p *problems, name string, v any, m *mark) (any, bool)

// list is the value of a key that takes one or several.
type list[T any] []T

// text reads a string.
func text(p *problems, name string, v any, m *mark) (any, bool) {
	s, ok := v.(string)
	if !ok {
		p.errorf(m.line, "%s is a text, not %s: write it in quotes", name, describe(v))
		return nil, false
	}
	return s, true
}

// boolean reads true or false.
func boolean(p *problems, name string, v any, m *mark) (any, bool) {
	b, ok := v.(bool)
	if !ok {
		p.errorf(m.line, "%s is a switch, not %s: write true or false, without quotes", name, describe(v))
		return nil, false
	}
	return b, true
}

// onOff reads true or false where the absence of the key means something else.
func onOff(p *problems, name string, v any, m *mark) (any, bool) {
	b, ok := boolean(p, name, v, m)
	switch {
	case !ok:
		return nil, false
	case b.(bool):
		return nat.On, true
	}
	return nat.Off, true
}

// word is one of the words that a key takes, and what it stands for.
type word[T any] struct {
	text  string
	value T
}

// oneOf reads one of several words.
func oneOf[T any](words ...word[T]) reader {
	var shown []string
	for _, w := range words {
		shown = append(shown, w.text)
	}
	return func(p *problems, name string, v any, m *mark) (any, bool) {
		s, ok := v.(string)
		for _, w := range words {
			if ok && s == w.text {
				return w.value, true
			}
		}
		if !ok {
			p.errorf(m.line, "%s is a word, not %s: write %s", name, describe(v), ruleset.Alternatives(shown))
		} else {
			p.errorf(m.line, "%s does not know %q: %s", name, s, ruleset.Suggest(s, shown))
		}
		return nil, false
	}
}

// choice reads one of several words that stand for themselves.
func choice(texts ...string) reader {
	var words []word[string]
	for _, s := range texts {
		words = append(words, word[string]{s, s})
	}
	return oneOf(words...)
}

// number reads a whole number. unit is its unit, "" for a plain count.
func number(low, high int, unit string) reader {
	if unit != "" {
		unit = " " + unit
	}
	return func(p *problems, name string, v any, m *mark) (any, bool) {
		n, ok := v.(int64)
		switch {
		case !ok:
			p.errorf(m.line, "%s is a number, not %s: write one from %d to %d%s, without quotes", name, describe(v), low, high, unit)
		case n < int64(low) || n > int64(high):
			p.errorf(m.line, "%s = %d is out of range: write %d to %d%s", name, n, low, high, unit)
		default:
			return int(n), true
		}
		return nil, false
	}
}

// duration reads "30s" or "5d".
func duration(low, high time.Duration) reader {
	return func(p *problems, name string, v any, m *mark) (any, bool) {
		s, ok := v.(string)
		if n, isNumber := v.(int64); isNumber && n >= 0 {
			p.errorf(m.line, `%s has no unit: write "%ds" for seconds, or m, h or d`, name, n)
			return nil, false
		}
		if !ok {
			p.errorf(m.line, `%s is a duration, not %s: write it as in "30s", "2h4m" or "5d"`, name, describe(v))
			return nil, false
		}
		d, err := parseDuration(s)
		switch {
		case err != nil:
			p.errorf(m.line, "%s: %v", name, err)
			return nil, false
		case d < low || d > high:
			p.errorf(m.line, "%s = %q is out of range: write %s to %s", name, s, formatDuration(low), formatDuration(high))
			return nil, false
		}
		return d, true
	}
}

// size reads "64MiB" or a number of bytes.
func size(low, high int64) reader {
	return func(p *problems, name string, v any, m *mark) (any, bool) {
		n, ok := v.(int64)
		if !ok {
			s, isText := v.(string)
			if !isText {
				p.errorf(m.line, `%s is a size, not %s: write it as in "64MiB"`, name, describe(v))
				return nil, false
			}
			var err error
			if n, err = parseSize(s); err != nil {
				p.errorf(m.line, "%s: %v", name, err)
				return nil, false
			}
		}
		if n < low || n > high {
			p.errorf(m.line, "%s is out of range: write %s to %s", name, formatSize(low), formatSize(high))
			return nil, false
		}
		return int(n), true
	}
}

// listOf reads one element or a list of them. Elements are texts; with numbers set, also numbers. Of m it leaves the
// elements that are right, so that these and their marks go together.
func listOf[T any](numbers bool, what string, parse func(string) (T, error)) reader {
	return func(p *problems, name string, v any, m *mark) (any, bool) {
		elements, isList := v.([]any)
		if !isList {
			elements = []any{v}
		}
		var out list[T]
		var kept []*mark
		for i, e := range elements {
			at := m.item(i)
			s, isText := e.(string)
			if n, isNumber := e.(int64); isNumber && numbers {
				s, isText = strconv.FormatInt(n, 10), true
			}
			if !isText {
				p.errorf(at.line, "%s is %s, not %s", name, what, describe(e))
				continue
			}
			el, err := parse(s)
			if err != nil {
				p.errorf(at.line, "%s: %v", name, err)
				continue
			}
			out, kept = append(out, el), append(kept, at)
		}
		if isList {
			m.items = kept
		}
		return out, len(out) == len(elements)
	}
}

// The lists that keys take.
var (
	texts     = listOf(false, `a text or a list of texts, as in ["a", "b"]`, func(s string) (string, error) { return s, nil })
	ports     = listOf(true, `a port, a range or a list of them, as in [80, "8000-8099"]`, parsePorts)
	addresses = listOf(false, `an address, a network, a range or a list of them, as in ["10.77.0.0/16", "fd77::1"]`, parseAddrRange)
	prefixes  = listOf(false, `an address with prefix length or a list of them, as in ["10.77.0.1/24", "fd77::1/64"]`, parsePrefix)
	networks  = listOf(false, `a network or a list of them, as in ["10.77.0.0/16", "fd77::/16"]`, parseNetwork)
	targets   = listOf(false, `a target or a list of them, as in "10.77.1.2:80"; ports alone as in ":80"`, parseTarget)
)

// address reads one address.
func address(p *problems, name string, v any, m *mark) (any, bool) {
	s, ok := text(p, name, v, m)
	if !ok {
		return nil, false
	}
	a, err := parseAddr(s.(string))
	if err != nil {
		p.errorf(m.line, "%s: %v", name, err)
		return nil, false
	}
	return a, true
}

// protocol reads the name or number of a protocol.
func protocol(p *problems, name string, v any, m *mark) (any, bool) {
	s, ok := v.(string)
	switch n, isNumber := v.(int64); {
	case isNumber:
		s = strconv.FormatInt(n, 10)
	case !ok:
		p.errorf(m.line, `%s is one protocol, not %s: write a name or a number, as in "tcp"; for several write a rule each`, name, describe(v))
		return nil, false
	}
	n, err := parseProtocol(s)
	if err != nil {
		p.errorf(m.line, "%s: %v", name, err)
		return nil, false
	}
	return n, true
}

// onePortRange reads a single range.
func onePortRange(p *problems, name string, v any, m *mark) (any, bool) {
	l, ok := ports(p, name, v, m)
	if !ok {
		return nil, false
	}
	r := l.(list[conntrack.PortRange])
	if len(r) != 1 {
		p.errorf(m.line, `%s is one range, not a list of %d: write it as in "1024-65535"`, name, len(r))
		return nil, false
	}
	return r[0], true
}
