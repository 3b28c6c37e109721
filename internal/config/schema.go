package config

import (
	"slices"
	"time"
)

// key is one key of the file: what may stand there, and what holds if it doesn't.
type key struct {
	name string
	read reader // of the value; nil for tables

	// def is the value without the key, of the type that read returns. A key without default has required set, or its
	// table says what its absence means.
	def      any
	required string // the key must be there, and this is what may stand there

	keys  []key // of a table
	array bool  // [[name]]: a list of tables
	// more are further keys of a table, chosen by what it holds.
	more func(raw map[string]any) []key
}

// isTable reports whether the key is a table or an array of them.
func (k *key) isTable() bool { return k.read == nil }

// table is one table of the file, checked key by key.
type table struct {
	key    *key
	path   string // as in its header: conntrack.timeout; "" for the file
	mark   *mark
	keys   []key
	values map[string]any      // what was read
	given  map[string]bool     // keys that the file has, also with values that couldn't be read
	broken map[string]bool     // keys whose value couldn't be read, or a part of it
	tables map[string][]*table // below this one
}

// value returns what a key holds, or its default. It panics if no such key is in the schema or it has another type:
// that is a mistake of this package.
func value[T any](t *table, name string) T {
	if v, ok := t.values[name]; ok {
		return v.(T)
	}
	k := find(t.keys, name)
	if k == nil {
		panic("config: no key " + name + " in " + t.path)
	}
	v, _ := k.def.(T)
	return v
}

// has reports whether the file gives a key. An empty text or list counts as left out.
func (t *table) has(name string) bool { return t.given[name] }

// line returns the line of a key, or of its table.
func (t *table) line(name string) int { return t.mark.key(name).line }

// item returns the line of the i-th element of a key.
func (t *table) item(name string, i int) int { return t.mark.key(name).item(i).line }

// sub returns the one table of that name; without one in the file, an empty one, so that defaults can be asked for.
func (t *table) sub(name string) *table {
	if l := t.tables[name]; len(l) > 0 {
		return l[0]
	}
	k := find(t.keys, name)
	return &table{key: k, path: join(t.path, name), mark: t.mark, keys: k.keys}
}

// title names a table as it stands in the file.
func (t *table) title() string {
	if t.key.array {
		return "[[" + t.path + "]]"
	}
	return "[" + t.path + "]"
}

func find(keys []key, name string) *key {
	if i := slices.IndexFunc(keys, func(k key) bool { return k.name == name }); i >= 0 {
		return &keys[i]
	}
	return nil
}

// leftOut reports whether a value means that the key isn't there: "" or [], where they can't be values.
func (k *key) leftOut(v any) bool {
	switch k.def.(type) {
	case int, bool, time.Duration:
		return false
	}
	l, isList := v.([]any)
	return !k.isTable() && (v == "" || isList && len(l) == 0)
}

func names(keys []key) []string {
	list := make([]string, len(keys))
	for i := range keys {
		list[i] = keys[i].name
	}
	return list
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
