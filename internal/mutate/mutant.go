package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed mutants.txt
var mutantsText string

// mutant is one fault: in file, the text old, which stands there once, becomes new.
type mutant struct {
	name     string // what is wrong with it, in words
	file     string // from the repository's root, with slashes
	old, new string
	tests    []string // packages that are asked first, "./…"; none: that of file, then those of wider
	pattern  string   // for go test -run; empty: all tests
}

// room is the part of the house that the fault is in.
func (m *mutant) room() string { return filepath.ToSlash(filepath.Dir(m.file)) }

// key names a mutant: no two have one room and name.
func (m *mutant) key() string { return m.room() + ": " + m.name }

// parseMutants reads a list of faults. Each begins with a line "fault: NAME" and goes on with "file: PATH", perhaps
// "tests: PACKAGE..." and "run: PATTERN", lines of the old text behind "- " and of the new behind "+ ". The first line of
// a text may begin in the middle of one, the last may end there. Empty lines and those that begin with # say nothing.
func parseMutants(text string) (all []mutant, err error) {
	var old, now []string
	finish := func() error {
		if len(all) == 0 {
			return nil
		}
		m := &all[len(all)-1]
		m.old, m.new = strings.Join(old, "\n"), strings.Join(now, "\n")
		old, now = nil, nil
		if m.name == "" || m.file == "" || m.old == "" || m.old == m.new {
			return fmt.Errorf("fault %q lacks its file or its text, or changes nothing", m.name)
		}
		return nil
	}
	for i, line := range strings.Split(text, "\n") {
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case word == "fault:":
			if err := finish(); err != nil {
				return nil, err
			}
			all = append(all, mutant{name: rest})
		case len(all) == 0:
			return nil, fmt.Errorf("line %d: before the first fault: %q", i+1, line)
		case word == "file:":
			all[len(all)-1].file = rest
		case word == "tests:":
			all[len(all)-1].tests = strings.Fields(rest)
		case word == "run:":
			all[len(all)-1].pattern = rest
		case word == "-":
			old = append(old, rest)
		case word == "+":
			now = append(now, rest)
		default:
			return nil, fmt.Errorf("line %d: %q is no line of a fault", i+1, line)
		}
	}
	return all, finish()
}

// checkAll verifies that every fault still fits the code, and that no two have one name.
func checkAll(root string, all []mutant) error {
	var errs []error
	var seen []string
	for i := range all {
		if slices.Contains(seen, all[i].key()) {
			errs = append(errs, fmt.Errorf("two faults are called %q", all[i].key()))
		}
		seen = append(seen, all[i].key())
		if _, err := all[i].apply(root); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// apply returns the file's text with the fault in it.
func (m *mutant) apply(root string) (string, error) {
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(m.file)))
	if err != nil {
		return "", fmt.Errorf("%s: %w", m.key(), err)
	}
	if n := strings.Count(string(b), m.old); n != 1 {
		return "", fmt.Errorf("%s: the old text stands %d times in %s, want once:\n%s", m.key(), n, m.file, m.old)
	}
	return strings.Replace(string(b), m.old, m.new, 1), nil
}
