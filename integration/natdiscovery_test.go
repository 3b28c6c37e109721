package integration

import (
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/natrouter/natrouter/integration/lab"
	"github.com/natrouter/natrouter/internal/netlab"
)

// behaviours are the kinds of mapping and of filtering, and the words of coturn's turnutils_natdiscovery for them
// (RFC 5780, sections 4.3 and 4.4).
var behaviours = []struct{ key, mapping, filtering string }{
	{"endpoint-independent", "NAT with Endpoint Independent Mapping!", "NAT with Endpoint Independent Filtering!"},
	{"address-dependent", "NAT with Address Dependent Mapping!", "NAT with Address Dependent Filtering!"},
	{"address-and-port-dependent", "NAT with Address and Port Dependent Mapping!", "NAT with Address and Port Dependent Filtering!"},
}

// secondServer is the second address of the STUN server, which RFC 5780 needs.
var secondServer = netip.MustParsePrefix("203.0.113.3/24")

// TestNATDiscovery asks coturn's client what NAT it is behind, with each kind of mapping and filtering configured.
func TestNATDiscovery(t *testing.T) {
	lab.NeedLab(t)
	client, server := lab.NeedTool(t, "turnutils_natdiscovery"), lab.NeedTool(t, "turnserver")
	for _, m := range behaviours {
		for _, f := range behaviours {
			t.Run(m.key+" mapping, "+f.key+" filtering", func(t *testing.T) {
				l := newPair(t, lab.Config{Rules: "[nat_defaults]\nmapping = \"" + m.key + "\"\nfiltering = \"" + f.key + "\"\n"})
				lab.Must(t, l.Server.Address("wan0", secondServer))
				lab.Sniff(t, l.Server, "wan0", lab.Translated(lab.Checksums), nil)
				stunServer(t, l.Server, server, lab.Families[0].Server, secondServer.Addr())
				l.discovers(t, client, []string{"-m"}, m.mapping)
				l.discovers(t, client, []string{"-f"}, f.filtering)
				if f.key == "endpoint-independent" {
					l.discovers(t, client, []string{"-H", "-L", "10.77.0.2", "-l", "4000"}, "Received a request (maybe a successful hairpinning)")
				}
			})
		}
	}
}

// discovers wants a line of turnutils_natdiscovery's.
func (l *pair) discovers(t *testing.T, program string, args []string, want string) {
	t.Helper()
	out := lab.MustRun(t, l.Client, program, append(args, lab.Families[0].Server.String())...)
	if !strings.Contains(out, want) {
		t.Errorf("natdiscovery %v: no %q in\n%s", args, want, out)
	}
}

// stunServer runs coturn's server on two addresses until the test ends.
func stunServer(t *testing.T, in *netlab.Namespace, program string, addresses ...netip.Addr) {
	t.Helper()
	dir := lab.PublicDir(t)
	args := []string{"-n", "-z", "-v", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp", "--log-file", "stdout",
		"--pidfile", filepath.Join(dir, "pid"), "--userdb", filepath.Join(dir, "db")}
	for _, a := range addresses {
		args = append(args, "-L", a.String(), "-E", a.String())
	}
	var log lab.Output
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	lab.Must(t, in.Start(cmd))
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
		if t.Failed() {
			t.Logf("log of turnserver:\n%s", &log)
		}
	})
	timeout := time.After(lab.ReadyTimeout)
	for text, more := log.Next(); strings.Count(text, "IPv4. UDP listener opened on") < 2*len(addresses); text, more = log.Next() {
		select {
		case <-more:
		case <-timeout:
			t.Fatalf("turnserver is not ready after %s\n%s", lab.ReadyTimeout, &log)
		}
	}
}
