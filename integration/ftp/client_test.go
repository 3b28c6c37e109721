package ftp

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
)

// way is how a client comes to its data connections.
type way struct {
	verb    string // the command that it must say for each
	client  string
	only    string // the one family that it is for; empty: both
	options []string
}

// ways are all that the clients can do. PORT and PASV are IPv4's (RFC 2428, section 1).
var ways = []way{
	{"PORT", "curl", "IPv4", []string{"-P", "-", "--disable-eprt"}},
	{"EPRT", "curl", "", []string{"-P", "-"}},
	{"PASV", "curl", "IPv4", []string{"--disable-epsv", "--no-ftp-skip-pasv-ip"}},
	{"EPSV", "curl", "", nil},
	{"PORT", "lftp", "IPv4", []string{"set ftp:passive-mode no"}},
	{"EPRT", "lftp", "IPv6", []string{"set ftp:passive-mode no"}},
	{"PASV", "lftp", "IPv4", []string{"set ftp:prefer-epsv no"}},
	{"EPSV", "lftp", "", []string{"set ftp:prefer-epsv yes"}},
	{"PORT", "tnftp", "IPv4", []string{"-A", "epsv4 off"}},
	{"EPRT", "tnftp", "", []string{"-A", ""}},
	{"PASV", "tnftp", "IPv4", []string{"-p", "epsv4 off"}},
	{"EPSV", "tnftp", "", []string{"-p", ""}},
}

// active reports whether the server connects.
func (w *way) active() bool { return w.verb == "PORT" || w.verb == "EPRT" }

func (w *way) String() string { return w.client + " " + w.verb }

// job is what a client is to do: fetch the file "down" of a server, send another one, and list.
type job struct {
	at       netip.AddrPort // of the server
	user     string
	down, up string // paths of the files here
	name     string // of the one that is sent
}

func (j *job) url(name string) string { return fmt.Sprintf("ftp://%s/%s", j.at, name) }

// giveUp is how long a client waits for what does not come, seconds.
const giveUp = "4"

// command is the program that does a job.
func (w *way) command(t *testing.T, j *job) *exec.Cmd {
	t.Helper()
	switch w.client {
	case "curl":
		return curl(t, j, w.options)
	case "lftp":
		return lftp(t, j, w.options)
	}
	return tnftp(t, j, w.options[0], w.options[1])
}

func curl(t *testing.T, j *job, options []string) *exec.Cmd {
	common := append([]string{"-v", "-sS", "-g", "-m", giveUp, "-u", j.user + ":" + password}, options...)
	args := append(slices.Clone(common), "-o", j.down, j.url("down"))
	args = append(append(append(args, "--next"), common...), "-T", j.up, j.url("up/"+j.name))
	args = append(append(append(args, "--next"), common...), j.url(""))
	return exec.Command(lab.NeedTool(t, "curl"), args...)
}

func lftp(t *testing.T, j *job, settings []string) *exec.Cmd {
	host := j.at.Addr().String()
	if j.at.Addr().Is6() {
		host = "[" + host + "]"
	}
	script := append([]string{"debug 5", "set ftp:ssl-allow no", "set ftp:auto-passive-mode no", "set ftp:fix-pasv-address no",
		"set ftp:sync-mode yes", "set net:max-retries 1", "set net:timeout " + giveUp, "set cmd:fail-exit yes",
		fmt.Sprintf("open -u %s,%s -p %d %s", j.user, password, j.at.Port(), host)}, settings...)
	script = append(script, "get down -o "+j.down, "put "+j.up+" -o up/"+j.name, "ls", "bye")
	cmd := exec.Command(lab.NeedTool(t, "lftp"), "-c", strings.Join(script, "; "))
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	return cmd
}

func tnftp(t *testing.T, j *job, mode, command string) *exec.Cmd {
	cmd := exec.Command(lab.NeedTool(t, "tnftp"), "-n", "-i", "-d", "-q", giveUp, mode, j.at.Addr().String(), fmt.Sprint(j.at.Port()))
	cmd.Stdin = strings.NewReader(strings.Join([]string{"user " + j.user + " " + password, "binary", command,
		"get down " + j.down, "put " + j.up + " up/" + j.name, "ls", "bye", ""}, "\n"))
	return cmd
}

// jobs counts them, so that each sends a file of its own.
var jobs int

// transfers is how many data connections a job has.
const transfers = 3

// transfer has a client do a job, and returns what is wrong with what came of it; empty: nothing.
func (w *way) transfer(t *testing.T, n *netlab.Namespace, s *server, to netip.Addr) (wrong string) {
	t.Helper()
	jobs++
	dir := t.TempDir()
	j := &job{at: netip.AddrPortFrom(to, s.port), user: s.user, name: fmt.Sprintf("sent%d", jobs),
		down: filepath.Join(dir, "down"), up: filepath.Join(dir, "up")}
	sent := random(uint64(1000+jobs), fileSize)
	lab.Must(t, os.WriteFile(j.up, sent, 0o644))
	out := patiently(t, n, func() *exec.Cmd { return w.command(t, j) })
	if n := strings.Count(out, "> "+w.verb); n < transfers {
		wrong += fmt.Sprintf("%d times %s, ", n, w.verb)
	}
	if got, _ := os.ReadFile(j.down); !bytes.Equal(got, s.file) { // an absent file has no bytes
		wrong += fmt.Sprintf("%d of %d bytes fetched are right, ", common(got, s.file), len(s.file))
	}
	if got, _ := os.ReadFile(filepath.Join(s.dir, "up", j.name)); !bytes.Equal(got, sent) {
		wrong += fmt.Sprintf("%d of %d bytes sent are right, ", common(got, sent), len(sent))
	}
	// RFC 959, section 3.3: the server's data port is 20. lftp tells what it sees.
	if n := strings.Count(out, ") port 20\n"); w.client == "lftp" && w.active() && s.name == "vsftpd" && n < transfers {
		wrong += fmt.Sprintf("only %d data connections from port 20, ", n)
	}
	if !strings.Contains(out, " up\n") && !strings.Contains(out, " up\r\n") {
		wrong += "no list, "
	}
	if wrong != "" {
		wrong += "the client said:\n" + out
	}
	return wrong
}

// stalled is what curl 7.88 says where it gives up a passive data connection that it never tried to open: it did so once in
// some thousand sessions, and without a router between it does too.
var stalled = regexp.MustCompile(`\* Connecting to .*\n(?:\* ftp_perform .*\n)?\* Operation timed out`)

// patiently runs a client, a second time where curl stalled, and returns what it said. Its exit code is no matter: tnftp's
// says nothing, and all that a client does is checked.
func patiently(t *testing.T, n *netlab.Namespace, command func() *exec.Cmd) string {
	t.Helper()
	out, _ := lab.RunIn(t, n, command())
	if stalled.MatchString(out) {
		t.Logf("once more:\n%s", out)
		out, _ = lab.RunIn(t, n, command())
	}
	return out
}

// common is how many bytes two slices have in common at their beginning.
func common(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// fetch has curl fetch the file "down" within some seconds, and reports whether it came.
func (w *way) fetch(t *testing.T, n *netlab.Namespace, s *server, to netip.Addr, within string) (came bool, said string) {
	t.Helper()
	j := &job{at: netip.AddrPortFrom(to, s.port), user: s.user, down: filepath.Join(t.TempDir(), "down")}
	args := append([]string{"-v", "-sS", "-g", "-m", within, "-u", j.user + ":" + password, "-o", j.down}, w.options...)
	args = append(args, j.url("down"))
	out := patiently(t, n, func() *exec.Cmd { return exec.Command(lab.NeedTool(t, "curl"), args...) })
	got, _ := os.ReadFile(j.down) // an absent file has no bytes
	return bytes.Equal(got, s.file), out
}
