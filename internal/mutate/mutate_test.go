package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestListFitsTheCode keeps the list true: each fault's old text stands exactly once in its file.
func TestListFitsTheCode(t *testing.T) {
	root, all := list(t)
	if err := checkAll(root, all); err != nil {
		t.Error(err)
	}
	if len(all) < 70 {
		t.Errorf("%d faults, want at least 70", len(all))
	}
}

// TestTableIsTheList: the page has a row for each fault, none else, and none that survived.
func TestTableIsTheList(t *testing.T) {
	root, all := list(t)
	page := filepath.Join(root, "docs", "verification.md")
	results, err := readTable(page)
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if by := results[all[i].key()]; by == "" || by == survived {
			t.Errorf("%s: noticed by %q; run: go run ./internal/mutate -missing", all[i].key(), by)
		}
		delete(results, all[i].key())
	}
	if len(results) > 0 {
		t.Errorf("the page has rows of no fault: %v", results)
	}
}

func list(t *testing.T) (root string, all []mutant) {
	t.Helper()
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	if all, err = parseMutants(mutantsText); err != nil {
		t.Fatal(err)
	}
	return root, all
}

func TestParseMutants(t *testing.T) {
	all, err := parseMutants("# a comment\n\nfault: one off\nfile: a/b.go\ntests: ./a ./c\nrun: TestX\n- x < y\n- \tz\n+ x <= y\n\nfault: gone\nfile: c.go\n- call()\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []mutant{
		{name: "one off", file: "a/b.go", old: "x < y\n\tz", new: "x <= y", tests: []string{"./a", "./c"}, pattern: "TestX"},
		{name: "gone", file: "c.go", old: "call()"},
	}
	same := func(a, b mutant) bool {
		return a.name == b.name && a.file == b.file && a.old == b.old && a.new == b.new && a.pattern == b.pattern && slices.Equal(a.tests, b.tests)
	}
	if !slices.EqualFunc(all, want, same) {
		t.Errorf("got %+v, want %+v", all, want)
	}
	for name, text := range map[string]string{
		"text before the first fault": "- x\n",
		"no file":                     "fault: a\n- x\n+ y\n",
		"no old text":                 "fault: a\nfile: f\n+ y\n",
		"no change":                   "fault: a\nfile: f\n- x\n+ x\n",
		"an unknown line":             "fault: a\nfile: f\nx\n",
	} {
		if _, err := parseMutants(text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCheckAll(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "a.go"), []byte("one two two"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		list []mutant
		want string // in the error; empty: none
	}{
		"once":         {[]mutant{{name: "a", file: "a.go", old: "one"}}, ""},
		"twice":        {[]mutant{{name: "a", file: "a.go", old: "two"}}, "2 times"},
		"not at all":   {[]mutant{{name: "a", file: "a.go", old: "six"}}, "0 times"},
		"no such file": {[]mutant{{name: "a", file: "b.go", old: "one"}}, "b.go"},
		"same name":    {[]mutant{{name: "a", file: "a.go", old: "one"}, {name: "a", file: "a.go", old: "one"}}, "two faults"},
	} {
		err := checkAll(root, tt.list)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// TestTable: what is written is read again, and the page around it stays.
func TestTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(path, []byte("# Page\n"+tableBegin+tableEnd+"end\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := []mutant{{name: "x", file: "r/a.go"}, {name: "y", file: "r/a.go"}, {name: "z", file: "s/b.go"}}
	if err := writeTable(path, all, map[string]string{"r: x": "r TestX", "s: z": survived, "gone: w": "TestW"}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "# Page\n" + tableBegin + tableHead + "| r | x | `r TestX` |\n| s | z | `nobody` |\n" + tableEnd + "end\n"
	if string(b) != want {
		t.Errorf("got %q, want %q", b, want)
	}
	if results, err := readTable(path); err != nil || len(results) != 2 || results["r: x"] != "r TestX" || results["s: z"] != survived {
		t.Errorf("read %v, %v", results, err)
	}
	if err := os.WriteFile(path, []byte("# Page\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if writeTable(path, all, nil) == nil {
		t.Error("a page without a place for the table: no error")
	}
}

// TestRunner tries faults in a module of its own: one that a test notices, one that none does, one that does not build.
func TestRunner(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":         "module example\n\ngo 1.24\n",
		"room/a.go":      "package room\n\nfunc Twice(n int) int { return 2 * n }\n\nfunc Other() int { return 1 }\n",
		"room/a_test.go": "package room\n\nimport \"testing\"\n\nfunc TestTwice(t *testing.T) {\n\tif Twice(3) != 6 {\n\t\tt.Error()\n\t}\n}\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := runner{root: root, limit: 1e11, baseline: map[string]error{}}
	for _, tt := range []struct {
		old, new, want string
		fails          bool
	}{
		{"2 * n", "3 * n", "room TestTwice", false},
		{"2 * n", "2 / (n - n)", "room TestTwice", false},
		{"return 1", "return 2", "", false},
		{"return 1", "return", "", true},
	} {
		got, err := r.try(&mutant{name: "f", file: "room/a.go", old: tt.old, new: tt.new})
		if got != tt.want || (err != nil) != tt.fails {
			t.Errorf("%s for %s: %q, %v; want %q", tt.new, tt.old, got, err, tt.want)
		}
	}
	if b, err := os.ReadFile(filepath.Join(root, "room/a.go")); err != nil || !strings.Contains(string(b), "2 * n") {
		t.Errorf("the tree was changed: %q, %v", b, err)
	}
}
