package config

import (
	"fmt"
	"slices"
	"strings"
)

// unbuilt are the keys whose feature isn't built yet. Whoever builds one deletes its row.
var unbuilt = []struct {
	key string // with the path of its table

	// built are the values that the key takes, the first the one to be advised; nil: its default alone.
	built []any
}{
	{key: "helper.name", built: []any{noHelper, "pptp", "ftp", "tftp", "irc"}},
	{key: "filter.rule.helper", built: []any{"", "pptp", "ftp", "tftp", "irc"}},
	{key: "metrics.listen"},
}

// features reports what the file asks for and nobody has built.
func (b *builder) features(root *table) {
	for _, f := range unbuilt {
		path := strings.Split(f.key, ".")
		name := path[len(path)-1]
		for _, t := range tablesAt(root, path[:len(path)-1]) {
			k := find(t.keys, name)
			v, given := t.values[name]
			built := f.built
			if built == nil {
				built = []any{k.def}
			}
			if given && !slices.Contains(built, v) && !b.reported(t.line(name)) {
				b.errorf(t.line(name), "%s = %s is not supported yet: %s", name, literal(v), leaveOut(t, built[0]))
			}
		}
	}
}

// reported reports whether a line has a mistake already: that it isn't supported would be no help then.
func (b *builder) reported(line int) bool {
	return slices.ContainsFunc(b.errors, func(e Error) bool { return e.Line == line })
}

// tablesAt returns the tables of a path, in the order of the file; for a single one that the file lacks, an empty one.
func tablesAt(root *table, path []string) []*table {
	all := []*table{root}
	for _, name := range path {
		var next []*table
		for _, t := range all {
			if find(t.keys, name).array {
				next = append(next, t.tables[name]...)
			} else {
				next = append(next, t.sub(name))
			}
		}
		all = next
	}
	return all
}

func leaveOut(t *table, only any) string {
	switch {
	case t.key.array:
		return fmt.Sprintf("write %s, or remove this %s", literal(only), t.title())
	case only == "":
		return "remove it"
	}
	return fmt.Sprintf("write %s, or remove it", literal(only))
}

// literal returns a value as it is written in the file.
func literal(v any) string {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprint(v)
}
