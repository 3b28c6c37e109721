// Command mutate asks of the tests what coverage can't: would they notice? It holds a list of single faults
// (mutants.txt), puts each into the code by `go test -overlay`, which leaves the tree as it is, and runs the tests of
// the fault's room, then those of the rooms above it, until one fails. A fault that no test notices is printed as a
// survivor: it wants a test, or it is none. What was found goes into a table of docs/verification.md.
//
// It is for developers: run `make mutants`, or select with `go run ./internal/mutate -run conntrack`.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run() error {
	selected := flag.String("run", "", "only faults whose `room: name` matches this regular expression")
	check := flag.Bool("check", false, "only verify that each old text stands exactly once in its file")
	missing := flag.Bool("missing", false, "only faults that the table has no row of")
	limit := flag.Duration("timeout", 2*time.Minute, "for the tests of one room; a fault that makes them hang is noticed")
	flag.Parse()
	pattern, err := regexp.Compile(*selected)
	if err != nil {
		return err
	}
	root, err := repository()
	if err != nil {
		return err
	}
	all, err := parseMutants(mutantsText)
	if err != nil {
		return err
	}
	if err := checkAll(root, all); err != nil || *check {
		return err
	}
	page := filepath.Join(root, "docs", "verification.md")
	results, err := readTable(page)
	if err != nil {
		return err
	}
	r := runner{root: root, limit: *limit, baseline: map[string]error{}}
	var survivors []string
	var failed []error
	for i := range all {
		m := &all[i]
		if !pattern.MatchString(m.key()) || *missing && results[m.key()] != "" {
			continue
		}
		begin := time.Now()
		noticed, err := r.try(m)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", m.key(), err))
			fmt.Printf("%-60s could not be tried\n", m.key())
			continue
		}
		fmt.Printf("%-60s %s (%s)\n", m.key(), cmp.Or(noticed, "SURVIVES"), time.Since(begin).Round(time.Second/10))
		if noticed == "" {
			survivors = append(survivors, m.key())
		}
		results[m.key()] = cmp.Or(noticed, survived)
		if err := writeTable(page, all, results); err != nil {
			return err
		}
	}
	if len(survivors) > 0 {
		failed = append(failed, fmt.Errorf("%d survive:\n%s", len(survivors), strings.Join(survivors, "\n")))
	}
	return errors.Join(failed...)
}

// repository returns the folder of go.mod, at or above the working directory.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		above := filepath.Dir(dir)
		if above == dir {
			return "", fmt.Errorf("no go.mod at or above the working directory")
		}
		dir = above
	}
}
