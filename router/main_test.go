package router

import (
	"flag"
	"os"
	"testing"
)

// slowPath is set while the tests run for the second time: testConfig then turns the fast path off.
var slowPath bool

// onceOnly are tests that drive both ways in one run, or are about the fast path itself.
const onceOnly = "^(TestModel|TestReplay.*|TestFast.*|TestHelperFastPath|TestNoAllocation|TestPPTP.*|TestErrorsDoNotLeak|TestCaptures)$"

// TestMain runs the tests with the fast path and without it: what they ask for holds on both ways.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	skip := flag.Lookup("test.skip")
	if code == 0 && onlyTests() && skip.Value.String() == "" {
		slowPath = true
		if err := skip.Value.Set(onceOnly); err != nil {
			panic(err)
		}
		code = m.Run()
	}
	os.Exit(code)
}

// onlyTests reports whether the command line asks for tests and nothing besides that would be done twice.
func onlyTests() bool {
	for _, name := range []string{"test.bench", "test.fuzz", "test.list", "test.coverprofile", "test.cpuprofile"} {
		if flag.Lookup(name).Value.String() != "" {
			return false
		}
	}
	return true
}
