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
}

// String returns "FILE:LINE: key".
func (c Change) String() string { return place(c.File, c.Line) + c.Key }

// Changes returns what differs between two files that [Parse] accepted, as they are written, by line: a value that is
// only written in another way counts. name stands for the newer one in messages. Where both have interfaces of the same
// names in the same order, their addresses are left out: compare the Address of what Parse returned.
func Changes(name string, old, fresh []byte) []Change {
	var a, b map[string]any
	// There is no error: both were decoded before.
	_, _ = toml.Decode(string(old), &a)
	_, _ = toml.Decode(string(fresh), &b)
	c := comparison{file: name, addresses: slices.Equal(interfaceNames(a), interfaceNames(b))}
	c.tables("", a, b, scanMarks(string(fresh)))
	slices.SortStableFunc(c.changes, func(a, b Change) int { return cmp.Or(a.Line-b.Line, cmp.Compare(a.Key, b.Key)) })
	return c.changes
}

func interfaceNames(root map[string]any) (names []string) {
	list, _ := root["interface"].([]map[string]any)
	for _, t := range list {
		names = append(names, fmt.Sprint(t["name"]))
	}
	return names
}

// comparison collects changes.
type comparison struct {
	file      string
	addresses bool // interface[i].address is not looked at
	changes   []Change
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
		if c.addresses && name == "address" && strings.HasPrefix(path, "interface[") {
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
	switch b := b.(type) {
	case map[string]any:
		if a, ok := a.(map[string]any); ok {
			c.tables(path, a, b, m)
			return
		}
	case []map[string]any:
		if a, ok := a.([]map[string]any); ok {
			c.lists(path, a, b, m)
			return
		}
	}
	c.changes = append(c.changes, Change{path, c.file, m.line})
}

// lists compares [[tables]] in their order.
func (c *comparison) lists(path string, a, b []map[string]any, m *mark) {
	for i := range max(len(a), len(b)) {
		at := fmt.Sprintf("%s[%d]", path, i)
		if i < len(a) && i < len(b) {
			c.tables(at, a[i], b[i], m.item(i))
		} else {
			c.changes = append(c.changes, Change{at, c.file, m.item(i).line})
		}
	}
}
