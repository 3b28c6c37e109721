// Package irc tests the IRC helper with a small IRC server and two users of it, one of them inside, who send each other
// files by DCC. Debian has no IRC client with DCC that needs no terminal.
package irc

import (
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
