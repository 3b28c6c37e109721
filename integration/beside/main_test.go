// Package beside runs the same packets through the kernel's NAT and through natrouter and compares what comes out,
// packet by packet. What a script says and which scripts there are is in language_test.go and scripts_*_test.go; the
// differences that we want stand in testdata/wanted.txt, each under the clause that it is wanted for. Any other
// difference fails, as does a listed one that is no longer there.
//
// Each script has inside hosts and an outside address of its own, so one router of each kind serves many scripts. No
// host is real: what a script sends is all that they send.
//
// Limits: time is the kernel's, so nothing that waits for a timer is compared. What each system may choose is given a
// name by its first appearance: ports, call IDs. The identification of IPv4 packets is not compared.
package beside

import (
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
