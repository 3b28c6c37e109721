// Package tftp tests the TFTP helper with tftp-hpa's client and server as Debian ships them.
package tftp

import (
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
