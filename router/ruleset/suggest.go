package ruleset

import (
	"fmt"
	"strings"
)

// Nearest returns the candidate with the fewest edits to name, the first one of equals; "" without candidates.
func Nearest(name string, candidates []string) string {
	best, least := "", -1
	for _, c := range candidates {
		if d := Distance(strings.ToLower(name), strings.ToLower(c)); least < 0 || d < least {
			best, least = c, d
		}
	}
	return best
}

// Suggest is the remedy for a name that is none of candidates: the nearest, where it is near enough to be a slip, else
// all of them.
func Suggest(name string, candidates []string) string {
	n := Nearest(name, candidates)
	switch {
	case n == "":
		return "there is none"
	case Distance(strings.ToLower(name), strings.ToLower(n)) <= max(2, len(n)/3):
		return fmt.Sprintf("did you mean %q?", n)
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
