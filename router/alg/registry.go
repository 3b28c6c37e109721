package alg

import (
	"errors"
	"fmt"
	"sync"

	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/packet"
)

// None is the name of a rule that assigns no helper; no helper may have it.
const None = "none"

const (
	maxName    = 15  // characters of a helper's name
	maxHelpers = 255 // Conn.Helper is 8 bits, and 0 is none
)

// Errors of a Registry.
var (
	ErrExists = errors.New("helper exists") // same name, or same port, of one protocol
	ErrInUse  = errors.New("helper is used by a rule")
	ErrNone   = errors.New("no such helper")
)

// Registry holds the helpers that a router knows. A helper's id, its place from 1 on, is what a connection names it
// by. The zero value is empty. Its methods may be called at once.
type Registry struct {
	mu      sync.RWMutex
	helpers []*registered // guarded by mu; id-1; nil: unregistered
}

// registered is a helper in a registry.
type registered struct {
	Helper
	Spec
	id       uint8
	defaults any // what Configure(nil) returned
	counters counters
}

// NewRegistry registers helpers, in order. It fails with ErrExists if two of one protocol have the same name or port.
func NewRegistry(helpers ...Helper) (*Registry, error) {
	r := &Registry{}
	for _, h := range helpers {
		if err := r.add(h); err != nil {
			return nil, fmt.Errorf("helper %q: %w", h.Spec().Name, err)
		}
	}
	return r, nil
}

func (r *Registry) add(h Helper) error {
	e := &registered{Helper: h, Spec: h.Spec(), id: uint8(len(r.helpers) + 1)}
	if err := e.check(); err != nil {
		return err
	}
	if len(r.helpers) == maxHelpers {
		return errors.New("too many helpers")
	}
	for _, o := range r.helpers {
		if o.Proto == e.Proto && (o.Name == e.Name || o.Port == e.Port) {
			return ErrExists
		}
	}
	var err error
	if e.defaults, err = h.Configure(nil); err != nil {
		return err
	}
	r.helpers = append(r.helpers, e)
	return nil
}

// check refuses what a helper may not be.
func (e *registered) check() error {
	_, stream := e.Helper.(StreamHelper)
	_, datagram := e.Helper.(DatagramHelper)
	switch {
	case e.Name == "" || e.Name == None || len(e.Name) > maxName:
		return fmt.Errorf("a name has 1 to %d characters and is not %q", maxName, None)
	case e.Port == 0:
		return errors.New("a helper has a port")
	case len(e.Classes) > conntrack.MaxClasses:
		return fmt.Errorf("more than %d classes", conntrack.MaxClasses)
	case e.Proto == packet.ProtoTCP && !stream:
		return errors.New("a helper of TCP is a StreamHelper")
	case e.Proto == packet.ProtoUDP && !datagram:
		return errors.New("a helper of UDP is a DatagramHelper")
	case e.Proto != packet.ProtoTCP && e.Proto != packet.ProtoUDP:
		return errors.New("a helper is one of TCP or UDP")
	}
	return nil
}

// byID returns a registered helper, nil if there is none.
func (r *Registry) byID(id uint8) *registered {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if id == 0 || int(id) > len(r.helpers) {
		return nil
	}
	return r.helpers[id-1]
}

// byName returns the helper of a name and protocol; protocol 0 stands for the first of any.
func (r *Registry) byName(name string, proto uint8) *registered {
	return r.find(func(e *registered) bool { return e.Name == name && (proto == 0 || e.Proto == proto) })
}

// byPort returns the helper of a server port.
func (r *Registry) byPort(proto uint8, port uint16) *registered {
	return r.find(func(e *registered) bool { return e.Proto == proto && e.Port == port })
}

func (r *Registry) find(f func(*registered) bool) *registered {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, e := range r.helpers {
		if e != nil && f(e) {
			return e
		}
	}
	return nil
}

// all returns the registered helpers in order.
func (r *Registry) all() (list []*registered) {
	r.find(func(e *registered) bool {
		list = append(list, e)
		return false
	})
	return list
}

// Name returns the name of a helper by its id, empty if there is none.
func (r *Registry) Name(id uint8) string {
	if e := r.byID(id); e != nil {
		return e.Name
	}
	return ""
}

// ID returns the id of a helper by its name, the first of that name; 0 if there is none.
func (r *Registry) ID(name string) uint8 {
	if e := r.byName(name, 0); e != nil {
		return e.id
	}
	return 0
}

// remove forgets a helper. Its id is not used again.
func (r *Registry) remove(e *registered) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.helpers[e.id-1] = nil
}
