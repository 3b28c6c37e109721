package router

import (
	"sync"

	"github.com/natrouter/natrouter/router/packet"
)

// dropsLogged is how many drops a second are logged at most; the others are only counted.
const dropsLogged = 20

// dropLog bounds the log of drops.
type dropLog struct {
	mu      sync.Mutex
	second  packet.Time // guarded by mu: the second that count is of
	count   int         // guarded by mu
	skipped int         // guarded by mu
}

// allow reports whether a drop may be logged now, and how many were not since the last one.
func (d *dropLog) allow(now packet.Time) (skipped int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if second := now / 1e9; second != d.second {
		d.second, d.count = second, 0
	}
	if d.count == dropsLogged {
		d.skipped++
		return 0, false
	}
	d.count++
	skipped, d.skipped = d.skipped, 0
	return skipped, true
}

// logDrop logs a refused packet where [log] drops asks for it.
func (r *Router) logDrop(p *Packet, at named) {
	if !r.cfg.LogDrops {
		return
	}
	skipped, ok := r.dropLog.allow(p.now)
	if !ok {
		return
	}
	args := []any{"reason", p.Reason.String(), "hook", at.Name(), "bytes", len(p.Bytes)}
	if p.in != nil {
		args = append(args, "in", p.in.name)
	}
	if p.out != nil {
		args = append(args, "out", p.out.name)
	}
	if p.H.Family != 0 {
		src, dst := addresses(p.Bytes, &p.H)
		args = append(args, "protocol", p.H.Proto, "src", addrOf(src), "dst", addrOf(dst))
	}
	if skipped > 0 {
		args = append(args, "not_logged", skipped)
	}
	r.log.Warn("drop", args...)
}
