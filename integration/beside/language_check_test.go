package beside

import (
	"reflect"
	"testing"
)

// badLines are what parseStep refuses.
var badLines = map[string]string{
	"nothing":                 "",
	"no label":                "a:1 > x:2 udp",
	"empty label":             ": a:1 > x:2 udp",
	"no protocol":             "q: a:1 > x:2",
	"unknown protocol":        "q: a:1 > x:2 tpc",
	"unknown word":            "q: a:1 > x:2 udp size=3",
	"a value missing":         "q: a:1 > x:2 udp ttl",
	"an empty value":          "q: a:1 > x:2 udp ttl=",
	"a value too much":        "q: a:1 > x:2 udp df=1",
	"a word twice":            "q: a:1 > x:2 udp ttl=1 ttl=2",
	"a quote without end":     `q: a:1 > x:2 udp "hello`,
	"something behind quotes": `q: a:1 > x:2 udp "hello"df`,
	"unknown TCP flags":       "q: a:1 > x:2 tcp flags=SX",
}

func TestParseStepRefuses(t *testing.T) {
	for name, line := range badLines {
		if s, err := parseStep(line); err == nil {
			t.Errorf("%s: parseStep(%q) = %v, want an error", name, line, s.String())
		}
	}
}

func TestParseScriptRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"only configuration":    "forward tcp 80 a:80",
		"a forward to nowhere":  "forward tcp 80\nq: a:1 > x:2 udp",
		"a forward of no port":  "forward tcp http a:80\nq: a:1 > x:2 udp",
		"a label twice":         "q: a:1 > x:2 udp\nq: a:1 > x:2 udp",
		"a reference ahead":     "q: a:1 > r.src udp\nr: x:2 > pub:1 udp",
		"a quote of a stranger": "q: x > pub icmp type=3/3 quote=r",
		"a call of a stranger":  "q: x > pub gre call=r.call",
	} {
		if _, _, err := parseScript(text); err == nil {
			t.Errorf("%s: parseScript(%q) takes it", name, text)
		}
	}
}

func TestParseStep(t *testing.T) {
	got, err := parseStep(`r: q.dst > pub:21 tcp flags=PA seq=7 df "PORT {a,},19,136\r\n" "x y"`)
	if err != nil {
		t.Fatal(err)
	}
	want := step{"r", "q.dst", "pub:21", "tcp", []string{"PORT {a,},19,136\r\n", "x y"},
		map[string]string{"flags": "PA", "seq": "7", "df": ""},
		map[int]bool{21: true, 7: true, 19: true, 136: true, 5000: true, 7<<8 | 19: true, 21<<8 | 7: true}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// FuzzParseStep holds the parser to the law that what it takes means the same when it is written out and read again.
func FuzzParseStep(f *testing.F) {
	for _, line := range badLines {
		f.Add(line)
	}
	for _, s := range scripts() {
		for _, line := range s.steps[:1] {
			f.Add(line.String())
		}
	}
	f.Fuzz(func(t *testing.T, line string) {
		s, err := parseStep(line)
		if err != nil {
			return
		}
		again, err := parseStep(s.String())
		if err != nil {
			t.Fatalf("%q reads as %q, which is refused: %v", line, s.String(), err)
		}
		s.numbers, again.numbers = nil, nil // of the spelling
		if !reflect.DeepEqual(s, again) {
			t.Errorf("%q: %+v, written and read again: %+v", line, s, again)
		}
	})
}
