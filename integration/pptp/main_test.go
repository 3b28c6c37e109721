// Package pptp tests the PPTP helper with pptp-linux and pptpd as Debian ships them: real control connections and real
// GRE. The PPP is that of package ppp, in place of pppd, for kernels without; and pppd itself, in guests that bring a
// kernel with it (package guest).
package pptp

import (
	"os"
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/integration/pptp/guest"
	"github.com/natrouter/natrouter/integration/pptp/ppp"
)

// pppEnv is set for pptpd, which starts this program in place of pppd.
const pppEnv = "NATROUTER_TEST_PPP"

// guestEnv is set for this program when it is the first process of a guest.
const guestEnv = "NATROUTER_TEST_GUEST"

func TestMain(m *testing.M) {
	if os.Getenv(pppEnv) != "" {
		os.Exit(ppp.Main(os.Args[1:]))
	}
	if os.Getenv(guestEnv) != "" {
		guest.Main(os.Args[1:])
	}
	lab.Main(m)
}
