package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Change is one key that two configuration files do not agree about.
type Change struct {
	Key  string // as "conntrack.max", "interface[0].mtu"; a table that only one of them has: "nat[2]"
	File string // the newer one
	Line int    // in the newer file; of a key that it no longer has: of the table that had it
	What string // "added", "changed" or "removed"

	old any // what the older file has there, nil: nothing
}

// String returns "FILE:LINE: key what", as "natrouter.toml:9: conntrack.max changed".
func (c Change) String() string { return place(c.File, c.Line) + c.Key + " " + c.What }

// Changes returns what differs between two files that [Parse] accepted, as they are written, by line: a value that is
// only written in another way counts. name stands for the newer one in messages. Interfaces are compared by name, in
// whatever order they stand; one that only one file has is one change, with its name for a key that is no longer there:
// `interface "lan1"`. The address of an interface that both have is left out: compare what Parse returned.
func Changes(name string, old, fresh []byte) []Change {
	var a, b map[string]any
	// There is no error: both were decoded before.
	_, _ = toml.Decode(string(old), &a)
	_, _ = toml.Decode(string(fresh), &b)
	c := comparison{file: name}
	c.tables("", a, b, scanMarks(string(fresh)))
	slices.SortStableFunc(c.changes, func(a, b Change) int { return cmp.Or(a.Line-b.Line, cmp.Compare(a.Key, b.Key)) })
	return c.changes
}

// comparison collects changes.
type comparison struct {
	file    string
	changes []Change
}

func (c *comparison) add(path string, a, b any, m *mark) {
	what := "changed"
	switch {
	case a == nil:
		what = "added"
	case b == nil:
		what = "removed"
	}
	c.changes = append(c.changes, Change{path, c.file, m.line, what, a})
}

func (c *comparison) tables(path string, a, b map[string]any, m *mark) {
	names := map[string]bool{}
	for name := range a {
		names[name] = true
	}
	for name := range b {
		names[name] = true
	}
	for name := range names {
		if isOwnAddress(path, name) {
			continue
		}
		c.values(join(path, name), a[name], b[name], m.key(name))
	}
}

// values compares what two files have for a key: nil where one has nothing.
func (c *comparison) values(path string, a, b any, m *mark) {
	if reflect.DeepEqual(a, b) {
		return
	}
	if a, ok := a.(map[string]any); ok {
		if b, ok := b.(map[string]any); ok {
			c.tables(path, a, b, m)
			return
		}
	}
	old, both := tableList(a)
	if fresh, ok := tableList(b); ok && both {
		if path == interfacesKey {
			c.interfaces(old, fresh, m)
		} else {
			c.lists(path, old, fresh, m)
		}
		return
	}
	c.add(path, a, b, m)
}

// tableList returns an array of tables, which may also be written as a list of inline ones.
func tableList(v any) (list []map[string]any, ok bool) {
	if list, ok = v.([]map[string]any); ok {
		return list, true
	}
	elements, _ := v.([]any)
	for _, e := range elements {
		t, ok := e.(map[string]any)
		if !ok {
			return nil, false
		}
		list = append(list, t)
	}
	return list, len(list) > 0
}

// interfacesKey is the list whose tables have names.
const interfacesKey = "interface"

// isOwnAddress reports whether a key of the table at path is the address of an interface, which may change while the
// router runs.
func isOwnAddress(path, key string) bool {
	return key == "address" && strings.HasPrefix(path, interfacesKey+"[")
}

// interfaces compares [[interface]] tables by name.
func (c *comparison) interfaces(a, b []map[string]any, m *mark) {
	old := map[any]map[string]any{}
	for _, t := range a {
		old[t["name"]] = t
	}
	for i, t := range b {
		at := fmt.Sprintf("%s[%d]", interfacesKey, i)
		if before, ok := old[t["name"]]; ok {
			c.tables(at, before, t, m.item(i))
		} else {
			c.add(at, nil, t, m.item(i))
		}
		delete(old, t["name"])
	}
	for name, t := range old {
		c.add(fmt.Sprintf("%s %q", interfacesKey, name), t, nil, &mark{line: m.line})
	}
}

// lists compares [[tables]] in their order.
func (c *comparison) lists(path string, a, b []map[string]any, m *mark) {
	for i := range max(len(a), len(b)) {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case i >= len(a):
			c.add(at, nil, b[i], m.item(i))
		case i >= len(b):
			c.add(at, a[i], nil, m.item(i))
		default:
			c.tables(at, a[i], b[i], m.item(i))
		}
	}
}
