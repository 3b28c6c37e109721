package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/natrouter/natrouter/router/ruleset"
)

// decoder turns the file into tables of checked values.
type decoder struct {
	*problems
	schema *key
}

// decode reads a whole file. The tree that it returns is nil if the text is no TOML.
func (d *decoder) decode(text string) *table {
	raw := map[string]any{}
	if _, err := toml.Decode(text, &raw); err != nil {
		d.syntax(err)
		return nil
	}
	return d.table(d.schema, "", raw, scanMarks(text))
}

// syntax reports what the TOML library refuses: it finds the first mistake only.
func (d *decoder) syntax(err error) {
	var pe toml.ParseError
	if !errors.As(err, &pe) {
		d.errorf(1, "this is no TOML: %v", err)
		return
	}
	message := strings.TrimSuffix(pe.Message, ".")
	for _, h := range syntaxHints {
		if strings.Contains(message, h.has) {
			message += ": " + h.remedy
			break
		}
	}
	d.errorf(max(pe.Position.Line, 1), "%s", message)
}

// syntaxHints are remedies for the library's messages, by a part of them.
var syntaxHints = []struct{ has, remedy string }{
	{`expected value but found '\n'`, `write a value after the "=", or remove the key`},
	{"expected value but found", `text stands in quotes, as in name = "lan0"; true, false and numbers without`},
	{"unexpected EOF; expected value", `write a value after the "=", or remove the key`},
	{"has already been defined", "remove one of the two, or start a new [[table]] for the second"},
	{"was already created", "a [table] may stand once; a list of tables has two brackets, [[table]], every time"},
	{"expected a top-level item to end", "write one key on a line, and a text in one pair of quotes"},
	{"expected '.' or '='", "write key = value"},
	{"strings cannot contain newlines", `close the text with " on the same line`},
	{"expected a comma", `separate the elements of a list with commas and close it with "]"`},
	{"newlines not allowed within inline tables", "write { … } on one line, or use a [table]"},
	{"cannot have leading zeroes", "write the number without the zero in front"},
}

// table reads one table.
func (d *decoder) table(k *key, path string, raw map[string]any, m *mark) *table {
	t := &table{
		key: k, path: path, mark: m, keys: k.keys,
		values: map[string]any{}, given: map[string]bool{}, broken: map[string]bool{}, tables: map[string][]*table{},
	}
	if k.more != nil {
		t.keys = append(slices.Clone(t.keys), k.more(raw)...)
	}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		sub, at := find(t.keys, name), m.key(name)
		if sub != nil && sub.leftOut(raw[name]) {
			continue
		}
		t.given[name] = true
		switch {
		case sub == nil:
			d.unknown(t, raw, name, at)
		case sub.isTable():
			t.tables[name] = d.tables(sub, join(path, name), raw[name], at)
		default:
			v, ok := sub.read(d.problems, name, raw[name], at)
			if v != nil {
				t.values[name] = v
			}
			t.broken[name] = !ok
		}
	}
	for i := range t.keys {
		if k := &t.keys[i]; k.required != "" && !t.has(k.name) {
			d.errorf(t.line(k.name), "%s has no %s: add one, as in %s = %q", t.title(), k.name, k.name, k.required)
		}
	}
	return t
}

// tables reads the value of a key that is a table or an array of tables.
func (d *decoder) tables(k *key, path string, raw any, m *mark) []*table {
	var list []map[string]any
	switch raw := raw.(type) {
	case map[string]any:
		if k.array {
			d.errorf(m.line, "[%s] may stand several times: write [[%s]], with two brackets", path, path)
			return nil
		}
		return []*table{d.table(k, path, raw, m)}
	case []map[string]any:
		list = raw
	case []any:
		for i, e := range raw {
			sub, ok := e.(map[string]any)
			if !ok {
				d.errorf(m.item(i).line, "%s is a table, not %s: write %s", path, describe(e), header(k, path))
				return nil
			}
			list = append(list, sub)
		}
	default:
		d.errorf(m.line, "%s is a table, not %s: write %s", path, describe(raw), header(k, path))
		return nil
	}
	if !k.array {
		d.errorf(m.item(0).line, "[[%s]] may stand only once: write [%s], with one bracket", path, path)
		return nil
	}
	var tables []*table
	for i, sub := range list {
		tables = append(tables, d.table(k, path, sub, m.item(i)))
	}
	return tables
}

func header(k *key, path string) string {
	if k.array {
		return "[[" + path + "]] and its keys below it"
	}
	return "[" + path + "] and its keys below it"
}

// unknown reports a key that is not in the schema, with the remedy: where such a key does stand, the nearest one, or
// all where none is near.
func (d *decoder) unknown(t *table, raw map[string]any, name string, m *mark) {
	line := m.item(0).line // of the first of an array of tables
	where := "at the top of the file"
	if t.path != "" {
		where = "in " + t.title()
	}
	if helper, ok := raw["name"].(string); ok && t.key.more != nil {
		where += fmt.Sprintf(" with name = %q", helper)
	}
	near, ok := ruleset.Nearest(name, names(t.keys))
	if home := d.home(d.schema, "", name); len(home) > 0 && ruleset.Distance(name, near) > max(1, len(name)/4) {
		d.errorf(line, "unknown key %q %s: it belongs in %s", name, where, strings.Join(home, " or "))
		return
	}
	if !ok {
		d.errorf(line, "unknown key %q %s: write %s", name, where, ruleset.Alternatives(names(t.keys)))
		return
	}
	d.errorf(line, "unknown key %q %s: the nearest known key is %q", name, where, near)
}

// home returns the titles of the tables that have a key of this name.
func (d *decoder) home(k *key, path, name string) (titles []string) {
	for _, owner := range helperNames(false) {
		if k.more != nil && find(helpers[owner].options, name) != nil {
			titles = append(titles, fmt.Sprintf("[[%s]] with name = %q", path, owner))
		}
	}
	for i := range k.keys {
		sub := &k.keys[i]
		if sub.name == name && path != "" {
			t := table{key: k, path: path}
			titles = append(titles, t.title())
		}
		if sub.isTable() {
			titles = append(titles, d.home(sub, join(path, sub.name), name)...)
		}
	}
	return slices.Compact(titles)
}

// describe names the type of a value in the words of the file.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("the text %q", v)
	case bool:
		return fmt.Sprintf("%v", v)
	case int64:
		return fmt.Sprintf("the number %d", v)
	case float64:
		return fmt.Sprintf("the number %v", v)
	case []any, []map[string]any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date" // or a time
}
