package router

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router/packet"
	"github.com/natrouter/natrouter/router/tun"
)

// TestDropLog: with [log] drops each refused packet is a line that says what, where and whose, up to a number a second;
// the first line after says how many had none. Without, there is no line.
func TestDropLog(t *testing.T) {
	const many = dropsLogged + 7
	for _, on := range []bool{true, false} {
		var log bytes.Buffer
		cfg := testConfig()
		cfg.LogDrops = on
		n := newNetwork(t, cfg)
		n.r.log = slog.New(slog.NewTextHandler(&log, nil))
		b := testpkt.UDP{Src: port(server4, 5000), Dst: port(wan4, 53)}.Bytes()
		for range many {
			n.send("wan0", b)
		}
		n.send("lan0", []byte{0x45})
		n.tick(1e9)
		n.send("lan0", testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53), TTL: 1}.Bytes())
		lines := bytes.Split(bytes.TrimSpace(log.Bytes()), []byte("\n"))
		if !on {
			if log.Len() > 0 {
				t.Errorf("%d lines though nobody asked", len(lines))
			}
			continue
		}
		if len(lines) != dropsLogged+1 {
			t.Fatalf("%d lines, want %d", len(lines), dropsLogged+1)
		}
		for i, want := range map[int]string{
			0:           "level=WARN msg=drop reason=no-mapping hook=input bytes=28 in=wan0 protocol=17 src=198.51.100.7 dst=203.0.113.1",
			dropsLogged: "level=WARN msg=drop reason=ttl-exceeded hook=route bytes=28 in=lan0 protocol=17 src=10.77.0.2 dst=198.51.100.7 not_logged=8",
		} {
			if _, got, _ := strings.Cut(string(lines[i]), " "); got != want {
				t.Errorf("line %d is %q, want %q", i, got, want)
			}
		}
	}
}

// TestHookNames: every hook has a name, and one name stands for one hook: drops are told by it.
func TestHookNames(t *testing.T) {
	p := newNetwork(t, testConfig()).r.pipeline
	names := map[string]Hook{}
	for _, list := range [][]stage{p.transit, p.input, p.output} {
		for _, s := range list {
			name := s.hook.Name()
			if old := names[name]; name == "" || old != nil && old != s.hook {
				t.Errorf("the name %q is missing, or two hooks have it", name)
			}
			names[name] = s.hook
		}
	}
	if names[p.fast.Name()] != nil {
		t.Errorf("the short way is called as a hook: %q", p.fast.Name())
	}
}

// TestUnspecified: a hook that forgets to decide drops, and that it gave no reason is told.
func TestUnspecified(t *testing.T) {
	n := newNetwork(t, testConfig())
	n.r.pipeline.transit = []stage{{forgetful{}, "decides nothing"}}
	n.lane("lan0").handle([]tun.Frame{frame(testpkt.UDP{Src: port(client4, 5000), Dst: port(server4, 53)}.Bytes(), packet.Meta{})})
	n.dropped(n.collect(), packet.Unspecified)
}

type forgetful struct{}

func (forgetful) Name() string                            { return "forgetful" }
func (forgetful) Handle(*Packet) (verdict packet.Verdict) { return verdict }
