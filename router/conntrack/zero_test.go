package conntrack

import (
	"errors"
	"reflect"
	"testing"
	"time"
)

// TestZeroConfig: what a Config leaves out is as in [DefaultConfig], each timeout too. (Such a table once held one
// connection, which ended at once.)
func TestZeroConfig(t *testing.T) {
	if got, want := (Config{}).withDefaults(), DefaultConfig(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if table := New(Config{}); table.cfg.Max != 262144 || table.cfg.MaxUnreplied != 131072 || table.set(0).udp != Time(udpDefault) {
		t.Errorf("%+v, UDP %v", table.cfg, table.set(0).udp)
	}
	own := Config{Max: 7, MaxExpect: -1, Timeouts: Timeouts{UDP: time.Second}}
	got := own.withDefaults()
	if got.Max != 7 || got.MaxExpect != -1 || got.Timeouts.UDP != time.Second || got.Timeouts.ICMP != icmpDefault {
		t.Errorf("what was said is lost: %+v", got)
	}
}

// TestNoExpectations: a negative number of expectations is none, as max_expectations = 0 is in the file.
func TestNoExpectations(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxExpect = -1 })
	if _, err := w.t.Expect(w.now, ftpExpect(w.handshake(nil), 5000)); !errors.Is(err, ErrExpectFull) {
		t.Errorf("%v, want %v", err, ErrExpectFull)
	}
}
