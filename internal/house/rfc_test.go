package house

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// required are the requirements of each standard, as docs/rfc.md names them.
var required = map[string][]string{
	"RFC 4787": reqs("1 2 3 3a 4 5 5a 5b 5c 6 6a 7 8 8a 9 9a 10 10a 11 12 12a 12b 13 13a 14 14a"),
	"RFC 5382": reqs("1 2 2a 3 3a 3b 4 4a 5 5a 6 6a 7 8 8a 9 10"),
	"RFC 5508": reqs("1 1a 2 2a 3 3a 3b 3c 3d 4 4a 4b 4c 5 5a 5b 5c 6 7 7a 8 9 10a 10b 10c 10d 10e 10f 11"),
	"RFC 6888": reqs("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15"),
	"RFC 7857": sections("2 3 4 5 6 7 8 9 10 11 12 13"),
	"Addresses that are not forwarded": {
		"special-purpose ranges", "link-local, multicast, broadcast", "broadcast sources", "private sources",
	},
	"RFC 1123": sections("4.1.2.6 4.1.2.11"),
	"RFC 6296": sections("3.1 3.2 3.3 3.4 3.5 3.6 3.7 4.1 4.2 4.3"),
}

func reqs(numbers string) []string { return each("REQ-", numbers) }

func sections(numbers string) []string { return each("section ", numbers) }

func each(prefix, numbers string) (all []string) {
	for n := range strings.FieldsSeq(numbers) {
		all = append(all, prefix+n)
	}
	return all
}

// requirement is one row of the table.
type requirement struct {
	standard, name, behaviour string
	tests                     []string
	line                      int
}

// namedTest is how the table names a test: its room, then its name.
var namedTest = regexp.MustCompile("`([a-z0-9/]+\\.(?:Test|Fuzz)[A-Za-z0-9_]+)`")

// TestRFCTable: docs/rfc.md has every requirement of each standard once, and each row's tests exist. A row without a
// test must say that there is nothing to test.
func TestRFCTable(t *testing.T) {
	root := repository(t)
	tests := testsOf(t, root)
	rows := readTable(t, filepath.Join(root, "docs", "rfc.md"))
	seen := map[string]bool{}
	for _, r := range rows {
		key := r.standard + " " + r.name
		if seen[key] {
			t.Errorf("docs/rfc.md:%d: %s stands twice", r.line, key)
		}
		seen[key] = true
		without := strings.HasPrefix(r.behaviour, "**Not built**") || strings.HasPrefix(r.behaviour, "**Does not apply**")
		if len(r.tests) == 0 && !without {
			t.Errorf("docs/rfc.md:%d: %s is shown by no test", r.line, key)
		}
		for _, name := range r.tests {
			if !tests[name] {
				t.Errorf("docs/rfc.md:%d: %s: there is no %s", r.line, key, name)
			}
		}
	}
	for standard, names := range required {
		for _, name := range names {
			if !seen[standard+" "+name] {
				t.Errorf("docs/rfc.md lacks %s %s", standard, name)
			}
			delete(seen, standard+" "+name)
		}
	}
	for key := range seen {
		t.Errorf("docs/rfc.md has %s, which is no requirement", key)
	}
}

// readTable reads the rows of all tables, each under the heading of its standard.
func readTable(t *testing.T, path string) (rows []requirement) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	standard := ""
	scanner := bufio.NewScanner(f)
	for line := 1; scanner.Scan(); line++ {
		text := scanner.Text()
		if heading, ok := strings.CutPrefix(text, "## "); ok {
			standard = heading
		}
		cells := strings.Split(strings.Trim(text, "|"), " | ")
		if !strings.HasPrefix(text, "| ") || strings.TrimSpace(cells[0]) == "requirement" {
			continue
		}
		if len(cells) != 3 {
			t.Errorf("%s:%d: %d cells, want 3", path, line, len(cells))
			continue
		}
		r := requirement{standard: standard, name: strings.TrimSpace(cells[0]), behaviour: strings.TrimSpace(cells[1]), line: line}
		for _, m := range namedTest.FindAllStringSubmatch(cells[2], -1) {
			r.tests = append(r.tests, m[1])
		}
		if left := strings.Trim(namedTest.ReplaceAllString(cells[2], ""), ", "); left != "" {
			t.Errorf("%s:%d: %q names no test", path, line, left)
		}
		rows = append(rows, r)
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// repository returns the folder of go.mod.
func repository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err == nil {
		_, err = os.Stat(filepath.Join(root, "go.mod"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// testsOf returns the tests and fuzz targets of every room, as the table names them.
func testsOf(t *testing.T, root string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		room, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil {
				found[filepath.ToSlash(room)+"."+fn.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
