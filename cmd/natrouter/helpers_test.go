package main

import (
	"testing"

	"github.com/natrouter/natrouter/internal/config"
)

// The options of each helper come from the file as the helper takes them.
func TestHelperOptions(t *testing.T) {
	f, err := config.Parse("test", []byte(`
[[interface]]
name = "lan0"
side = "inside"
address = "10.77.0.1/16"
[[interface]]
name = "wan0"
side = "outside"
address = "203.0.113.1/24"
[[helper]]
name = "pptp"
protocol = "tcp"
port = 1723
timeout = "1m"
stream_timeout = "2h"
max_calls = 3
[[helper]]
name = "ftp"
protocol = "tcp"
port = 21
loose = ["192.0.2.0/24", "2001:db8::7"]
data_port = ["50000-50100", 60000]
min_port = 2000
deny_port = 3306
strict20 = true
lprt = true
ccc = true
`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"pptp": 3, "ftp": 7}
	for _, r := range f.Config.Helpers {
		for _, h := range helpers() {
			if h.Spec().Name != r.Name {
				continue
			}
			if _, err := h.Configure(r.Options); err != nil || len(r.Options) != want[r.Name] {
				t.Errorf("%s takes %v: %v", r.Name, r.Options, err)
			}
			delete(want, r.Name)
		}
	}
	if len(want) > 0 {
		t.Errorf("not seen: %v", want)
	}
}
