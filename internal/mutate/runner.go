package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// runner runs tests with faults in the code.
type runner struct {
	root     string
	limit    time.Duration
	baseline map[string]error // by package: what its tests say without a fault
}

// wider lists, for each room of the pipeline, the packages whose tests are asked when its own notice nothing.
var wider = map[string][]string{
	"router/packet":    {"./router/nat", "./router/conntrack", "./router"},
	"router/fragment":  {"./router"},
	"router/tun":       {"./router"},
	"router/conntrack": {"./router"},
	"router/nat":       {"./router"},
	"router/alg":       {"./router/alg/pptp", "./router/alg/ftp", "./router"},
	"router/alg/pptp":  {"./router"},
	"router/alg/ftp":   {"./router"},
	"internal/config":  {"./cmd/natrouter"},
}

// try returns the test that notices the fault, "" if none does. Tests that fail without it are an error: they could
// notice nothing.
func (r *runner) try(m *mutant) (noticed string, err error) {
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	overlay, err := r.overlay(dir, m)
	if err != nil {
		return "", err
	}
	packages := m.tests
	if len(packages) == 0 {
		packages = append([]string{"./" + m.room()}, wider[m.room()]...)
	}
	for _, p := range packages {
		if err := r.sound(p, m.pattern); err != nil {
			return "", err
		}
		test, err := r.run(p, m.pattern, "-overlay", overlay)
		if err != nil {
			return "", err
		}
		if test != "" {
			return strings.TrimPrefix(p, "./") + " " + test, nil
		}
	}
	return "", nil
}

// overlay writes the changed file, and the map that puts it in the place of the true one.
func (r *runner) overlay(dir string, m *mutant) (path string, err error) {
	text, err := m.apply(r.root)
	if err != nil {
		return "", err
	}
	changed, path := filepath.Join(dir, filepath.Base(m.file)), filepath.Join(dir, "overlay.json")
	replace := map[string]string{filepath.Join(r.root, filepath.FromSlash(m.file)): changed}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err == nil {
		err = errors.Join(os.WriteFile(changed, []byte(text), 0o600), os.WriteFile(path, b, 0o600))
	}
	return path, err
}

// sound makes sure, once, that the tests of a package pass as the code is.
func (r *runner) sound(p, pattern string) error {
	key := p + " " + pattern
	if err, known := r.baseline[key]; known {
		return err
	}
	test, err := r.run(p, pattern)
	if err == nil && test != "" {
		err = fmt.Errorf("%s fails in %s without any fault", test, p)
	}
	r.baseline[key] = err
	return err
}

// failedTest finds the name of a failed test in what `go test` prints; of nested ones the outermost comes first.
var failedTest = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

// run runs the tests of a package and returns the one that failed first, or what else ended them. A package that does
// not build is an error: it says nothing of the tests.
func (r *runner) run(p, pattern string, flags ...string) (failed string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), r.limit+time.Minute) // to build it, too
	defer cancel()
	args := append([]string{"test", "-count=1", "-failfast", "-vet=off", "-timeout", r.limit.String(), "-run", pattern}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, p)...)
	cmd.Dir = r.root
	cmd.Env = append(os.Environ(), "RAPID_NOFAILFILE=true", "RAPID_SEED=1") // the same cases each time, and no files of them
	b, err := cmd.CombinedOutput()
	out := string(b)
	switch name := failedTest.FindStringSubmatch(out); {
	case err == nil:
		return "", nil
	case strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]"):
		return "", fmt.Errorf("%s does not build:\n%s", p, out)
	case strings.Contains(out, "panic: test timed out") || ctx.Err() != nil:
		return "a test hangs", nil
	case name != nil:
		return name[1], nil
	case strings.Contains(out, "panic: ") || strings.Contains(out, "fatal error: "):
		return "a test panics", nil
	}
	return "", fmt.Errorf("%s: %w:\n%s", p, err, out)
}
