package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/natrouter/natrouter/internal/config"
	"github.com/natrouter/natrouter/router"
)

// readConfig is loadConfig that also returns the text.
func readConfig(path string) (*config.File, []byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		file, err := loadConfig(path) // says it better
		return file, nil, err
	}
	file, err := config.Parse(path, text)
	if err != nil {
		return nil, nil, &exitError{code: exitUsage, err: err, bare: true}
	}
	return file, text, nil
}

// reloader does what SIGHUP asks for: it reads the configuration again and applies what can change in a running router,
// the addresses of interfaces. What is in force are the text of the start, but for those addresses, and interfaces. One
// goroutine uses it.
type reloader struct {
	path       string
	text       []byte             // what the router was started with
	started    [][]netip.Prefix   // the addresses of interfaces then, in their order
	interfaces []router.Interface // with the addresses that they have now
	set        func(iface string, addrs []netip.Prefix) error
	log        *slog.Logger
}

func newReloader(file *config.File, text []byte, set func(string, []netip.Prefix) error, log *slog.Logger) *reloader {
	r := &reloader{path: file.Name, text: text, interfaces: slices.Clone(file.Config.Interfaces), set: set, log: log}
	for i := range r.interfaces {
		r.started = append(r.started, r.interfaces[i].Address)
	}
	return r
}

// reload logs every mistake of the file, and changes nothing then; every key that needs a restart; what names an address
// that is gone; and one line of what was applied.
func (r *reloader) reload() {
	file, text, err := readConfig(r.path)
	if err != nil {
		r.refuse(err)
		return
	}
	for _, w := range file.Warnings {
		r.log.Warn(w.String())
	}
	applied, waiting := r.readdress(file.Config.Interfaces)
	moved := r.moved()
	for _, w := range config.Stale(r.path, text, moved) {
		r.log.Warn(w.String())
	}
	for _, c := range config.Changes(r.path, r.text, text) {
		waiting++
		until := ""
		if why := c.Stale(moved); why != "" {
			until = "; until then it names " + why
		}
		r.log.Warn(c.String() + ": restart the router to apply it" + until)
	}
	what := "nothing"
	if len(applied) > 0 {
		what = strings.Join(applied, "; ")
	}
	r.log.Info("reloaded", "applied", what, "need_restart", waiting)
}

// refuse logs why a file isn't used, a line for each mistake.
func (r *reloader) refuse(err error) {
	var list config.Errors
	if !errors.As(err, &list) {
		list = config.Errors{{File: r.path, Message: err.Error()}}
	}
	for _, e := range list {
		r.log.Error(e.Error())
	}
	r.log.Error("reload refused: nothing is changed", "mistakes", len(list))
}

// readdress gives the interfaces the addresses that those of the same name have in fresh, and returns what changed, and how
// many could not be changed. What one interface loses to another goes first: no address may be at two.
func (r *reloader) readdress(fresh []router.Interface) (applied []string, waiting int) {
	for i := range r.interfaces {
		in := &r.interfaces[i]
		if next := named(fresh, in.Name); next != nil && moves(in.Address, fresh, in.Name) {
			r.apply(in, next.Line, slices.DeleteFunc(slices.Clone(in.Address), func(p netip.Prefix) bool {
				return !slices.Contains(next.Address, p)
			}))
		}
	}
	for i := range r.interfaces {
		in := &r.interfaces[i]
		next := named(fresh, in.Name)
		switch {
		case next == nil || slices.Equal(in.Address, next.Address):
		case r.apply(in, next.Line, next.Address):
			applied = append(applied, fmt.Sprintf("interface %s address %v", in.Name, in.Address))
		default:
			waiting++
		}
	}
	return applied, waiting
}

// named returns the interface of that name, nil if there is none.
func named(interfaces []router.Interface, name string) *router.Interface {
	for i := range interfaces {
		if interfaces[i].Name == name {
			return &interfaces[i]
		}
	}
	return nil
}

// moves reports whether an interface of another name is to get an address in one of the networks.
func moves(networks []netip.Prefix, fresh []router.Interface, name string) bool {
	for i := range fresh {
		for _, p := range fresh[i].Address {
			if fresh[i].Name != name && slices.ContainsFunc(networks, p.Overlaps) {
				return true
			}
		}
	}
	return false
}

func (r *reloader) apply(in *router.Interface, line int, addrs []netip.Prefix) bool {
	err := r.overlap(in.Name, addrs)
	if err == nil {
		err = r.set(in.Name, addrs)
	}
	if err != nil {
		message := fmt.Sprintf("%v: restart the router to apply it", err)
		r.log.Error(config.Error{File: r.path, Line: line, Message: message}.Error())
		return false
	}
	in.Address = addrs
	return true
}

// overlap refuses addresses in the network of another interface that is in force. The file has no such thing, but the
// router may still have an interface that the file no longer has, or one whose addresses could not be changed.
func (r *reloader) overlap(name string, addrs []netip.Prefix) error {
	for i := range r.interfaces {
		other := &r.interfaces[i]
		for _, p := range addrs {
			at := slices.IndexFunc(other.Address, p.Overlaps)
			if other.Name != name && at >= 0 {
				return fmt.Errorf("interface %s: address %s is in %s of interface %s, which the router still has", name, p,
					other.Address[at].Masked(), other.Name)
			}
		}
	}
	return nil
}

// moved returns the interfaces that have lost addresses since the start.
func (r *reloader) moved() (moved []config.Readdressed) {
	now := map[netip.Addr]bool{}
	for i := range r.interfaces {
		for _, p := range r.interfaces[i].Address {
			now[p.Addr()] = true
		}
	}
	for i := range r.interfaces {
		m := config.Readdressed{Interface: r.interfaces[i].Name}
		for _, p := range r.started[i] {
			if !now[p.Addr()] {
				m.Gone = append(m.Gone, p.Addr())
			}
		}
		for _, p := range r.interfaces[i].Address {
			m.Now = append(m.Now, p.Addr())
		}
		if len(m.Gone) > 0 {
			moved = append(moved, m)
		}
	}
	return moved
}
