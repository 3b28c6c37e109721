package irc

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
)

// offers are lines of a client, by the rule that they show; addr and port are empty where the line offers nothing.
var offers = map[string]struct{ line, addr, port string }{
	"a file":                      {"PRIVMSG bob :\x01DCC SEND f 167772162 5000 1024\x01\r\n", "167772162", "5000"},
	"without a size":              {"PRIVMSG bob :\x01DCC SEND f 167772162 5000\x01\r\n", "167772162", "5000"},
	"with a token":                {"PRIVMSG bob :\x01DCC SEND f 167772162 5000 1024 7\x01\r\n", "167772162", "5000"},
	"a chat":                      {"PRIVMSG bob :\x01DCC CHAT chat 167772162 5000\x01\r\n", "167772162", "5000"},
	"move":                        {"PRIVMSG bob :\x01DCC MOVE f 167772162 5000\x01\r\n", "167772162", "5000"},
	"turbo":                       {"PRIVMSG bob :\x01DCC TSEND f 167772162 5000 1\x01\r\n", "167772162", "5000"},
	"a chat by TLS":               {"PRIVMSG bob :\x01DCC SCHAT chat 167772162 5000\x01\r\n", "167772162", "5000"},
	"a file by TLS":               {"PRIVMSG bob :\x01DCC SSEND f 167772162 5000 1024\x01\r\n", "167772162", "5000"},
	"a file by TLS, IPv6":         {"PRIVMSG bob :\x01DCC SSEND f fd77::2 5000 1024\x01\r\n", "fd77::2", "5000"},
	"a file by TLS, in marks":     {"PRIVMSG bob :\x01DCC SSEND \"my file\" 167772162 5000 1024\x01\r\n", "167772162", "5000"},
	"a file by TLS, passive":      {"PRIVMSG bob :\x01DCC SSEND f 167772162 0 1024 7\x01\r\n", "167772162", "0"},
	"a file by TLS, the answer":   {"PRIVMSG bob :\x01DCC SSEND f 167772162 5000 1024 7\x01\r\n", "167772162", "5000"},
	"a file by TLS, any case":     {"PRIVMSG bob :\x01DCC sSend f 167772162 5000 1024\x01\r\n", "167772162", "5000"},
	"turbo by TLS":                {"PRIVMSG bob :\x01DCC TSSEND f 167772162 5000 1\x01\r\n", "167772162", "5000"},
	"TLS, turbo":                  {"PRIVMSG bob :\x01DCC STSEND f 167772162 5000 1\x01\r\n", "167772162", "5000"},
	"ready to be sent a file":     {"PRIVMSG bob :\x01DCC RECV f 167772162 5000 0\x01\r\n", "167772162", "5000"},
	"ready by TLS":                {"PRIVMSG bob :\x01DCC SRECV f 167772162 5000 0\x01\r\n", "167772162", "5000"},
	"ready, turbo":                {"PRIVMSG bob :\x01DCC TRECV f 167772162 5000 0\x01\r\n", "167772162", "5000"},
	"ready, turbo by TLS":         {"PRIVMSG bob :\x01DCC TSRECV f 167772162 5000 0\x01\r\n", "167772162", "5000"},
	"ready, TLS, turbo":           {"PRIVMSG bob :\x01DCC STRECV f 167772162 5000 0\x01\r\n", "167772162", "5000"},
	"any case":                    {"privmsg bob :\x01dcc Send f 167772162 5000\x01\r\n", "167772162", "5000"},
	"LF alone":                    {"PRIVMSG bob :\x01DCC SEND f 167772162 5000\x01\n", "167772162", "5000"},
	"IPv6":                        {"PRIVMSG bob :\x01DCC SEND f fd77::2 5000\x01\r\n", "fd77::2", "5000"},
	"a name in quotation marks":   {"PRIVMSG bob :\x01DCC SEND \"my file 1 2\" 167772162 5000 9\x01\r\n", "167772162", "5000"},
	"a name above ASCII":          {"PRIVMSG bob :\x01DCC SEND \xc3\xb6 167772162 5000 9\x01\r\n", "167772162", "5000"},
	"to a channel":                {"PRIVMSG #c,bob :\x01DCC SEND f 167772162 5000 9\x01\r\n", "167772162", "5000"},
	"passive, judged later":       {"PRIVMSG bob :\x01DCC SEND f 167772162 0 9 7\x01\r\n", "167772162", "0"},
	"not at the line's beginning": {"PONG :PRIVMSG bob :\x01DCC SEND f 167772162 5000\x01\r\n", "", ""},
	"behind a space":              {" PRIVMSG bob :\x01DCC SEND f 167772162 5000\x01\r\n", "", ""},
	"behind a carriage return":    {"x\rPRIVMSG bob :\x01DCC SEND f 167772162 5000\x01\r\n", "", ""},
	"with a prefix":               {":al PRIVMSG bob :\x01DCC SEND f 167772162 5000\x01\r\n", "", ""},
	"not at the text's beginning": {"PRIVMSG bob :x\x01DCC SEND f 167772162 5000\x01\r\n", "", ""},
	"quoted in other text":        {"PRIVMSG bob :he said \x01DCC SEND f 167772162 5000\x01\r\n", "", ""},
	"text behind":                 {"PRIVMSG bob :\x01DCC SEND f 167772162 5000\x01 x\r\n", "", ""},
	"not closed":                  {"PRIVMSG bob :\x01DCC SEND f 167772162 5000\r\n", "", ""},
	"no target":                   {"PRIVMSG :\x01DCC SEND f 167772162 5000\x01\r\n", "", ""},
	"two targets":                 {"PRIVMSG bob al :\x01DCC SEND f 167772162 5000\x01\r\n", "", ""},
	"a target that is the text":   {"PRIVMSG :bob :\x01DCC SEND f 167772162 5000\x01\r\n", "", ""},
	"a notice":                    {"NOTICE bob :\x01DCC SEND f 167772162 5000\x01\r\n", "", ""},
	"another CTCP":                {"PRIVMSG bob :\x01ACTION SEND f 167772162 5000\x01\r\n", "", ""},
	"another DCC":                 {"PRIVMSG bob :\x01DCC ACCEPT f 167772162 5000\x01\r\n", "", ""},
	"a longer type":               {"PRIVMSG bob :\x01DCC SENDS f 167772162 5000\x01\r\n", "", ""},
	"TLS twice":                   {"PRIVMSG bob :\x01DCC SSSEND f 167772162 5000\x01\r\n", "", ""},
	"a chat has no turbo":         {"PRIVMSG bob :\x01DCC TCHAT chat 167772162 5000\x01\r\n", "", ""},
	"to resume":                   {"PRIVMSG bob :\x01DCC RESUME f 5000 100\x01\r\n", "", ""},
	"to be sent, without a place": {"PRIVMSG bob :\x01DCC RSEND f 1024\x01\r\n", "", ""},
	"no name":                     {"PRIVMSG bob :\x01DCC SEND  167772162 5000\x01\r\n", "", ""},
	"an empty name":               {"PRIVMSG bob :\x01DCC SEND \"\" 167772162 5000\x01\r\n", "", ""},
	"marks that don't close":      {"PRIVMSG bob :\x01DCC SEND \"f 167772162 5000\x01\r\n", "", ""},
	"two spaces":                  {"PRIVMSG bob :\x01DCC SEND f  167772162 5000\x01\r\n", "", ""},
	"a malformed host":            {"PRIVMSG bob :\x01DCC SEND f host 5000\x01\r\n", "", ""},
	"a port with a sign":          {"PRIVMSG bob :\x01DCC SEND f 167772162 +5000\x01\r\n", "", ""},
	"a port of six digits":        {"PRIVMSG bob :\x01DCC SEND f 167772162 050000\x01\r\n", "", ""},
	"a long size":                 {"PRIVMSG bob :\x01DCC SEND f 167772162 5000 123456789012345678901\x01\r\n", "", ""},
	"three numbers behind":        {"PRIVMSG bob :\x01DCC SEND f 167772162 5000 1 2 3\x01\r\n", "", ""},
	"a name that closes":          {"PRIVMSG bob :\x01DCC SEND f\x01 167772162 5000\x01\r\n", "", ""},
	"a bare carriage return":      {"PRIVMSG bob :\x01DCC SEND f 167772162 5000\x01\r\r\n", "", ""},
	"empty":                       {"\r\n", "", ""},
}

func TestScan(t *testing.T) {
	for name, tt := range offers {
		o, result := scan([]byte(tt.line))
		if result == more || (result == yes) != (tt.addr != "") {
			t.Errorf("%s: %q: %d", name, tt.line, result)
		}
		if result == yes && (string(o.addr.of([]byte(tt.line))) != tt.addr || string(o.port.of([]byte(tt.line))) != tt.port) {
			t.Errorf("%s: %q offers %q %q", name, tt.line, o.addr.of([]byte(tt.line)), o.port.of([]byte(tt.line)))
		}
	}
}

// What is known of the beginning of a line stays true of the whole: an offer may come of every beginning of one, and
// the address, once it has begun, stays where it is.
func TestScanBeginnings(t *testing.T) {
	for name, tt := range offers {
		var at int
		dead := false
		for n := range len(tt.line) {
			o, result := scan([]byte(tt.line[:n]))
			switch {
			case result == yes:
				t.Errorf("%s: %q is an offer", name, tt.line[:n])
			case result == no && tt.addr != "":
				t.Errorf("%s: %q can't become an offer", name, tt.line[:n])
			case result == more && dead:
				t.Errorf("%s: %q can be an offer again", name, tt.line[:n])
			case result == more && at != 0 && o.addr.from != at:
				t.Errorf("%s: in %q the address is at %d, not %d", name, tt.line[:n], o.addr.from, at)
			}
			dead = result == no
			if result == more {
				at = o.addr.from
			}
		}
		if tt.addr != "" && at != strings.Index(tt.line, " "+tt.addr+" ")+1 {
			t.Errorf("%s: the address of %q begins at %d", name, tt.line, at)
		}
	}
}

// slowOffer is an offer as a pattern; the groups are address and port.
var slowOffer = regexp.MustCompile(`\A(?i:PRIVMSG) [^\x00\x01\r\n :][^\x00\x01\r\n ]* :\x01(?i:DCC) (?i:(?:|S|T|TS|ST)(?:SEND|RECV)|S?CHAT|MOVE) ` +
	`(?:[^\x00\x01\r\n "][^\x00\x01\r\n ]*|"[^\x00\x01\r\n"]+") ([0-9A-Fa-f:.]{1,45}) ([0-9]{1,5})(?: [0-9]{1,20}){0,2}\x01\r?\n\z`)

// foldsOnlyASCII: (?i:) also takes U+017F for S and U+212A for K, which no client's command is.
func foldsOnlyASCII(line string) bool { return !strings.ContainsAny(line, "\u017f\u212a") }

func FuzzScan(f *testing.F) {
	for _, tt := range offers {
		f.Add([]byte(tt.line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if len(line) > maxLine || !foldsOnlyASCII(string(line)) {
			return
		}
		o, result := scan(line)
		want := slowOffer.FindSubmatchIndex(line)
		if (result == yes) != (want != nil) {
			t.Fatalf("%q: %d, the pattern says %v", line, result, want)
		}
		if want != nil && (o.addr != span{want[2], want[3]} || o.port != span{want[4], want[5]}) {
			t.Errorf("%q: address %v, port %v, the pattern says %v", line, o.addr, o.port, want)
		}
		for n := range line { // a beginning of an offer may become one
			if _, part := scan(line[:n]); result == yes && part != more || part == yes && line[n-1] != '\n' {
				t.Errorf("%q of %q: %d", line[:n], line, part)
			}
		}
	})
}

func TestAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"167772162": "10.0.0.2", "1": "0.0.0.1", "4294967295": "255.255.255.255", "fd77::2": "fd77::2", "FD77:0::2": "fd77::2",
		"4294967296": "", "0": "", "0167772162": "", "16777216200": "", "10.0.0.2": "", "::ffff:10.0.0.2": "", "": "", "1:2": "",
		"167772162a": "", "fd77::2%0": "",
	} {
		got, ok := parseAddr([]byte(in))
		if ok != (want != "") || ok && got != netip.MustParseAddr(want) {
			t.Errorf("%q is %v, %v; want %q", in, got, ok, want)
		}
	}
	for _, s := range []string{"167772162", "4294967295", "fd77::2", "2001:db8:113::1"} {
		a, _ := parseAddr([]byte(s))
		if got := string(appendAddr(nil, a)); got != s {
			t.Errorf("%v is written %q, not %q", a, got, s)
		}
	}
	for in, want := range map[string]uint16{
		"1": 1, "65535": 65535, "0": 0, "05000": 0, "65536": 0, "99999": 0, "123456": 0, "": 0, "5o": 0,
	} {
		if got, ok := parsePort([]byte(in)); ok != (want != 0) || ok && got != want {
			t.Errorf("port %q is %d, %v", in, got, ok)
		}
	}
}
