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
// the addresses of interfaces. One goroutine uses it.
type reloader struct {
	path       string
	text       []byte             // what the router was started with
	interfaces []router.Interface // with the addresses that they have now
	set        func(iface string, addrs []netip.Prefix) error
	log        *slog.Logger
}

// reload logs every mistake of the file, and changes nothing then; every key that needs a restart; and one line of what
// was applied.
func (r *reloader) reload() {
	file, text, err := readConfig(r.path)
	if err != nil {
		r.refuse(err)
		return
	}
	for _, w := range file.Warnings {
		r.log.Warn(w.String())
	}
	waiting := config.Changes(r.path, r.text, text)
	for _, c := range waiting {
		r.log.Warn(c.String() + " changed: restart the router to apply it")
	}
	var applied []string
	if sameNames(r.interfaces, file.Config.Interfaces) {
		applied = r.readdress(file.Config.Interfaces)
	}
	what := "nothing"
	if len(applied) > 0 {
		what = strings.Join(applied, "; ")
	}
	r.log.Info("reloaded", "applied", what, "need_restart", len(waiting))
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

func sameNames(a, b []router.Interface) bool {
	return slices.EqualFunc(a, b, func(x, y router.Interface) bool { return x.Name == y.Name })
}

// readdress gives the interfaces the addresses of fresh, and returns what changed. What one interface loses to another
// goes first: no address may be at two.
func (r *reloader) readdress(fresh []router.Interface) (applied []string) {
	for i := range r.interfaces {
		if old := r.interfaces[i].Address; moves(old, fresh, i) {
			r.apply(i, fresh[i].Line, slices.DeleteFunc(slices.Clone(old), func(p netip.Prefix) bool {
				return !slices.Contains(fresh[i].Address, p)
			}))
		}
	}
	for i := range r.interfaces {
		addrs := fresh[i].Address
		if !slices.Equal(r.interfaces[i].Address, addrs) && r.apply(i, fresh[i].Line, addrs) {
			applied = append(applied, fmt.Sprintf("interface %s address %v", fresh[i].Name, addrs))
		}
	}
	return applied
}

// moves reports whether another interface than i is to get one of the addresses.
func moves(addrs []netip.Prefix, fresh []router.Interface, i int) bool {
	for j := range fresh {
		for _, p := range fresh[j].Address {
			if j != i && slices.ContainsFunc(addrs, func(q netip.Prefix) bool { return q.Addr() == p.Addr() }) {
				return true
			}
		}
	}
	return false
}

func (r *reloader) apply(i, line int, addrs []netip.Prefix) bool {
	if err := r.set(r.interfaces[i].Name, addrs); err != nil {
		r.log.Error(config.Error{File: r.path, Line: line, Message: err.Error()}.Error())
		return false
	}
	r.interfaces[i].Address = addrs
	return true
}
