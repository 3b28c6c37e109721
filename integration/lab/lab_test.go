package lab

import (
	"testing"

	"github.com/natrouter/natrouter/internal/config"
)

// TestGoodConfigurations: what all labs start with is without fault.
func TestGoodConfigurations(t *testing.T) {
	for name, c := range map[string]Config{"usual": {}, "other devices": {LAN: "mtu = 1400", WAN: "gso = false"}} {
		f, err := config.Parse(name, []byte(c.Text()))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, w := range f.Warnings {
			t.Error(w)
		}
	}
}
