package house

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the repository, from this folder.
const root = "../.."

var (
	citation = regexp.MustCompile(`(docs/|\.\./)?spec[/ ]([a-z]+\.md)((?:,? sections?)? ?[0-9]+(?:\.[0-9]+)?(?:(?:, | and | to )[0-9]+(?:\.[0-9]+)?)*)?`)
	number   = regexp.MustCompile(`[0-9]+(?:\.[0-9]+)?`)
	heading  = regexp.MustCompile(`(?m)^#+ ([0-9]+)\. `)
	listItem = regexp.MustCompile(`(?m)^([0-9]+)\. `)
)

// numbered returns the numbers of a page's sections, and of what is numbered in a section as "section.number".
func numbered(t *testing.T, page string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs/spec", page))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	at := heading.FindAllSubmatchIndex(text, -1)
	for i, m := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		section := string(text[m[2]:m[3]])
		found[section] = true
		for _, item := range listItem.FindAllSubmatch(text[m[1]:end], -1) {
			found[section+"."+string(item[1])] = true
		}
	}
	return found
}

// cited returns each file below the root that may cite the specification, with its text.
func cited(t *testing.T, visit func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "bin"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, ".md"):
			return nil
		}
		text, err := os.ReadFile(path)
		visit(path, string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSpecificationIsThere: each page and section of docs/spec that a comment or a document cites exists.
func TestSpecificationIsThere(t *testing.T) {
	pages := map[string]map[string]bool{}
	citations := 0
	cited(t, func(path, text string) {
		for _, m := range citation.FindAllStringSubmatch(text, -1) {
			if err := checkCitation(t, pages, m[1], m[2], m[3]); err != nil {
				t.Errorf("%s cites %q: %v", path, m[0], err)
			}
			citations++
		}
	})
	if citations < 30 {
		t.Errorf("%d citations found: does the pattern still fit how they are written?", citations)
	}
}

func checkCitation(t *testing.T, pages map[string]map[string]bool, where, page, numbers string) error {
	if where == "" {
		return fmt.Errorf("write docs/spec/%s", page)
	}
	if _, err := os.Stat(filepath.Join(root, "docs/spec", page)); err != nil {
		return err
	}
	if pages[page] == nil {
		pages[page] = numbered(t, page)
	}
	for _, n := range number.FindAllString(numbers, -1) {
		if !pages[page][n] {
			return fmt.Errorf("docs/spec/%s has no section %s", page, n)
		}
	}
	return nil
}
