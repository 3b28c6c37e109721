package conntrack

import (
	"fmt"
	"strings"
	"testing"
)

// TestProtoNames: each protocol is found by its name, and by its number.
func TestProtoNames(t *testing.T) {
	for n := range 256 {
		proto := uint8(n)
		for _, name := range []string{ProtoName(proto), strings.ToUpper(ProtoName(proto)), fmt.Sprint(n)} {
			if got, ok := ProtoNumber(name); !ok || got != proto {
				t.Errorf("ProtoNumber(%q) = %d, %v, want %d", name, got, ok, proto)
			}
		}
	}
	for _, name := range []string{"", "256", "-1", "tcpp", "6 "} {
		if got, ok := ProtoNumber(name); ok {
			t.Errorf("ProtoNumber(%q) = %d", name, got)
		}
	}
}
