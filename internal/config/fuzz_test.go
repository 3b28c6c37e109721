package config

import (
	"bytes"
	"errors"
	"math/big"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/natrouter/natrouter/router/conntrack"
	"github.com/natrouter/natrouter/router/ruleset"
)

func addFiles(f *testing.F) {
	f.Helper()
	for _, path := range []string{examplePath, "../../examples/two-namespaces/natrouter.toml"} {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
		f.Add(shownDefault.ReplaceAllString(string(data), "$1"))
	}
	cases, err := os.ReadFile("testdata/errors.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range strings.Split(string(cases), "### ")[1:] {
		_, text, _ := strings.Cut(c, "\n")
		f.Add(text[:strings.Index(text+"\n> ", "\n> ")] + twoSides)
	}
}

// FuzzParse: every mistake has a line of the file and is one line itself; and what is accepted says the same when it is
// written again by the library, with keys in another order and other quotes.
func FuzzParse(f *testing.F) {
	addFiles(f)
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse("f", []byte(text))
		if err != nil {
			var list Errors
			if !errors.As(err, &list) || len(list) == 0 {
				t.Fatalf("error %T %v", err, err)
			}
			last := strings.Count(text, "\n") + 1
			for i, e := range list {
				if e.Line < 1 || e.Line > last || e.Message == "" || strings.Contains(e.Error(), "\n") || i > 0 && e.Line < list[i-1].Line {
					t.Errorf("mistake %d of %d lines: %q", i, last, e.Error())
				}
			}
			return
		}
		tree := map[string]any{}
		if _, err := toml.Decode(text, &tree); err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		if err := toml.NewEncoder(&again).Encode(tree); err != nil {
			return // the library can't write all that it reads, as a list of several types
		}
		file2, err := Parse("f", again.Bytes())
		if err != nil {
			t.Fatalf("written again it is refused: %v\n%s", err, again.String())
		}
		withoutLines(file)
		withoutLines(file2)
		if !reflect.DeepEqual(file, file2) {
			t.Errorf("written again it says\n%+v\nand not\n%+v", file2, file)
		}
	})
}

// withoutLines clears what depends on the form of a file.
func withoutLines(f *File) {
	f.Warnings = nil
	c := &f.Config
	for i := range c.Interfaces {
		c.Interfaces[i].Line = 0
	}
	for i := range c.Routes {
		c.Routes[i].Line = 0
	}
	for i := range c.NAT {
		c.NAT[i].Line = 0
	}
	for i := range c.Helpers {
		c.Helpers[i].Line = 0
	}
	for i := range c.Filter.Rules {
		c.Filter.Rules[i].Line = 0
	}
}

// FuzzMarks: the marks have the shape of the tree that the library reads, key by key and element by element, and a line
// that is in the file.
func FuzzMarks(f *testing.F) {
	addFiles(f)
	for _, text := range []string{
		"a.b.c = 1\na.b.d = 2\n[x.y]\nz = {p = [1, {q = 2}], r.s = 3}\n[[l]]\n[[l.m]]\nn = 1\n[[l]]\n[[l.m]]\n[l.o]\n",
		"\"quo\\u0074ed # key\" = '''\nline''''\nb = \"\"\"\n\\\"\"\"\" # c\n\"\"\"\n'lit.eral' = 1979-05-27 07:32:00Z\n",
		"a = [ # c ]\n  [1, 2], # d\n  [],\n\n]\nb = [ { c = 1 }, { c = \"]\" } ]\n",
		"[ a . \"b\" ]\nc = true # d\r\n[a]\ne = [\r\n]\r\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tree := map[string]any{}
		_, err := toml.Decode(text, &tree)
		root := scanMarks(text) // must end on any text
		if err == nil {
			sameShape(t, "", tree, root, strings.Count(text, "\n")+1)
		}
	})
}

func sameShape(t *testing.T, path string, v any, m *mark, last int) {
	if m.line < 1 || m.line > last {
		t.Errorf("%s is on line %d of %d", path, m.line, last)
	}
	switch v := v.(type) {
	case map[string]any:
		if len(m.keys) != len(v) || len(m.items) != 0 {
			t.Errorf("%s has %d keys and %d items, want %d and 0", path, len(m.keys), len(m.items), len(v))
		}
		for name, sub := range v {
			if k, ok := m.keys[name]; !ok {
				t.Errorf("%s.%q has no mark", path, name)
			} else {
				sameShape(t, path+"."+name, sub, k, last)
			}
		}
	case []map[string]any:
		sameShape(t, path, anyList(v), m, last)
	case []any:
		if len(m.items) != len(v) || len(m.keys) != 0 {
			t.Errorf("%s has %d items and %d keys, want %d and 0", path, len(m.items), len(m.keys), len(v))
			return
		}
		for i := range v {
			sameShape(t, path+"["+strconv.Itoa(i)+"]", v[i], m.items[i], last)
		}
	}
}

func anyList(tables []map[string]any) []any {
	var l []any
	for _, t := range tables {
		l = append(l, t)
	}
	return l
}

// slowDuration reads with a pattern and unbounded numbers.
func slowDuration(s string) (time.Duration, bool) {
	m := regexp.MustCompile(`^(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?(?:([0-9]+)ms)?$`).FindStringSubmatch(s)
	if m == nil || s == "" {
		return 0, false
	}
	sum := new(big.Int)
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second, time.Millisecond} {
		n, ok := new(big.Int).SetString("0"+m[i+1], 10)
		if !ok {
			return 0, false
		}
		sum.Add(sum, n.Mul(n, big.NewInt(int64(unit))))
	}
	return time.Duration(sum.Int64()), sum.IsInt64()
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"30s", "5m", "5d", "2h4m", "1d2h3m4s5ms", "0s", "", "1", "s", "1s1m", "1s1s", "1.5h", "-1s", "106752d", "99999999999999999999s", "1 s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseDuration(s)
		want, ok := slowDuration(s)
		if (err == nil) != ok || ok && got != want {
			t.Fatalf("parseDuration(%q) = %v, %v, want %v, %v", s, got, err, want, ok)
		}
		if !ok {
			return
		}
		if again, err := parseDuration(formatDuration(got)); err != nil || again != got {
			t.Errorf("%q is written %q, which is %v, %v", s, formatDuration(got), again, err)
		}
	})
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"64MiB", "4KiB", "1GiB", "7B", "4096", "", "MiB", "64MB", "64 MiB", "-1", "9223372036854775807", "8589934592GiB"} {
		f.Add(s)
	}
	units := map[string]int64{"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30}
	pattern := regexp.MustCompile(`^([0-9]+)(B|KiB|MiB|GiB|)$`)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseSize(s)
		want := new(big.Int)
		m := pattern.FindStringSubmatch(s)
		if m != nil {
			want.SetString(m[1], 10)
			want.Lsh(want, uint(units[m[2]]))
		}
		ok := m != nil && want.IsInt64()
		if (err == nil) != ok || ok && got != want.Int64() {
			t.Fatalf("parseSize(%q) = %v, %v, want %v, %v", s, got, err, want, ok)
		}
		if again, err := parseSize(formatSize(got)); ok && (err != nil || again != got) {
			t.Errorf("%q is written %q, which is %v, %v", s, formatSize(got), again, err)
		}
	})
}

func FuzzPorts(f *testing.F) {
	for _, s := range []string{"80", "1-65535", "0", "65536", "2-1", "1-", "-1", "1-2-3", "", "+1", "0x10", "080"} {
		f.Add(s)
	}
	pattern := regexp.MustCompile(`^([0-9]+)(?:-([0-9]+))?$`)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parsePorts(s)
		var want conntrack.PortRange
		m := pattern.FindStringSubmatch(s)
		ok := m != nil
		if ok {
			first, err1 := strconv.Atoi(m[1])
			last, err2 := first, err1
			if m[2] != "" {
				last, err2 = strconv.Atoi(m[2])
			}
			ok = err1 == nil && err2 == nil && 0 < first && first <= last && last <= 65535
			want = conntrack.PortRange{First: uint16(first), Last: uint16(last)}
		}
		if (err == nil) != ok || ok && got != want {
			t.Fatalf("parsePorts(%q) = %v, %v, want %v, %v", s, got, err, want, ok)
		}
		if again, err := parsePorts(formatPorts(got)); ok && (err != nil || again != got) {
			t.Errorf("%q is written %q, which is %v, %v", s, formatPorts(got), again, err)
		}
	})
}

// FuzzAddrRange: what is read is what net/netip reads of it, and a range ends where its prefix ends.
func FuzzAddrRange(f *testing.F) {
	for _, s := range []string{"10.0.0.1", "fd77::1", "10.0.0.0/8", "::/0", "0.0.0.0/0", "fd77::/127", "10.0.0.1/8", "10.0.0.1-10.0.0.9", "fd77::1-fd77::9", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "fe80::1%eth0", "::ffff:1.2.3.4", "", "-", "/", "10.0.0.0/255.0.0.0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseAddrRange(s)
		plain := func(a netip.Addr) bool { return a.IsValid() && a.Zone() == "" && !a.Is4In6() }
		var ok bool
		var want conntrack.AddrRange
		if p, perr := netip.ParsePrefix(s); perr == nil {
			ok = p == p.Masked() && plain(p.Addr())
			if ok && err == nil && (r.First != p.Addr() || !p.Contains(r.Last) || p.Contains(r.Last.Next())) {
				t.Fatalf("%q has %v", s, r)
			}
			want = r
		} else {
			first, last, ranged := strings.Cut(s, "-")
			if !ranged {
				last = first
			}
			a, _ := netip.ParseAddr(first)
			b, _ := netip.ParseAddr(last)
			ok = plain(a) && plain(b) && a.BitLen() == b.BitLen() && a.Compare(b) <= 0
			want = conntrack.AddrRange{First: a, Last: b}
		}
		if (err == nil) != ok || ok && r != want {
			t.Fatalf("parseAddrRange(%q) = %v, %v, want %v, %v", s, r, err, want, ok)
		}
		if !ok {
			return
		}
		if p, isNet := ruleset.Span(r).Prefix(); isNet && ruleset.SpanOf(p) != ruleset.Span(r) || strings.Contains(s, "/") && !isNet {
			t.Errorf("%q: %v isn't the network %v", s, r, p)
		}
	})
}

// FuzzTarget: a target with a port is what net/netip reads of it, and the parts give the text back.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"10.77.1.2", "10.77.1.2:80", "10.77.1.2:80-89", "[fd77::2]:80", "[fd77::2]", "fd77::2", ":80", ":80-90", "10.0.0.0/8", "10.0.0.1-10.0.0.2", "[10.0.0.1]:80", "[", "[]:80", ":", "a:b:c", "80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		g, err := parseTarget(s)
		ap, apErr := netip.ParseAddrPort(s)
		if apErr == nil && ap.Port() != 0 && ap.Addr().Zone() == "" && !ap.Addr().Is4In6() {
			if err != nil || !g.single() || g.addrs.First != ap.Addr() || g.ports.First != ap.Port() || g.ports.Last != ap.Port() {
				t.Fatalf("parseTarget(%q) = %+v, %v", s, g, err)
			}
		}
		if err == nil && !g.hasAddr() && !g.hasPorts() {
			t.Errorf("%q is nothing: %+v", s, g)
		}
		if err == nil && g.hasAddr() && !g.hasPorts() {
			if r, rangeErr := parseAddrRange(strings.Trim(s, "[]")); rangeErr != nil || r != g.addrs {
				t.Errorf("%q is %+v", s, g)
			}
		}
	})
}
