package alg

import (
	"strings"
	"testing"
)

// TestResultChecked: what a helper may not answer. Its ten bytes begin at number 1000; five of them have left, since it
// did not hold them when it saw them first.
func TestResultChecked(t *testing.T) {
	data := []byte("0123456789")
	for name, tt := range map[string]struct {
		r     Result
		want  string // in the reason; empty: it is taken
		edits int    // that remain of a result that is taken
	}{
		"nothing":                      {Result{}, "", 0},
		"all of it":                    {Result{Consumed: 10}, "", 0},
		"more than there is":           {Result{Consumed: 11}, "not there", 0},
		"less than nothing":            {Result{Consumed: -1}, "not there", 0},
		"an edit of what waits":        {Result{Consumed: 10, Edits: []Edit{{Off: 5, Len: 2, New: []byte("x")}}}, "", 1},
		"an edit of what has left":     {Result{Consumed: 10, Edits: []Edit{{Off: 4, Len: 2, New: []byte("x")}}}, "has left", 0},
		"one that changes nothing":     {Result{Consumed: 10, Edits: []Edit{{Off: 1, Len: 2, New: []byte("12")}}}, "", 0},
		"an edit beyond what is read":  {Result{Consumed: 6, Edits: []Edit{{Off: 5, Len: 2, New: []byte("x")}}}, "outside", 0},
		"edits that overlap":           {Result{Consumed: 10, Edits: []Edit{{Off: 5, Len: 2}, {Off: 6, Len: 2}}}, "overlap", 0},
		"edits out of order":           {Result{Consumed: 10, Edits: []Edit{{Off: 8, Len: 1}, {Off: 6, Len: 1}}}, "overlap", 0},
		"a negative length":            {Result{Consumed: 10, Edits: []Edit{{Off: 8, Len: -1}}}, "overlap", 0},
		"an insertion":                 {Result{Consumed: 10, Edits: []Edit{{Off: 6, New: []byte("x")}}}, "", 1},
		"an insertion at the end":      {Result{Consumed: 10, Edits: []Edit{{Off: 10, New: []byte("x")}}}, "", 1},
		"an insertion between edits":   {Result{Consumed: 10, Edits: []Edit{{Off: 5, Len: 2}, {Off: 7, New: []byte("x")}, {Off: 7, Len: 2}}}, "no byte", 0},
		"an insertion of nothing":      {Result{Consumed: 10, Edits: []Edit{{Off: 6}}}, "", 0},
		"a second one in what is left": {Result{Consumed: 10, Edits: []Edit{{Off: 3, New: []byte("x")}, {Off: 7, Len: 1}}}, "has left", 0},
	} {
		f, st := flow{base: 1000, released: 1005, next: 1010}, new(state)
		why := f.checked(st, data, &tt.r)
		if (why == "") != (tt.want == "") || !strings.Contains(why, tt.want) {
			t.Errorf("%s: %q, want %q", name, why, tt.want)
		}
		if why == "" && len(st.edits) != tt.edits {
			t.Errorf("%s: %d edits remain, want %d", name, len(st.edits), tt.edits)
		}
	}
}
