// Package integration runs natrouter as its users do, between network namespaces, with real clients and servers:
// routing, NAT, ICMP, the ways to run it. What is of one helper stands in a folder of its own beside.
package integration

import (
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// pair is a lab with what the tests of this package ask of it.
type pair struct{ *lab.Lab }

func newPair(t *testing.T, c lab.Config) *pair {
	t.Helper()
	return &pair{lab.New(t, c)}
}
