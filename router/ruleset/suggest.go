package ruleset

import (
	"fmt"
	"strings"
)

// Nearest returns the candidate with the fewest edits to name, the first one of equals, if it is near enough to be what was
// meant: one slip, and another for every three letters above five.
func Nearest(name string, candidates []string) (near string, ok bool) {
	least := 0
	for _, c := range candidates {
		if d := Distance(strings.ToLower(name), strings.ToLower(c)); near == "" || d < least {
			near, least = c, d
		}
	}
	return near, near != "" && least < len(near) && least <= max(1, len(near)/3)
}

// Suggest is the remedy for a name that is none of candidates: the nearest, where it is near enough to be a slip, else
// all of them.
func Suggest(name string, candidates []string) string {
	if len(candidates) == 0 {
		return "there is none"
	}
	if near, ok := Nearest(name, candidates); ok {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "write " + Alternatives(candidates)
}

// Alternatives returns `"a", "b" or "c"`.
func Alternatives(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}

// Distance counts the insertions, deletions, replacements and swaps of neighbours that turn a into b. It reads no more
// than the first 64 bytes of either, so that a long name costs little.
func Distance(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
