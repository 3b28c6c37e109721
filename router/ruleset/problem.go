package ruleset

import (
	"fmt"
	"strings"
)

// Place is a part of a configuration, named as in the configuration file. The zero value is no place.
type Place struct {
	Table string // "nat", "filter.rule", "nat_defaults"
	Index int    // which table of that name, from 0; 0 for those that stand once
	Key   string // of the table, "to"; empty: the table as a whole
	Item  int    // which element of the key's list, from 1; 0: the key as a whole
}

// Key returns a key of the i-th table of a name (from 0); an empty key is the table itself.
func Key(table string, i int, key string) Place { return Place{Table: table, Index: i, Key: key} }

// Element returns the place of the i-th element, from 0, of p's key.
func (p Place) Element(i int) Place {
	p.Item = i + 1
	return p
}

// String writes a place as "nat[3].to[0]", all counted from 0.
func (p Place) String() string {
	s := p.Table
	if p.Index >= 0 {
		s = fmt.Sprintf("%s[%d]", s, p.Index)
	}
	if p.Key != "" {
		s += "." + p.Key
	}
	if p.Item > 0 {
		s += fmt.Sprintf("[%d]", p.Item-1)
	}
	return s
}

// Severity says what a problem means for the configuration.
type Severity uint8

// The severities. The zero value refuses.
const (
	Mistake Severity = iota // it can't be used
	Warning                 // it does as it says, which breaks a standard or rarely is what was meant
)

// Problem is one thing that is wrong with a configuration. Its texts are sentences without a capital and without a full
// stop, for one line.
type Problem struct {
	Severity Severity
	At       Place
	Other    Place  // what it clashes with; zero: nothing
	Text     string // what is wrong, and why
	Remedy   string // what to write instead
}

// Message returns the text and the remedy; other, if it isn't empty, is how the reader is told where Other is.
func (p Problem) Message(other string) string {
	s := p.Text
	if other != "" {
		s += " (" + other + ")"
	}
	if p.Remedy != "" {
		s += ": " + p.Remedy
	}
	return s
}

// Error returns the whole problem with its places, for readers without a file.
func (p Problem) Error() string {
	other := ""
	if p.Other != (Place{}) {
		other = p.Other.String()
	}
	return p.At.String() + ": " + p.Message(other)
}

// Problems are what a check found. It is an error where it holds only mistakes: see [Problems.Err].
type Problems []Problem

// Error returns one line a problem.
func (l Problems) Error() string {
	lines := make([]string, len(l))
	for i := range l {
		lines[i] = l[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns the mistakes as one error of type Problems, nil if there is none.
func (l Problems) Err() error {
	if m := l.of(Mistake); len(m) > 0 {
		return m
	}
	return nil
}

// Warnings returns what is no mistake.
func (l Problems) Warnings() Problems { return l.of(Warning) }

func (l Problems) of(s Severity) (some Problems) {
	for _, p := range l {
		if p.Severity == s {
			some = append(some, p)
		}
	}
	return some
}

// Mistakef adds a mistake. The text is formatted; it must not contain the remedy.
func (l *Problems) Mistakef(at, other Place, remedy, format string, args ...any) {
	*l = append(*l, Problem{At: at, Other: other, Text: fmt.Sprintf(format, args...), Remedy: remedy})
}

// Warnf adds a warning.
func (l *Problems) Warnf(at, other Place, remedy, format string, args ...any) {
	*l = append(*l, Problem{Severity: Warning, At: at, Other: other, Text: fmt.Sprintf(format, args...), Remedy: remedy})
}
