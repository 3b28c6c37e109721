package beside

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// wantedFile lists the differences that we want. A line that begins with "=" is a reason: the clause, what the kernel
// does and what natrouter does. One that begins with "*" names a script that differs for it; the lines below are how.
const wantedFile = "testdata/wanted.txt"

// reason is why natrouter differs, and where.
type reason struct {
	clause, kernel, ours string
	scripts              map[string][]string // by name, what differs
}

// unexplained is the clause under which new differences are written down. It passes no test.
const unexplained = "unexplained"

// readWanted reads the list.
func readWanted(text string) ([]*reason, error) {
	var all []*reason
	var name string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "= "):
			f := strings.Split(line[2:], " | ")
			if len(f) != 3 {
				return nil, fmt.Errorf("%q: want = CLAUSE | THE KERNEL | NATROUTER", line)
			}
			all, name = append(all, &reason{f[0], f[1], f[2], map[string][]string{}}), ""
		case len(all) == 0:
			return nil, fmt.Errorf("%q stands under no reason", line)
		case strings.HasPrefix(line, "* "):
			name = line[2:]
			for _, r := range all {
				if _, twice := r.scripts[name]; twice {
					return nil, fmt.Errorf("%q stands under two reasons", name)
				}
			}
			all[len(all)-1].scripts[name] = nil
		case name == "":
			return nil, fmt.Errorf("%q stands under no script", line)
		default:
			all[len(all)-1].scripts[name] = append(all[len(all)-1].scripts[name], line)
		}
	}
	return all, nil
}

// writeWanted writes the list as readWanted reads it.
func writeWanted(all []*reason) string {
	var b strings.Builder
	b.WriteString("# Where natrouter differs from the kernel, and why. make beside writes the packets; the reasons are ours.\n")
	for _, r := range all {
		fmt.Fprintf(&b, "\n= %s | %s | %s\n", r.clause, r.kernel, r.ours)
		for _, name := range r.names() {
			fmt.Fprintf(&b, "* %s\n", name)
			for _, line := range r.scripts[name] {
				b.WriteString(line + "\n")
			}
		}
	}
	return b.String()
}

// names returns the scripts of a reason, in order.
func (r *reason) names() []string {
	var all []string
	for name := range r.scripts {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// renewed returns the list with the differences as they are: known scripts stay under their reasons, those that
// differ no longer leave, new ones are unexplained.
func renewed(all []*reason, found map[string][]string) []*reason {
	known := map[string]bool{}
	for _, r := range all {
		for name := range r.scripts {
			known[name] = true
			if lines, still := found[name]; still {
				r.scripts[name] = lines
			} else {
				delete(r.scripts, name)
			}
		}
	}
	rest := &reason{unexplained, "?", "?", map[string][]string{}}
	for name, lines := range found {
		if !known[name] {
			rest.scripts[name] = lines
		}
	}
	if len(rest.scripts) > 0 {
		all = append(all, rest)
	}
	return slices.DeleteFunc(all, func(r *reason) bool { return len(r.scripts) == 0 })
}

// The section of docs/verification.md that is made from the list stands between these lines.
const (
	docsFile   = "../../docs/verification.md"
	tableBegin = "<!-- beside: begin; make beside writes this table -->\n"
	tableEnd   = "<!-- beside: end -->\n"
)

// docsTable is the list as a table.
func docsTable(all []*reason) string {
	var b strings.Builder
	b.WriteString("| clause | the kernel | natrouter | scripts |\n|---|---|---|---|\n")
	for _, r := range all {
		names := r.names()
		scripts := "`" + names[0] + "`"
		if len(names) > 1 {
			scripts += fmt.Sprintf(" and %d more", len(names)-1)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.clause, r.kernel, r.ours, scripts)
	}
	return b.String()
}

// splitDocs cuts the page around the table.
func splitDocs(page string) (before, table, after string, err error) {
	before, rest, found := strings.Cut(page, tableBegin)
	table, after, ended := strings.Cut(rest, tableEnd)
	if !found || !ended {
		return "", "", "", fmt.Errorf("%s has no place for the table", docsFile)
	}
	return before + tableBegin, table, tableEnd + after, nil
}

// update writes both files anew.
func update(all []*reason) error {
	page, err := os.ReadFile(docsFile)
	if err != nil {
		return err
	}
	before, _, after, err := splitDocs(string(page))
	if err != nil {
		return err
	}
	if err := os.WriteFile(docsFile, []byte(before+docsTable(all)+after), 0o644); err != nil {
		return err
	}
	return os.WriteFile(wantedFile, []byte(writeWanted(all)), 0o644)
}
