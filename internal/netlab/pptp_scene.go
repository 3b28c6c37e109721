//go:build linux

package netlab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
)

// pptpTwin is the call ID that both clients of the PPTP scene have.
const pptpTwin = 4660

// twins has two inside hosts call one PPTP server with the same call ID: outside they must be two, and each gets back
// its own data only, some of it in fragments.
func twins(ctx context.Context, p *Path, say Progress) (string, error) {
	if p.Second == nil {
		return "", errors.New("there is no second host")
	}
	server, err := ServePPTP(p.Server, p.ServerAddr)
	if err != nil {
		return "", err
	}
	defer server.Close()
	var calls []*PPTPCall
	for _, host := range []struct {
		n    *Namespace
		addr netip.Addr
	}{{p.Client, p.ClientAddr}, {p.Second, p.SecondAddr}} {
		client, err := DialPPTP(ctx, host.n, host.addr, p.ServerAddr)
		if err != nil {
			return "", err
		}
		defer client.Close()
		defer closeOnDone(ctx, client.control)()
		call, err := client.Call(pptpTwin)
		if err != nil {
			return "", err
		}
		calls = append(calls, call)
	}
	if err := exchangeCalls(calls, say); err != nil {
		return "", err
	}
	seen, stray := server.Calls()
	if err := p.mustBeTwo(seen, stray); err != nil {
		return "", err
	}
	if p.Look != nil {
		p.Look()
	}
	for _, call := range calls {
		if err := call.Clear(); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("twice call %d, seen as %d and %d, each %d there and back", pptpTwin, seen[0].PeerID, seen[1].PeerID, datagramCount), nil
}

// exchangeCalls has all calls exchange datagrams at once.
func exchangeCalls(calls []*PPTPCall, say Progress) error {
	var all sync.WaitGroup
	var done atomic.Int32
	errs := make([]error, len(calls))
	for i, call := range calls {
		all.Go(func() {
			_, errs[i] = exchange(call, func(string, ...any) {
				say("%d of %d there and back", done.Add(1), len(calls)*datagramCount)
			})
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// mustBeTwo checks what the server has seen of both calls.
func (p *Path) mustBeTwo(seen []PPTPServerCall, stray int) error {
	if len(seen) != 2 || stray != 0 {
		return fmt.Errorf("the server has %d calls and got %d packets of none", len(seen), stray)
	}
	for _, c := range seen {
		if err := p.mustBeOutside(c.From); err != nil {
			return err
		}
		if c.Packets != datagramCount {
			return fmt.Errorf("call %d of the server got %d packets, not %d", c.ID, c.Packets, datagramCount)
		}
	}
	if seen[0].PeerID == seen[1].PeerID {
		return fmt.Errorf("the server sees both calls as call %d", seen[0].PeerID)
	}
	return nil
}
