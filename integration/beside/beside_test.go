package beside

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
)

var (
	renew = flag.Bool("beside.update", false, "write the differences down as they are, and the table of them")
	only  = flag.String("beside.only", "", "run the scripts whose names hold this, and show what arrives")
)

// TestBeside runs every script through both routers. What they do must be the same, but for what testdata/wanted.txt
// says, and all that it says must still be so.
func TestBeside(t *testing.T) {
	lab.NeedLab(t)
	text, err := os.ReadFile(wantedFile)
	lab.Must(t, err)
	reasons, err := readWanted(string(text))
	lab.Must(t, err)
	found := map[string][]string{}
	for i := range groups {
		var of []script
		for _, s := range scripts() {
			if s.group == groups[i].name && strings.Contains(s.name, *only) {
				of = append(of, s)
			}
		}
		for chunk := range slices.Chunk(of, slots) {
			t.Run(groups[i].name, func(t *testing.T) { runScripts(t, &groups[i], chunk, found) })
		}
	}
	if *only != "" {
		return
	}
	if *renew && !t.Failed() {
		reasons = renewed(reasons, found)
		lab.Must(t, update(reasons))
	}
	compareWanted(t, reasons, found)
}

// runScripts runs scripts of a group and notes which differ, and how.
func runScripts(t *testing.T, g *group, all []script, found map[string][]string) {
	systems := [2]*system{newKernel(t, g, all), newOurs(t, g, all)}
	for i := range all {
		var views [2]*view
		var differs []string
		for k := range views {
			views[k] = newView(&all[i], i)
		}
		for j := range all[i].steps {
			st := &all[i].steps[j]
			var got [2][]string
			for k, s := range systems {
				lines, err := views[k].run(s, st)
				if err != nil {
					t.Fatalf("%s: %s: %s: %v", all[i].name, s.name, st, err)
				}
				got[k] = lines
			}
			texts := append(marked("kernel", st.label, got[0]), marked("ours", st.label, got[1])...)
			if *only != "" {
				t.Logf("%s\n%s\n%s", all[i].name, st, strings.Join(texts, "\n"))
			}
			if !slices.Equal(got[0], got[1]) {
				differs = append(differs, texts...)
			}
		}
		if len(differs) > 0 {
			found[all[i].name] = differs
		}
	}
}

// marked says of each line which router did it at which step.
func marked(router, label string, lines []string) []string {
	all := make([]string, len(lines))
	for i, line := range lines {
		all[i] = fmt.Sprintf("%-6s %s: %s", router, label, line)
	}
	return all
}

// run sends a step on a system and returns what arrives, a line a packet.
func (v *view) run(s *system, st *step) ([]string, error) {
	packets, from, err := v.build(st)
	if errors.Is(err, errAbsent) {
		return []string{"not sent: " + err.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	got, err := s.exchange(from, packets)
	if err != nil {
		return nil, err
	}
	v.arrived[st.label] = got
	lines := []string{}
	for _, at := range []side{1 - from, from} { // in the order of each link
		for _, a := range got {
			if a.side == at {
				lines = append(lines, v.describe(a, st.numbers))
			}
		}
	}
	if len(lines) == 0 {
		lines = []string{"nothing"}
	}
	return lines, nil
}

// compareWanted fails for each difference that the list does not have, or has otherwise.
func compareWanted(t *testing.T, reasons []*reason, found map[string][]string) {
	t.Helper()
	listed := map[string][]string{}
	for _, r := range reasons {
		for name, lines := range r.scripts {
			listed[name] = lines
			if r.clause == unexplained {
				t.Errorf("%s: no reason is given for\n%s", name, strings.Join(lines, "\n"))
			}
		}
	}
	for name, lines := range found {
		if want, known := listed[name]; !known || !slices.Equal(lines, want) {
			t.Errorf("%s differs\n%s\nlisted\n%s", name, strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
	}
	for name := range listed {
		if _, differs := found[name]; !differs {
			t.Errorf("%s is listed, but differs no more", name)
		}
	}
}
