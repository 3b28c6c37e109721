// Command testrun runs `go test` with the arguments it is given and prints the runner's own closing line of each
// package, the output of what failed, and at the end what was skipped and why. With CI=true a skip is a failure,
// but for the captures, which a fresh checkout may not have.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sort"
	"strings"
)

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action, Package, Test, Output, ImportPath string
}

// allowedSkip is the one reason that CI accepts.
const allowedSkip = "SKIPPED captures: not here"

// run is what has been seen so far.
type run struct {
	output  map[string][]string // by package and test, until it ends
	skipped map[string]int      // by reason
	failed  bool
}

func main() {
	cmd := exec.Command("go", append([]string{"test", "-json"}, os.Args[1:]...)...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
		os.Exit(1)
	}
	r := run{output: map[string][]string{}, skipped: map[string]int{}}
	r.read(stdout)
	if err := cmd.Wait(); err != nil {
		r.failed = true
	}
	if !r.summary(os.Getenv("CI") == "true") {
		os.Exit(1)
	}
}

func (r *run) read(stdout io.Reader) {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text())
			continue
		}
		r.take(e)
	}
}

func (r *run) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		r.output[key] = append(r.output[key], e.Output)
		if e.Test == "" && closing(e.Output) {
			fmt.Print(e.Output)
		}
		return
	case "build-output":
		fmt.Print(e.Output)
		return
	case "fail":
		r.failed = true
		fmt.Print(strings.Join(r.output[key], ""))
	case "skip":
		if e.Test != "" {
			r.skipped[reason(r.output[key])]++
		}
	case "pass":
	default:
		return
	}
	delete(r.output, key)
}

// closing reports whether a line is the runner's last word on a package.
func closing(line string) bool {
	return strings.HasPrefix(line, "ok  ") || strings.HasPrefix(line, "FAIL") || strings.HasPrefix(line, "?  ")
}

// reason finds why a test was skipped: from the word SKIPPED on, else its last line.
func reason(output []string) string {
	text := "no reason given"
	for _, line := range output {
		if i := strings.Index(line, "SKIPPED "); i >= 0 {
			return strings.TrimSpace(line[i:])
		}
		if !strings.HasPrefix(strings.TrimSpace(line), "---") && !strings.HasPrefix(line, "===") {
			text = strings.TrimSpace(line)
		}
	}
	return text
}

// summary prints the skips and reports whether the run counts as passed.
func (r *run) summary(ci bool) bool {
	reasons := make([]string, 0, len(r.skipped))
	for why := range r.skipped {
		reasons = append(reasons, why)
	}
	sort.Strings(reasons)
	ok := !r.failed
	for _, why := range reasons {
		fmt.Printf("SKIPPED %d: %s\n", r.skipped[why], strings.TrimPrefix(why, "SKIPPED "))
		if ci && why != allowedSkip {
			ok = false
			fmt.Println("with CI=true a skip is a failure")
		}
	}
	return ok
}
