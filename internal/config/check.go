package config

import (
	"fmt"
	"strings"

	"github.com/natrouter/natrouter/router"
	"github.com/natrouter/natrouter/router/ruleset"
)

// check asks the rooms that own the rules what is wrong with them, and says where in the file that is. Of a file that
// could not be read as a whole it tells only mistakes of tables that were.
func (b *builder) check(cfg *router.Config, root *table) {
	whole := len(b.errors) == 0
	tables := map[string][]*table{"route": b.routes}
	for _, p := range cfg.Check() {
		t := b.tableAt(root, tables, p.At)
		if !whole && (p.Severity == ruleset.Warning || t.unread(p.At.Key)) {
			continue
		}
		other := ""
		if p.Other != (ruleset.Place{}) {
			o := b.tableAt(root, tables, p.Other)
			if !whole && (t.unread("") || o.unread("")) {
				continue
			}
			other = fmt.Sprintf("line %d", b.lineAt(o, p.Other))
		}
		if line := b.lineAt(t, p.At); p.Severity == ruleset.Mistake {
			b.errorf(line, "%s", p.Message(other))
		} else {
			b.warnf(line, "%s", p.Message(other))
		}
	}
}

// tableAt returns the table of a place. known keeps the tables of a name for the next place.
func (b *builder) tableAt(root *table, known map[string][]*table, at ruleset.Place) *table {
	list, ok := known[at.Table]
	if !ok {
		list = tablesAt(root, strings.Split(at.Table, "."))
		known[at.Table] = list
	}
	if i := max(at.Index, 0); i < len(list) {
		return list[i]
	}
	return &table{key: root.key, mark: root.mark, broken: map[string]bool{"": root.has(at.Table)}}
}

// lineAt returns the line of a place in its table.
func (b *builder) lineAt(t *table, at ruleset.Place) int {
	switch {
	case at.Table == "route" && at.Key == "to": // a [[route]] has several
		return b.file.Config.Routes[at.Index].Line
	case at.Key == "" || t.path == "":
		return t.mark.line
	case at.Item > 0:
		return t.item(at.Key, at.Item-1)
	}
	return t.line(at.Key)
}

// unread reports whether what is said of a key, or of the table as a whole if it is empty, may come from values that
// could not be read, or from a key whose absence is a mistake of its own.
func (t *table) unread(key string) bool {
	if k := find(t.keys, key); k != nil && k.required != "" && !t.has(key) {
		return true
	}
	if key != "" {
		return t.broken[key]
	}
	for _, broken := range t.broken {
		if broken {
			return true
		}
	}
	return false
}
