package alg

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Names of the counters that the kit keeps for each helper. A helper adds its own with [Master.Count].
const (
	CountAttached      = "attached"       // connections
	CountDetached      = "detached"       // of them, before their end
	CountEdits         = "edits"          // replacements in the stream or in datagrams
	CountCreated       = "expect-created" // expectations, renewed ones too
	CountMatched       = "expect-matched" // by a first packet, that may be dropped yet
	CountExpired       = "expect-expired"
	CountRefusedBusy   = "expect-refused-busy"   // overlaps another
	CountRefusedFull   = "expect-refused-full"   // the table is full
	CountRefusedHost   = "expect-refused-host"   // the host has its share of the table
	CountRefusedMaster = "expect-refused-master" // the master is gone
	CountReserveFailed = "reserve-failed"        // no outside port or call ID was free
	CountDesync        = "desync"                // the helper gave a stream up, or the kit did
	CountHeld          = "held"                  // segments that waited
	CountLetGo         = "let-go"                // times that held bytes left unread: too long, or beyond the window
	CountDrops         = "drops"                 // packets refused
	CountPanics        = "panics"
)

var countNames = []string{
	CountAttached, CountDetached, CountEdits, CountCreated, CountMatched, CountExpired, CountRefusedBusy,
	CountRefusedFull, CountRefusedHost, CountRefusedMaster, CountReserveFailed, CountDesync, CountHeld, CountLetGo,
	CountDrops, CountPanics,
}

// maxCounters bounds what a helper may name.
const maxCounters = 64

// counters are named numbers. The zero value has none. Its methods may be called at once.
type counters struct {
	mu sync.RWMutex
	n  map[string]*atomic.Uint64 // guarded by mu; the numbers are not
}

func (c *counters) add(name string) {
	c.mu.RLock()
	n := c.n[name]
	c.mu.RUnlock()
	if n == nil {
		if n = c.make(name); n == nil {
			return
		}
	}
	n.Add(1)
}

func (c *counters) make(name string) *atomic.Uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]*atomic.Uint64{}
	}
	if c.n[name] == nil && len(c.n) < maxCounters {
		c.n[name] = new(atomic.Uint64)
	}
	return c.n[name]
}

// read returns the numbers, those of the kit always among them.
func (c *counters) read() map[string]uint64 {
	all := make(map[string]uint64, maxCounters)
	for _, name := range countNames {
		all[name] = 0
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	for name, n := range maps.All(c.n) {
		all[name] = n.Load()
	}
	return all
}
