package router

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/alg"
	"github.com/natrouter/natrouter/router/nat"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// TestRun: a router that runs carries packets both ways, and ends without an error when it is told to.
func TestRun(t *testing.T) {
	n := newNetwork(t, testConfig())
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.r.Run(ctx) }()
	carry := func(from, to string, b []byte) []byte {
		t.Helper()
		if _, err := n.ends[from].Queues()[0].Write([]tun.Frame{frame(b, packet.Meta{})}); err != nil {
			t.Fatal(err)
		}
		got, err := n.ends[to].Queues()[0].Read(n.read)
		if err != nil || got != 1 {
			t.Fatalf("%d packets, %v", got, err)
		}
		if err := testpkt.Verify(n.read[0].Bytes()); err != nil {
			t.Error(err)
		}
		return bytes.Clone(n.read[0].Bytes())
	}
	out := carry("lan0", "wan0", testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), Payload: []byte("q")}.Bytes())
	if got := endpoints(t, out); got != (flowOf{port(wan4, 5000), port(server4, 53)}) {
		t.Errorf("out goes %v", got)
	}
	back := carry("wan0", "lan0", testpkt.UDP{Src: port(server4, 53), Dst: port(wan4, 5000), Payload: []byte("a")}.Bytes())
	if got := endpoints(t, back); got != (flowOf{port(server4, 53), port(client4, 5000)}) {
		t.Errorf("back goes %v", got)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := n.near["lan0"].Queues()[0].Write([]tun.Frame{frame(out, packet.Meta{})}); err == nil {
		t.Error("the device is open still")
	}
}

// TestRunDeviceFails: the error of a device ends the router, and names the interface.
func TestRunDeviceFails(t *testing.T) {
	broken := errors.New("broken")
	n := newNetwork(t, testConfig(), func(c *tun.PairConfig) { c.A.ReadError = func() error { return broken } })
	if err := n.r.Run(t.Context()); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "interface ") {
		t.Errorf("Run: %v, want %v of an interface", err, broken)
	}
}

// TestNewRefuses: a router that can't be made says which entry is wrong.
func TestNewRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(cfg *Config, opt *Options)
		want   string
	}{
		"no interface":           {func(c *Config, _ *Options) { c.Interfaces = nil }, "interface: there is no [[interface]]"},
		"no device":              {func(_ *Config, o *Options) { delete(o.Devices, "wan0") }, "interface wan0: no device"},
		"an interface twice":     {func(c *Config, _ *Options) { c.Interfaces[1].Name = "lan0" }, `interface[1].name: interface "lan0" stands already`},
		"an address twice":       {func(c *Config, _ *Options) { c.Interfaces[1].Address = c.Interfaces[0].Address }, `interface[1].address[0]: address 10.77.0.1 belongs to interface "lan0" already`},
		"a route to nowhere":     {func(c *Config, _ *Options) { c.Routes[0].Interface = "dmz0" }, `route[0].interface: no [[interface]] has the name "dmz0"`},
		"a rule of nat":          {func(c *Config, _ *Options) { c.NAT = []nat.Rule{{Action: nat.DNAT}} }, "to"},
		"a filter rule":          {func(c *Config, _ *Options) { c.Filter.Rules = []FilterRule{{In: "dmz0"}} }, `filter.rule[0].in: no [[interface]] has the name "dmz0"`},
		"a state that is none":   {func(c *Config, _ *Options) { c.Filter.Rules = []FilterRule{{State: []string{"old"}}} }, `filter.rule[0].state[0]: state: does not know "old"`},
		"a filter's helper":      {func(c *Config, _ *Options) { c.Filter.Rules = []FilterRule{{Helper: "sip"}} }, `No such helper "sip"`},
		"a helper rule's helper": {func(c *Config, _ *Options) { c.Helpers = []HelperRule{{Name: "sip", Proto: packet.ProtoUDP}} }, `No such helper "sip"`},
		"two helpers of one name": {func(_ *Config, o *Options) {
			o.Helpers = []alg.Helper{namedHelper("ftp"), namedHelper("ftp")}
		}, "ftp"},
	} {
		cfg := testConfig()
		lan, _ := tun.NewPair(tun.PairConfig{})
		wan, _ := tun.NewPair(tun.PairConfig{})
		opt := Options{Devices: map[string]tun.Device{"lan0": lan, "wan0": wan}, Seed: [32]byte{1}}
		tt.change(&cfg, &opt)
		if _, err := New(cfg, opt); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q in it", name, err, tt.want)
		}
	}
}

// namedHelper is a helper that is never asked anything but what it is.
type namedHelper string

func (h namedHelper) Spec() alg.Spec {
	return alg.Spec{Name: string(h), Proto: packet.ProtoTCP, Port: 21}
}
func (namedHelper) Configure(map[string]any) (any, error) { return nil, nil }
func (namedHelper) New(alg.Master, any) alg.Stream        { return nil }

// TestSeed: without a seed every router is another one; with one they are alike.
func TestSeed(t *testing.T) {
	choice := func(seed [32]byte) uint64 {
		r, err := newRandom(seed)
		if err != nil {
			t.Fatal(err)
		}
		return r.Uint64()
	}
	if one, other := choice([32]byte{}), choice([32]byte{}); one == other {
		t.Error("two routers without a seed choose alike")
	}
	if one, other := choice([32]byte{7}), choice([32]byte{7}); one != other {
		t.Error("two routers with one seed choose differently")
	}
}
