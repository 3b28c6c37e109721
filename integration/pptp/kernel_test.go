package pptp

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
)

// TestKernel runs pptp and pptpd through the kernel's own helper: what these tests take for PPTP is what the reference
// takes for it. The plain case must pass there, and twins with a redial do too: the kernel's call ID outside is the
// client's TCP port. [TestBeyondKernel] has what it cannot do.
func TestKernel(t *testing.T) {
	lab.NeedLab(t)
	w := newKernelWorld(t)
	serve(t, w.server, serverAddr)
	one := dial(t, w.hosts[0], serverAddr, twin)
	one.mustExchange()
	two := dial(t, w.hosts[1], serverAddr, twin)
	two.mustExchange()
	one.hangUp()
	one = dial(t, w.hosts[0], serverAddr, twin)
	one.mustExchange()
	two.mustEcho()
}

// beyondKernel is what natrouter does and the kernel's helper does not, each with how that shows there.
var beyondKernel = []struct {
	name   string
	run    func(ctx context.Context, w *world) error
	kernel string
}{
	// The second call gets the first one's ID outside, so the GRE of neither is expected (limits of Linux, 1).
	{"two calls on one control connection", twoCalls, "0 of 2000 came back"},
	// The server's own call ID in its notice is overwritten with the client's (limits of Linux, 6).
	{"disconnect notice", clearCall, "the notice names call 4369 of the server, not 100"},
}

// TestBeyondKernel has the same peers do the same through natrouter and through the kernel. natrouter must do it; what
// the kernel does instead is written beside each case, and a kernel that has learnt it is no failure.
func TestBeyondKernel(t *testing.T) {
	lab.NeedLab(t)
	for _, tt := range beyondKernel {
		t.Run(tt.name, func(t *testing.T) {
			for _, router := range []struct {
				name string
				make func(*testing.T) *world
				fine string
			}{
				{"natrouter", func(t *testing.T) *world { return newWorld(t, helperRule) }, ""},
				{"kernel", newKernelWorld, tt.kernel},
			} {
				t.Run(router.name, func(t *testing.T) {
					w := router.make(t)
					s, err := netlab.ServePPTP(w.server, serverAddr)
					lab.Must(t, err)
					t.Cleanup(s.Close)
					switch err := tt.run(t.Context(), w); {
					case err == nil:
					case router.fine != "" && strings.Contains(err.Error(), router.fine):
						t.Logf("the difference: %v", err)
					default:
						t.Error(err)
					}
				})
			}
		})
	}
}

// twoCalls makes two calls on one control connection and has data go both ways on each (RFC 2637, section 1.2: sessions
// are multiplexed on the tunnel between a PNS and a PAC).
func twoCalls(ctx context.Context, w *world) error {
	c, err := netlab.DialPPTP(ctx, w.hosts[0], hostAddr(0), serverAddr)
	if err != nil {
		return err
	}
	defer c.Close()
	var calls []*netlab.PPTPCall
	for id := range uint16(2) {
		call, err := c.Call(twin + id)
		if err != nil {
			return err
		}
		calls = append(calls, call)
	}
	for _, call := range calls {
		if err := call.Exchange(); err != nil {
			return fmt.Errorf("call %d: %w", call.ID, err)
		}
	}
	return nil
}

// clearCall makes a call and clears it: the server's notice must name the call as the server does (RFC 2637, section 2.13).
func clearCall(ctx context.Context, w *world) error {
	c, err := netlab.DialPPTP(ctx, w.hosts[0], hostAddr(0), serverAddr)
	if err != nil {
		return err
	}
	defer c.Close()
	call, err := c.Call(twin)
	if err != nil {
		return err
	}
	if err := call.Exchange(); err != nil {
		return err
	}
	return call.Clear()
}
