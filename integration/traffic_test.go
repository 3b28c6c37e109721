package integration

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
)

// driverKeys are ways to configure an interface, and what its checksums must be then.
var driverKeys = []struct {
	name, keys string
	check      func(netlab.Sniffed) error
}{
	{"offload", "", lab.Checksums},
	{"queues", "queues = 2", lab.Checksums},
	{"plain", "gso = false\nchecksum = false\ncoalesce = false", lab.CompleteChecksums},
	{"water", `driver = "water"`, lab.CompleteChecksums},
}

// TestTraffic sends what real clients send, with sniffers on both sides.
func TestTraffic(t *testing.T) {
	lab.NeedLab(t)
	for _, d := range driverKeys {
		t.Run(d.name, func(t *testing.T) {
			l := newPair(t, lab.Config{LAN: d.keys, WAN: d.keys})
			inside := lab.Sniff(t, l.Client, "lan0", d.check, nil)
			outside := lab.Sniff(t, l.Server, "wan0", lab.Translated(d.check), nil)
			lab.RunScenes(t, l.Client, l.Server)
			for _, e := range lab.Families {
				t.Run(e.Name+"/ping", func(t *testing.T) { l.pingTool(t, e) })
				t.Run(e.Name+"/traceroute", func(t *testing.T) { l.tracerouteTool(t, e) })
				t.Run(e.Name+"/curl", func(t *testing.T) { l.curlTool(t, e) })
				t.Run(e.Name+"/iperf3", func(t *testing.T) { l.iperfTool(t, e) })
			}
			if inside.Stop() < 1000 || outside.Stop() < 1000 {
				t.Error("the sniffers saw next to nothing")
			}
			l.noFaults()
		})
	}
}

// noFaults fails the test if the router dropped a packet as damaged, or for a fault of its own.
func (l *pair) noFaults() {
	l.T.Helper()
	for _, reason := range []string{"malformed", "bad-checksum", "bad-ip-checksum", "netstack-panic", "unspecified", "tcp-window"} {
		n, ok := l.Status().Drops[reason]
		if !ok {
			l.T.Errorf("status knows no drop reason %q", reason)
		}
		if n > 0 {
			l.T.Errorf("%d packets dropped as %s", n, reason)
		}
	}
}

// pingTool pings with small packets, with ones in fragments and with a don't-fragment bit.
func (l *pair) pingTool(t *testing.T, e lab.Ends) {
	to := e.Server.String()
	for _, more := range [][]string{{}, {"-s", "4000"}, {"-s", "1400", "-M", "do"}, {"-R"}, {"-f", "-c", "50"}} {
		if slices.Contains(more, "-R") && e.Server.Is6() {
			continue // IPv4's record route option
		}
		lab.Ping(t, l.Client, append(append([]string{"-c", "3", "-i", "0.01"}, more...), to)...)
	}
}

// tracerouteTool asks for the way by UDP and ICMP: the router, then the server.
func (l *pair) tracerouteTool(t *testing.T, e lab.Ends) {
	traceroute := lab.NeedTool(t, "traceroute")
	for _, method := range []string{"-U", "-I", "-T"} {
		args := []string{"-n", "-w", "2", "-q", "1", "-m", "4", method, e.Server.String()}
		if method == "-T" {
			args = append([]string{"-p", "7"}, args...)
		}
		out := lab.MustRun(t, l.Client, traceroute, args...)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if len(lines) != 3 || !strings.Contains(lines[1], e.LAN.String()) || !strings.Contains(lines[2], e.Server.String()) {
			t.Errorf("traceroute %s:\n%s", method, out)
		}
	}
}

// curlBytes is the size of a body.
const curlBytes = 20 << 20

// curlTool fetches and sends a body, and compares SHA-256 and the address that the server saw.
func (l *pair) curlTool(t *testing.T, e lab.Ends) {
	curl := lab.NeedTool(t, "curl")
	at := netip.AddrPortFrom(e.Server, 8000)
	files, err := netlab.ServeFiles(l.Server, at)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	dir := lab.PublicDir(t)
	down, up := filepath.Join(dir, "down"), filepath.Join(dir, "up")

	lab.MustRun(t, l.Client, curl, "-sSg", "-m", "20", "-o", down, fmt.Sprintf("http://%s/%d", at, curlBytes))
	last := files.Last()
	got, err := os.ReadFile(down)
	if err != nil || len(got) != curlBytes || sha256.Sum256(got) != last.Sum {
		t.Errorf("download: %d bytes, %v, SHA-256 %x, the server's %x", len(got), err, sha256.Sum256(got), last.Sum)
	}
	if last.Remote.Addr() != e.WAN {
		t.Errorf("download: the server saw %s", last.Remote)
	}

	body := make([]byte, curlBytes)
	rand.Read(body)
	if err := os.WriteFile(up, body, 0o600); err != nil {
		t.Fatal(err)
	}
	out := lab.MustRun(t, l.Client, curl, "-sSg", "-m", "20", "-T", up, fmt.Sprintf("http://%s/", at))
	want := fmt.Sprintf("%x %d %s", sha256.Sum256(body), len(body), netip.AddrPortFrom(e.WAN, files.Last().Remote.Port()))
	if strings.TrimSpace(out) != want {
		t.Errorf("upload: the server says %q, want %q", strings.TrimSpace(out), want)
	}
}

// iperfReport is the part of iperf3's JSON that is looked at.
type iperfReport struct {
	Error string `json:"error"`
	End   struct {
		SumReceived struct {
			Bytes float64 `json:"bytes"`
			Rate  float64 `json:"bits_per_second"`
		} `json:"sum_received"`
		Sum struct {
			Bytes float64 `json:"bytes"`
			Lost  float64 `json:"lost_percent"`
		} `json:"sum"`
	} `json:"end"`
}

// udpLossMax is how much of 10 Mbit/s may be lost, percent: on a busy machine the receiver itself misses some. None may
// be lost in netlab's scenes, which send no more than is answered.
const udpLossMax = 20

// iperfTool measures TCP and UDP both ways.
func (l *pair) iperfTool(t *testing.T, e lab.Ends) {
	iperf3 := lab.NeedTool(t, "iperf3")
	for _, args := range [][]string{{"-P", "2", "-n", "40M"}, {"-R", "-n", "40M"}, {"-u", "-b", "10M", "-n", "500K"}, {"-u", "-b", "10M", "-n", "500K", "-R"}} {
		report := l.iperf(t, iperf3, e, args)
		udp := slices.Contains(args, "-u")
		switch {
		case report.Error != "":
			t.Errorf("iperf3 %v: %s", args, report.Error)
		case !udp && report.End.SumReceived.Bytes < 1<<20:
			t.Errorf("iperf3 %v: only %.0f bytes arrived", args, report.End.SumReceived.Bytes)
		case udp && (report.End.Sum.Bytes < 1<<18 || report.End.Sum.Lost > udpLossMax):
			t.Errorf("iperf3 %v: %.0f bytes, %.1f %% lost", args, report.End.Sum.Bytes, report.End.Sum.Lost)
		default:
			t.Logf("iperf3 %v: %.0f Mbit/s, %.2f %% lost", args, report.End.SumReceived.Rate/1e6, report.End.Sum.Lost)
		}
	}
}

// iperf runs one measurement against a server of its own.
func (l *pair) iperf(t *testing.T, iperf3 string, e lab.Ends, args []string) (report iperfReport) {
	t.Helper()
	var log lab.Output
	server := exec.Command(iperf3, "-s", "-1", "-B", e.Server.String(), "--forceflush")
	server.Stdout, server.Stderr = &log, &log
	if err := l.Server.Start(server); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = server.Process.Kill() // it may have ended
		_ = server.Wait()
	}()
	for text, more := log.Next(); !strings.Contains(text, "listening"); text, more = log.Next() {
		<-more // the tool's own time limit follows
	}
	out, _ := lab.RunIn(t, l.Client, exec.Command(iperf3, append([]string{"-J", "-c", e.Server.String()}, args...)...))
	if err := json.NewDecoder(bytes.NewReader([]byte(out))).Decode(&report); err != nil {
		t.Errorf("iperf3 %v: %v\n%s", args, err, out)
	}
	return report
}
