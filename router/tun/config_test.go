package tun

import (
	"strings"
	"testing"
)

// TestZeroDescriptorIsNone: a Config that says nothing of a descriptor takes none, least of all standard input.
func TestZeroDescriptorIsNone(t *testing.T) {
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "(no name): no name"},
		{Config{FD: -1}, "(no name): no name"},
		{Config{FD: 9, FDName: "lan"}, "give one"},
		{Config{Name: "lan0"}, ""},
	} {
		cfg := tt.cfg
		cfg.Queues, cfg.Driver = 1, DriverAuto
		err := cfg.check()
		if got := cfg.label(); err != nil {
			if text := got + ": " + err.Error(); tt.want == "" || !strings.Contains(text, tt.want) {
				t.Errorf("%+v: %s, want %q", tt.cfg, text, tt.want)
			}
		} else if tt.want != "" {
			t.Errorf("%+v is accepted, want %q", tt.cfg, tt.want)
		}
	}
	for _, fd := range []int{0, -1} {
		if _, err := FromFD(fd, Config{Name: "lan0"}); err == nil || !strings.Contains(err.Error(), "can't be a TUN") {
			t.Errorf("descriptor %d: %v", fd, err)
		}
	}
}
