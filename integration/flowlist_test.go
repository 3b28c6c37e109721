package integration

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/testpkt"
	"github.com/natrouter/natrouter/router"
)

// TestFlowListOfMany: of hundreds of connections natrouter flow list shows each once, with its own ports both ways, in each
// format.
func TestFlowListOfMany(t *testing.T) {
	lab.NeedLab(t)
	l := newPair(t, lab.Config{})
	e := lab.Families[0]
	const first, flows = 20000, 600
	var all [][]byte
	for i := range uint16(flows) {
		all = append(all, testpkt.UDP{
			Src: netip.AddrPortFrom(e.Client, first+i), Dst: netip.AddrPortFrom(e.Server, 40000-i), Payload: []byte("one"),
		}.Bytes())
	}
	sent := 0
	for part := range slices.Chunk(all, 100) { // fewer than the device's queue holds
		lab.Must(t, l.Client.Inject("lan0", part...))
		sent += len(part)
		for end := time.Now().Add(lab.ToolTimeout); l.Status().Flows < sent; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d flows after %d packets", l.Status().Flows, sent)
			}
		}
	}
	out, code := l.Ask("flow", "list", "--protocol", "udp", "--source", e.Client.String(), "--destination", e.Server.String(), "-o", "json")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	var list []router.Flow
	lab.Must(t, json.Unmarshal([]byte(out), &list))
	seen := map[uint16]bool{}
	for i := range list {
		there, back := &list[i].Original, &list[i].Reply
		src, dst := *there.SourcePort, *there.DestinationPort
		if n := src - first; n >= flows || dst != 40000-n || *back.SourcePort != dst || *back.DestinationPort != src || seen[src] {
			t.Fatalf("flow %d is from %d to %d, its answers from %d to %d", i, src, dst, *back.SourcePort, *back.DestinationPort)
		}
		seen[src] = true
	}
	if len(seen) != flows {
		t.Fatalf("%d flows are listed of %d", len(seen), flows)
	}
	for format, line := range map[string]string{"conntrack": "sport=%d dport=%d", "jsonl": `"source_port":%d,"destination_port":%d`} {
		out, code := l.Ask("flow", "list", "--port", "39700", "-o", format)
		if want := fmt.Sprintf(line, first+300, 39700); code != 0 || strings.Count(out, want) != 1 {
			t.Errorf("%s: exit code %d, want %q once in\n%s", format, code, want, out)
		}
	}
}
