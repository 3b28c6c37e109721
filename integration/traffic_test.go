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

	"github.com/natrouter/natrouter/internal/netlab"
)

// driverKeys are ways to configure an interface, and what its checksums must be then.
var driverKeys = []struct {
	name, keys string
	check      func(netlab.Sniffed) error
}{
	{"offload", "", checksums},
	{"queues", "queues = 2", checksums},
	{"plain", "gso = false\nchecksum = false\ncoalesce = false", completeChecksums},
	{"water", `driver = "water"`, completeChecksums},
}

// TestTraffic sends what real clients send, with sniffers on both sides.
func TestTraffic(t *testing.T) {
	needLab(t)
	for _, d := range driverKeys {
		t.Run(d.name, func(t *testing.T) {
			l := newLab(t, labConfig{lan: d.keys, wan: d.keys})
			inside := sniff(t, l.client, "lan0", d.check, nil)
			outside := sniff(t, l.server, "wan0", translated(d.check), nil)
			runScenes(t, l.client, l.server)
			for _, e := range families {
				t.Run(e.name+"/ping", func(t *testing.T) { l.pingTool(t, e) })
				t.Run(e.name+"/traceroute", func(t *testing.T) { l.tracerouteTool(t, e) })
				t.Run(e.name+"/curl", func(t *testing.T) { l.curlTool(t, e) })
				t.Run(e.name+"/iperf3", func(t *testing.T) { l.iperfTool(t, e) })
			}
			if inside.stop() < 1000 || outside.stop() < 1000 {
				t.Error("the sniffers saw next to nothing")
			}
			l.noFaults()
		})
	}
}

// noFaults fails the test if the router dropped a packet as damaged, or for a fault of its own.
func (l *lab) noFaults() {
	l.t.Helper()
	for _, reason := range []string{"malformed", "bad-checksum", "bad-ip-checksum", "netstack-panic", "unspecified", "tcp-window"} {
		n, ok := l.status().Drops[reason]
		if !ok {
			l.t.Errorf("status knows no drop reason %q", reason)
		}
		if n > 0 {
			l.t.Errorf("%d packets dropped as %s", n, reason)
		}
	}
}

// pingTool pings with small packets, with ones in fragments and with a don't-fragment bit.
func (l *lab) pingTool(t *testing.T, e ends) {
	ping := needTool(t, "ping")
	to := e.server.String()
	for _, more := range [][]string{{}, {"-s", "4000"}, {"-s", "1400", "-M", "do"}, {"-R"}, {"-f", "-c", "50"}} {
		if slices.Contains(more, "-R") && e.server.Is6() {
			continue // IPv4's record route option
		}
		args := append([]string{"-n", "-c", "3", "-i", "0.01", "-W", "2"}, more...)
		if out := mustRun(t, l.client, ping, append(args, to)...); !strings.Contains(out, " 0% packet loss") {
			t.Errorf("ping %v:\n%s", more, out)
		}
	}
}

// tracerouteTool asks for the way by UDP and ICMP: the router, then the server.
func (l *lab) tracerouteTool(t *testing.T, e ends) {
	traceroute := needTool(t, "traceroute")
	for _, method := range []string{"-U", "-I", "-T"} {
		args := []string{"-n", "-w", "2", "-q", "1", "-m", "4", method, e.server.String()}
		if method == "-T" {
			args = append([]string{"-p", "7"}, args...)
		}
		out := mustRun(t, l.client, traceroute, args...)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if len(lines) != 3 || !strings.Contains(lines[1], e.lan.String()) || !strings.Contains(lines[2], e.server.String()) {
			t.Errorf("traceroute %s:\n%s", method, out)
		}
	}
}

// curlBytes is the size of a body.
const curlBytes = 20 << 20

// curlTool fetches and sends a body, and compares SHA-256 and the address that the server saw.
func (l *lab) curlTool(t *testing.T, e ends) {
	curl := needTool(t, "curl")
	at := netip.AddrPortFrom(e.server, 8000)
	files, err := netlab.ServeFiles(l.server, at)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	dir := publicDir(t)
	down, up := filepath.Join(dir, "down"), filepath.Join(dir, "up")

	mustRun(t, l.client, curl, "-sSg", "-m", "20", "-o", down, fmt.Sprintf("http://%s/%d", at, curlBytes))
	last := files.Last()
	got, err := os.ReadFile(down)
	if err != nil || len(got) != curlBytes || sha256.Sum256(got) != last.Sum {
		t.Errorf("download: %d bytes, %v, SHA-256 %x, the server's %x", len(got), err, sha256.Sum256(got), last.Sum)
	}
	if last.Remote.Addr() != e.wan {
		t.Errorf("download: the server saw %s", last.Remote)
	}

	body := make([]byte, curlBytes)
	rand.Read(body)
	if err := os.WriteFile(up, body, 0o600); err != nil {
		t.Fatal(err)
	}
	out := mustRun(t, l.client, curl, "-sSg", "-m", "20", "-T", up, fmt.Sprintf("http://%s/", at))
	want := fmt.Sprintf("%x %d %s", sha256.Sum256(body), len(body), netip.AddrPortFrom(e.wan, files.Last().Remote.Port()))
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
func (l *lab) iperfTool(t *testing.T, e ends) {
	iperf3 := needTool(t, "iperf3")
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
func (l *lab) iperf(t *testing.T, iperf3 string, e ends, args []string) (report iperfReport) {
	t.Helper()
	var log output
	server := exec.Command(iperf3, "-s", "-1", "-B", e.server.String(), "--forceflush")
	server.Stdout, server.Stderr = &log, &log
	if err := l.server.Start(server); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = server.Process.Kill() // it may have ended
		_ = server.Wait()
	}()
	for text, more := log.next(); !strings.Contains(text, "listening"); text, more = log.next() {
		<-more // the tool's own time limit follows
	}
	out, _ := runIn(t, l.client, exec.Command(iperf3, append([]string{"-J", "-c", e.server.String()}, args...)...))
	if err := json.NewDecoder(bytes.NewReader([]byte(out))).Decode(&report); err != nil {
		t.Errorf("iperf3 %v: %v\n%s", args, err, out)
	}
	return report
}
