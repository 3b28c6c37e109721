//go:build linux

package lab

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/natrouter/natrouter/internal/netlab"
)

var (
	race  = flag.Bool("natrouter.race", false, "build natrouter with the race detector")
	ready = flag.String("natrouter.program", "", "test this natrouter instead of building one")
	slow  = flag.Bool("natrouter.slow", false, "run natrouter with its fast path off")

	// Program is the natrouter of all tests.
	Program string

	refused string // why there are no namespaces or TUNs here
)

// Main is the TestMain of a package: it builds natrouter, runs the tests in namespaces of their own, and ends the process.
func Main(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if !netlab.Inside() {
		refused = netlab.TUNRefusal()
		if refused == "" {
			code, err := netlab.Enter()
			if err == nil {
				return code
			}
			refused = netlab.Refusal(err)
		}
	} else if err := netlab.Prepare(true); err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
		return 1
	}
	if Program = *ready; Program == "" && refused == "" {
		dir, err := build()
		defer os.RemoveAll(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, "build natrouter:", err)
			return 1
		}
	}
	code := m.Run()
	skipped.report()
	return code
}

// build builds natrouter into a new folder that every user may read.
func build() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "natrouter-integration-"); err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return dir, err
	}
	Program = filepath.Join(dir, "natrouter")
	args := []string{"build", "-o", Program}
	if *race {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "github.com/natrouter/natrouter/cmd/natrouter")...).CombinedOutput()
	if err != nil {
		return dir, fmt.Errorf("%w\n%s", err, out)
	}
	return dir, nil
}

// skips collects what was skipped, for the end.
type skips struct {
	mu  sync.Mutex
	all []string // guarded by mu
}

var skipped skips

func (s *skips) report() {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.all)
	for _, why := range slices.Compact(s.all) {
		fmt.Printf("SKIPPED %s\n", why)
	}
	if len(s.all) > 0 {
		fmt.Printf("SKIPPED %d integration tests\n", len(s.all))
	}
}

// Need skips a test for want of name, unless why is empty. With CI=true it fails instead.
func Need(t *testing.T, name, why string) {
	t.Helper()
	if why == "" {
		return
	}
	skipped.mu.Lock()
	skipped.all = append(skipped.all, name+": "+why)
	skipped.mu.Unlock()
	if os.Getenv("CI") == "true" {
		t.Fatalf("SKIPPED %s: %s", name, why)
	}
	t.Skipf("SKIPPED %s: %s", name, why)
}

// NeedLab skips a test where no lab can be made.
func NeedLab(t *testing.T) {
	t.Helper()
	Need(t, "netns", refused)
}

// NeedRoot skips a test that needs several users.
func NeedRoot(t *testing.T) {
	t.Helper()
	NeedLab(t)
	if netlab.InUserNamespace() {
		Need(t, "root", "run as root: other users than oneself are needed")
	}
}

// NeedTool skips a test that needs a program, and returns its path.
func NeedTool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Need(t, name, "not installed: run integration/setup.sh as root")
	}
	return path
}
