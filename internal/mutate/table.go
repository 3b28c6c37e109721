package main

import (
	"fmt"
	"os"
	"strings"
)

// The table stands between these lines of the page.
const (
	tableBegin = "<!-- mutants: begin; make mutants writes this table -->\n"
	tableEnd   = "<!-- mutants: end -->\n"
	tableHead  = "| room | fault | noticed by |\n|---|---|---|\n"
)

// survived is what the table says of a fault that no test notices.
const survived = "nobody"

// splitPage returns what stands before, in and behind the table's lines.
func splitPage(page string) (before, table, behind string, err error) {
	before, rest, ok := strings.Cut(page, tableBegin)
	table, behind, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		return "", "", "", fmt.Errorf("the page has no place for the table: %q and %q", tableBegin, tableEnd)
	}
	return before, table, behind, nil
}

// readTable returns what the page says of each fault, by key.
func readTable(path string) (map[string]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	_, table, _, err := splitPage(string(b))
	if err != nil {
		return nil, err
	}
	return parseTable(table), nil
}

func parseTable(table string) map[string]string {
	results := map[string]string{}
	for line := range strings.Lines(strings.TrimPrefix(table, tableHead)) {
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		if len(cells) == 3 {
			results[cells[0]+": "+cells[1]] = strings.Trim(cells[2], "`")
		}
	}
	return results
}

// formatTable writes a row for each fault that was tried, in the order of the list.
func formatTable(all []mutant, results map[string]string) string {
	var b strings.Builder
	b.WriteString(tableHead)
	for i := range all {
		if by := results[all[i].key()]; by != "" {
			fmt.Fprintf(&b, "| %s | %s | `%s` |\n", all[i].room(), all[i].name, by)
		}
	}
	return b.String()
}

// writeTable puts the table into the page. The page is read anew: its other parts may have been edited meanwhile.
func writeTable(path string, all []mutant, results map[string]string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, _, behind, err := splitPage(string(b))
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(before+tableBegin+formatTable(all, results)+tableEnd+behind), 0o644)
}
