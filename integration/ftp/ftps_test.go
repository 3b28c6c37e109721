package ftp

import (
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
)

// ftps has a client fetch the file "down" by explicit FTPS (RFC 4217), control connection and data encrypted, and reports
// whether it came.
func ftps(t *testing.T, w *world, s *server, client string, active bool) (came bool, said string) {
	t.Helper()
	at := netip.AddrPortFrom(lab.Families[0].Server, s.port)
	down := filepath.Join(t.TempDir(), "down")
	var cmd *exec.Cmd
	if client == "curl" {
		args := []string{"-v", "-sS", "-m", giveUp, "--ssl-reqd", "-k", "-u", s.user + ":" + password, "-o", down, "ftp://" + at.String() + "/down"}
		if active {
			args = slices.Insert(args, 0, "-P", "-")
		}
		cmd = exec.Command(lab.NeedTool(t, "curl"), args...)
	} else {
		script := []string{"debug 5", "set ftp:ssl-force yes", "set ftp:ssl-protect-data yes", "set ssl:verify-certificate no",
			"set ftp:auto-passive-mode no", "set net:max-retries 1", "set net:timeout " + giveUp, "set cmd:fail-exit yes",
			"set ftp:passive-mode " + map[bool]string{true: "no", false: "yes"}[active],
			"open -u " + s.user + "," + password + " " + at.Addr().String(), "get down -o " + down, "bye"}
		cmd = exec.Command(lab.NeedTool(t, "lftp"), "-c", strings.Join(script, "; "))
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	}
	out, _ := lab.RunIn(t, w.client, cmd)
	if !strings.Contains(out, "> AUTH ") || !strings.Contains(out, "234 ") { // curl says AUTH SSL first, which is the same
		t.Errorf("no AUTH answered with 234:\n%s", out)
	}
	got, _ := os.ReadFile(down) // an absent file has no bytes
	return bytes.Equal(got, s.file), out
}

// TestFTPS encrypts. What is encrypted passes untouched and unread, so passive mode works and active mode doesn't, with
// natrouter as with the kernel.
func TestFTPS(t *testing.T) {
	both(t, true, func(t *testing.T, w *world) {
		k := kind{name: "vsftpd", port: vsftpdPort, user: "anonymous", command: vsftpds}
		s := k.serve(t, w.server, lab.Families[0].Server, netip.Addr{})
		for _, client := range []string{"curl", "lftp"} {
			for _, active := range []bool{false, true} {
				if came, said := ftps(t, w, s, client, active); came == active {
					t.Errorf("%s, active %v: works: %v: %s", client, active, came, said)
				}
			}
		}
		if n := w.helper("encrypted"); w.daemon != nil && n != 4 {
			t.Errorf("%d connections are counted as encrypted, want 4", n)
		}
		if n := w.helper("edits"); n > 0 {
			t.Errorf("%d edits where nothing could be read", n)
		}
	})
}
