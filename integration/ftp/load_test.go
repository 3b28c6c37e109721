package ftp

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
)

const (
	atOnce   = 200
	inOne    = 50      // of them that lftp takes for one job: its most is 64
	slowly   = "60000" // bytes a second in each session, so that they are at it together
	sessions = 70      // that lftp has at least, as it uses those again that are done
)

// patient is the server that lets many wait to be accepted: with the others' shorter queues the kernel under them makes
// connections of which they never hear.
var patient = &kinds[1]

// TestAtOnce fetches 200 files in parallel, once with the endpoints in the client's commands and once in the server's
// replies.
func TestAtOnce(t *testing.T) {
	for _, run := range []struct {
		place   *place
		verb    string
		setting string
	}{
		{&clientInside, "PORT", "set ftp:passive-mode no"},
		{&serverInside, "PASV", "set ftp:prefer-epsv no"},
	} {
		t.Run(run.place.name, func(t *testing.T) {
			both(t, true, func(t *testing.T, w *world) {
				s := patient.serve(t, run.place.server(w), run.place.serves(0), netip.Addr{})
				said := fetchAll(t, run.place.client(w), s, run.place.to(0), run.setting)
				announced, users := strings.Count(said, "---> "+run.verb), strings.Count(said, "---> USER")
				if announced < atOnce || users < sessions {
					t.Errorf("%d times %s in %d sessions", announced, run.verb, users)
				}
				if n := w.helper("expect-matched"); w.daemon != nil && n < atOnce {
					t.Errorf("%d data connections came as announced, want %d", n, atOnce)
				}
				t.Logf("%d data connections in %d sessions", announced, users)
			})
		})
	}
}

// fetchAll has one lftp fetch 200 files, and returns what it said.
func fetchAll(t *testing.T, n *netlab.Namespace, s *server, to netip.Addr, setting string) string {
	t.Helper()
	script := []string{"debug 5", "set ftp:ssl-allow no", "set ftp:sync-mode yes", "set ftp:auto-passive-mode no", "set ftp:fix-pasv-address no",
		"set net:max-retries 2", "set net:timeout 10", "set net:limit-rate " + slowly + ":" + slowly, setting,
		fmt.Sprintf("open -u %s,%s -p %d %s", s.user, password, s.port, to)}
	dir := t.TempDir()
	var all string
	for i := range atOnce {
		folder, name := fmt.Sprintf("many%d", i/inOne), fmt.Sprintf("of%d", i)
		if i%inOne == 0 {
			lab.Must(t, os.Mkdir(filepath.Join(s.dir, folder), 0o755))
			all += fmt.Sprintf("mirror --no-perms --parallel=%d %s %s & ", inOne, folder, filepath.Join(dir, folder))
		}
		lab.Must(t, os.WriteFile(filepath.Join(s.dir, folder, name), random(uint64(i), 50_000+i), 0o644))
	}
	cmd := exec.Command(lab.NeedTool(t, "lftp"), "-c", strings.Join(script, "; ")+"; "+all+"wait all")
	cmd.Env = append(os.Environ(), "HOME="+dir)
	out, code := lab.RunIn(t, n, cmd)
	wrong := 0
	for i := range atOnce {
		got, _ := os.ReadFile(filepath.Join(dir, fmt.Sprintf("many%d", i/inOne), fmt.Sprintf("of%d", i))) // an absent file has no bytes
		if !bytes.Equal(got, random(uint64(i), 50_000+i)) {
			wrong++
		}
	}
	if code != 0 || wrong > 0 {
		t.Errorf("exit code %d, %d of %d files are not as they were sent:\n%s", code, wrong, atOnce, out[max(0, len(out)-3000):])
	}
	return out
}

const (
	bigSize = 200 << 20 // bytes
	bigRate = "70M"     // a second, at most
	idleFor = 2 * time.Second
)

// shortTimeouts end what is quiet for a second, but for established TCP connections: a control connection that is taken for
// anything else is lost during a long transfer.
const shortTimeouts = `
[conntrack.timeout]
udp = "1s"
udp_stream = "1s"
icmp = "1s"
generic = "1s"
tcp_syn_sent = "1s"
tcp_syn_recv = "1s"
tcp_fin_wait = "1s"
tcp_close_wait = "1s"
tcp_last_ack = "1s"
tcp_time_wait = "1s"
tcp_close = "1s"
`

var kernelShortTimeouts = []string{
	"net/netfilter/nf_conntrack_udp_timeout=1", "net/netfilter/nf_conntrack_udp_timeout_stream=1",
	"net/netfilter/nf_conntrack_icmp_timeout=1", "net/netfilter/nf_conntrack_generic_timeout=1",
	"net/netfilter/nf_conntrack_tcp_timeout_syn_sent=1", "net/netfilter/nf_conntrack_tcp_timeout_syn_recv=1",
	"net/netfilter/nf_conntrack_tcp_timeout_fin_wait=1", "net/netfilter/nf_conntrack_tcp_timeout_close_wait=1",
	"net/netfilter/nf_conntrack_tcp_timeout_last_ack=1", "net/netfilter/nf_conntrack_tcp_timeout_time_wait=1",
	"net/netfilter/nf_conntrack_tcp_timeout_close=1",
}

// TestLongTransfer fetches 200 MB in active mode while the control connection is idle for longer than all timeouts but its
// own, and then another file in the same session.
func TestLongTransfer(t *testing.T) {
	t.Run("natrouter", func(t *testing.T) {
		w := newWorld(t, true, shortTimeouts)
		long(t, w)
		w.noFaults(t)
	})
	t.Run("kernel", func(t *testing.T) { long(t, newKernelWorld(t, true, kernelShortTimeouts...)) })
}

func long(t *testing.T, w *world) {
	t.Helper()
	s := kinds[0].serve(t, w.server, lab.Families[0].Server, netip.Addr{})
	want := writeBig(t, filepath.Join(s.dir, "big"))
	dir := t.TempDir()
	big, down := filepath.Join(dir, "big"), filepath.Join(dir, "down")
	url := fmt.Sprintf("ftp://%s:%d/", lab.Families[0].Server, s.port)
	start := time.Now()
	out, code := lab.Tool(t, w.client, "curl", "-v", "-sS", "-m", "18", "-P", "-", "--limit-rate", bigRate, "-u", s.user+":"+password,
		"-o", big, url+"big", "-o", down, url+"down")
	took := time.Since(start)
	if code != 0 || strings.Count(out, "> EPRT") != 2 || strings.Count(out, "> USER") != 1 {
		t.Errorf("exit code %d, want two transfers in one session:\n%s", code, out)
	}
	if took < idleFor {
		t.Errorf("the transfer took only %s: the control connection was not idle for long", took)
	}
	if got := sumOf(t, big); got != want {
		t.Error("the big file is not as it was sent")
	}
	if got, err := os.ReadFile(down); err != nil || !bytes.Equal(got, s.file) {
		t.Errorf("the file after it is not as it was sent: %v", err)
	}
	if n := w.helper("expect-matched"); w.daemon != nil && n != 2 {
		t.Errorf("%d data connections came as announced, want 2", n)
	}
}

// writeBig writes the big file and returns its SHA-256.
func writeBig(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	f, err := os.Create(path)
	lab.Must(t, err)
	defer f.Close()
	part := random(7, 1<<20)
	for i := range bigSize / len(part) {
		copy(part, fmt.Sprintf("part %d", i))
		_, err := f.Write(part)
		lab.Must(t, err)
	}
	return sumOf(t, path)
}

func sumOf(t *testing.T, path string) (sum [sha256.Size]byte) {
	t.Helper()
	f, err := os.Open(path)
	lab.Must(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	lab.Must(t, err)
	return [sha256.Size]byte(h.Sum(nil))
}
