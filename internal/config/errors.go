package config

import (
	"fmt"
	"slices"
	"strings"
)

// Error is one mistake in a configuration file: what is wrong, and what to write instead.
type Error struct {
	File    string
	Line    int // from 1; 0: the file as a whole
	Message string
}

// Error returns "FILE:LINE: message".
func (e Error) Error() string { return place(e.File, e.Line) + e.Message }

// Errors is every mistake found in a file, by line. It is never empty when returned as an error.
type Errors []Error

// Error returns one line a mistake.
func (l Errors) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Warning is something that the router does as it is told, but that breaks a standard or rarely is what was meant.
type Warning struct {
	File    string
	Line    int // from 1
	Message string
}

// String returns "FILE:LINE: warning: message".
func (w Warning) String() string { return place(w.File, w.Line) + "warning: " + w.Message }

func place(file string, line int) string {
	if line == 0 {
		return file + ": "
	}
	return fmt.Sprintf("%s:%d: ", file, line)
}

// problems collects what is wrong with one file.
type problems struct {
	file     string
	errors   Errors
	warnings []Warning
}

func (p *problems) errorf(line int, format string, args ...any) {
	p.errors = append(p.errors, Error{File: p.file, Line: line, Message: oneLine(fmt.Sprintf(format, args...))})
}

func (p *problems) warnf(line int, format string, args ...any) {
	p.warnings = append(p.warnings, Warning{File: p.file, Line: line, Message: oneLine(fmt.Sprintf(format, args...))})
}

// sort puts errors and warnings in the order of the file; those of one line stay as they were found.
func (p *problems) sort() {
	slices.SortStableFunc(p.errors, func(a, b Error) int { return a.Line - b.Line })
	slices.SortStableFunc(p.warnings, func(a, b Warning) int { return a.Line - b.Line })
}

// oneLine keeps the promise of one line a mistake for text that was quoted from the file without %q.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }
