package beside

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/internal/testpkt"
)

// newTestView is the view of a script with these lines.
func newTestView(t *testing.T, text string) (*view, *script) {
	t.Helper()
	steps, forwards, err := parseScript(text)
	if err != nil {
		t.Fatal(err)
	}
	s := &script{steps: steps, forwards: forwards}
	return newView(s, 0), s
}

// described builds the first line of a script and describes it as if it arrived outside.
func described(t *testing.T, text string) string {
	t.Helper()
	v, s := newTestView(t, text)
	packets, _, err := v.build(&s.steps[0])
	if err != nil {
		t.Fatal(err)
	}
	return v.describe(arrival{data: packets[0], side: outside}, s.steps[0].numbers)
}

// TestDescribe: what the words of a line put into a packet is read out of it again.
func TestDescribe(t *testing.T) {
	for line, want := range map[string]string{
		`q: pub:5000 > x:53 udp ttl=9 tos=0x10 df "hi"`:                       `out pub:5000 > x:53 ttl=9 tos=0x10 df udp "hi"`,
		`q: pub:5000 > x:53 udp sum=none len=30`:                              `out pub:5000 > x:53 ttl=64 udp sum=none len=30`,
		`q: pub:5000 > x:53 udp sum=bad`:                                      `out pub:5000 > x:53 ttl=64 udp WRONG-CHECKSUM`,
		`q: pub:5000 > x:53 udp opt=94040000`:                                 `out pub:5000 > x:53 ttl=64 opt=94040000 udp`,
		`q: pub:5000 > x:53 udp len=1300 frag=576`:                            `out pub:5000 > x:53 ttl=64 frag=0+ udp len=544`,
		`q: pub:5000 > x:53 udp len=1300 frag=576 order=1`:                    `out pub > x ttl=64 frag=552+ proto=17 len=552`,
		`q: pub:5000 > x:80 tcp flags=SE seq=4294967295 win=0 ws=7`:           `out pub:5000 > x:80 ttl=64 tcp seq=4294967295 flags=SE ack=0 win=0 options=03030701`,
		`q: pub:5000 > x:80 tcp flags=PAU seq=1 ack=2 urg=3 mss=1460 "x\n"`:   `out pub:5000 > x:80 ttl=64 tcp seq=1 flags=PAU ack=2 win=8000 urg=3 options=020405b4 "x\n"`,
		`q: pub:5000 > x:21 tcp flags=A "PORT {pub,},19,136\r\n"`:             `out pub:5000 > x:21 ttl=64 tcp seq=0 flags=A ack=0 win=8000 "PORT {pub,},5000\r\n"`,
		`q: pub:5000 > x:21 tcp flags=A "EPRT |1|{a}|77|"`:                    `out pub:5000 > x:21 ttl=64 tcp seq=0 flags=A ack=0 win=8000 "EPRT |1|{a}|77|"`,
		`q: pub:5000 > x:21 tcp flags=A "DCC SEND f {a#} 77"`:                 `out pub:5000 > x:21 ttl=64 tcp seq=0 flags=A ack=0 win=8000 "DCC SEND f {a#} 77"`,
		`q: pub:5000 > x:1723 tcp flags=A pptp=echorq/ocrp,7,8`:               `out pub:5000 > x:1723 ttl=64 tcp seq=0 flags=A ack=0 win=8000 pptp=echorq/ocrp,~1,8`,
		`q: pub > x echo id=77 n=3`:                                           `out pub > x ttl=64 echo id=77 n=3`,
		`q: pub > x gre call=9 seq=1 ack=2 len=3`:                             `out pub > x ttl=64 gre call=9 seq=1 ack=2 len=3`,
		`q: pub > x gre0 key=7`:                                               `out pub > x ttl=64 gre0 2000080000000007`,
		`q: pub > x raw proto=50 "0123"`:                                      `out pub > x ttl=64 proto=50 "0123"`,
		`q: pub:5000 > x:80 sctp tag=1 chunk=0b000004`:                        `out pub:5000 > x:80 ttl=64 sctp tag=0x1 data=0b000004`,
		`q: pub:5000 > x:80 sctp sum=bad chunk=0b000004`:                      `out pub:5000 > x:80 ttl=64 sctp tag=0x0 data=0b000004 WRONG-CHECKSUM`,
		`q: pub > x icmp type=3/4 rest=1300 "` + strings.Repeat("E", 4) + `"`: `out pub > x ttl=64 icmp type=3/4 rest=1300 [ unreadable (version 4) 45454545 ]`,
	} {
		got := described(t, line)
		if strings.Contains(want, "unreadable") {
			got, want = got[:strings.Index(got, "(")], want[:strings.Index(want, "(")]
		}
		if got != want {
			t.Errorf("%s\ngot  %s\nwant %s", line, got, want)
		}
	}
}

// TestChosen: a kept port keeps its name, others are named in the order of their coming, each always the same.
func TestChosen(t *testing.T) {
	var c chosen
	for i, tt := range []struct {
		proto, n int
		kept     bool
		want     string
	}{
		{17, 5000, true, "5000"}, {17, 61234, false, "~1"}, {17, 40, false, "~2low"}, {17, 61234, true, "~1"}, {1, 41, false, "~3"},
		{6, 61234, false, "~4"}, {17, 5000, false, "5000"},
	} {
		if got := c.name(tt.proto, tt.n, tt.kept); got != tt.want {
			t.Errorf("%d: %d is called %s, want %s", i, tt.n, got, tt.want)
		}
	}
}

// TestQuote: an error quotes what arrived, cut where its line says so, and is described with it.
func TestQuote(t *testing.T) {
	v, s := newTestView(t, `
		q: a:5000 > x:53 udp "hello"
		e: y > q.src icmp type=3/1 quote=q trim=28`)
	left := testpkt.UDP{Src: netip.AddrPortFrom(v.byName["pub"], 61234), Dst: netip.AddrPortFrom(v.byName["x"], 53), TTL: 63, Payload: []byte("hello")}.Bytes()
	v.arrived["q"] = []arrival{{data: left, side: outside, far: true}}
	packets, from, err := v.build(&s.steps[1])
	if err != nil || from != outside {
		t.Fatalf("sent from %s, %v", from, err)
	}
	got := v.describe(arrival{data: packets[0], side: outside}, s.steps[1].numbers)
	if want := "out y > pub ttl=64 icmp type=3/1 [ pub:~1 > x:53 ttl=63 udp cut=8 ]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, _, err := newView(s, 1).build(&s.steps[1]); err == nil {
		t.Error("quotes what did not arrive")
	}
}
