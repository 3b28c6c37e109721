package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// column is one column of a table.
type column struct {
	title string
	right bool // numbers
	min   int  // least width, in characters
}

// table prints rows under a title, with aligned columns. Rows may come in blocks: a column keeps the width that it has reached,
// so a long list needs no memory and stays readable.
type table struct {
	columns []column
	widths  []int
	titled  bool
}

func newTable(columns ...column) *table {
	t := &table{columns: columns, widths: make([]int, len(columns))}
	for i, c := range columns {
		t.widths[i] = max(c.min, utf8.RuneCountInString(c.title))
	}
	return t
}

// print writes a block of rows. An empty block writes nothing, not even the title.
func (t *table) print(w io.Writer, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	for _, row := range rows {
		for i, cell := range row {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	if !t.titled {
		titles := make([]string, len(t.columns))
		for i, c := range t.columns {
			titles[i] = c.title
		}
		t.line(&b, titles)
		t.titled = true
	}
	for _, row := range rows {
		t.line(&b, row)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *table) line(b *strings.Builder, cells []string) {
	var line strings.Builder
	for i, cell := range cells {
		if i > 0 {
			line.WriteString("  ")
		}
		space := strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(cell))
		if t.columns[i].right {
			line.WriteString(space + cell)
		} else {
			line.WriteString(cell + space)
		}
	}
	b.WriteString(strings.TrimRight(line.String(), " "))
	b.WriteByte('\n')
}

// formatBytes is a number of bytes in four digits or fewer, in binary units.
func formatBytes(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), 0
	for value >= 1023.95 { // what would be printed as 1024.0
		value /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTPE"[unit-1])
}

// formatSeconds is a duration of the API for people: whole seconds, in the largest units that say something.
func formatSeconds(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second)).Truncate(time.Second)
	days := d / (24 * time.Hour)
	switch {
	case days > 0:
		return fmt.Sprintf("%dd%dh", days, d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.String()
}
