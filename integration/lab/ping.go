//go:build linux

package lab

import (
	"strings"
	"testing"

	"github.com/natrouter/natrouter/internal/netlab"
)

// pingTries is how often a ping may be run: it gives its last answers no more than twice the longest round trip before,
// which a busy machine can exceed.
const pingTries = 3

// Ping wants ping to get an answer to each request; args are its own.
func Ping(t *testing.T, n *netlab.Namespace, args ...string) {
	t.Helper()
	var out string
	for range pingTries {
		var code int
		if out, code = Tool(t, n, "ping", append([]string{"-n", "-W", "2"}, args...)...); code == 0 && strings.Contains(out, " 0% packet loss") {
			return
		}
	}
	t.Errorf("ping %v in %s:\n%s", args, n.Name, out)
}
