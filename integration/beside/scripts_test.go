package beside

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// table collects scripts.
type table struct {
	all []script
	err error
}

// add adds a script to the default group. Its text names no family: v6 says which.
func (tb *table) add(name string, v6 bool, text string) { tb.in("default", name, v6, text) }

// in adds a script to a group.
func (tb *table) in(group, name string, v6 bool, text string) {
	steps, forwards, err := parseScript(text)
	if err != nil && tb.err == nil {
		tb.err = fmt.Errorf("%s: %w", name, err)
	}
	if v6 {
		name += " (IPv6)"
	}
	if group != "default" {
		name += " [" + group + "]"
	}
	tb.all = append(tb.all, script{name: name, group: group, v6: v6, steps: steps, forwards: forwards})
}

// sameError are the names that ICMPv6 has for errors of ICMP: port and host unreachable, time exceeded.
var sameError = strings.NewReplacer("type=3/3", "type=1/4", "type=3/1", "type=1/3", "type=11/0", "type=3/0")

// both adds a script for each family. Errors in its text are those of IPv4.
func (tb *table) both(name, text string) {
	tb.add(name, false, text)
	tb.add(name, true, sameError.Replace(text))
}

// with returns a text with words in braces replaced, given as pairs.
func with(text string, pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		text = strings.ReplaceAll(text, "<"+pairs[i]+">", pairs[i+1])
	}
	return text
}

// collect returns all scripts.
func collect() *table {
	tb := &table{}
	for _, topic := range []func(*table){
		udpScripts, datagramScripts, icmpQueryScripts, errorScripts, routerErrorScripts, fragmentScripts,
		tcpStateScripts, tcpResetScripts, tcpWindowScripts, tcpScripts, forwardScripts, hairpinScripts,
		portlessScripts, limitScripts, pptpScripts, ftpScripts, tftpScripts, ircScripts, privateScripts,
	} {
		topic(tb)
	}
	slices.SortStableFunc(tb.all, func(a, b script) int { return strings.Compare(a.name, b.name) }) // some topics are maps
	return tb
}

// scripts returns all scripts. TestScripts says whether they are in order.
func scripts() []script { return collect().all }

// leastScripts is how many there are at least.
const leastScripts = 900

func TestScripts(t *testing.T) {
	tb := collect()
	if tb.err != nil {
		t.Fatal(tb.err)
	}
	names, texts := map[string]bool{}, map[string]string{}
	for _, s := range tb.all {
		if names[s.name] {
			t.Errorf("two scripts are called %q", s.name)
		}
		names[s.name] = true
		text := fmt.Sprint(s.group, s.v6, s.forwards)
		for i := range s.steps {
			text += "\n" + s.steps[i].String()
		}
		if same, ok := texts[text]; ok {
			t.Errorf("%q and %q are the same script", same, s.name)
		}
		texts[text] = s.name
	}
	if len(tb.all) < leastScripts {
		t.Errorf("%d scripts, want %d", len(tb.all), leastScripts)
	}
}
