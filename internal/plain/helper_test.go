package plain

import (
	"net/netip"
	"strings"
	"testing"
)

// TestPositions: the vector of the rule for numbers, and the bytes of a stream one by one against the whole stream replaced.
func TestPositions(t *testing.T) {
	const stream = "PORT 10,9,1,2,19,136\r\nNOOP\r\nPORT 10,9,1,2,19,137\r\n"
	for _, to := range []string{"198,51,100,77,19,136", "1,1,1,1,1,1", "203,0,113,1,9,9"} {
		var x reading
		for _, old := range []string{"10,9,1,2,19,136", "10,9,1,2,19,137"} {
			x.edit(0, strings.Index(stream, old), old, to)
		}
		var all strings.Builder
		for i := range len(stream) {
			if at := x.image(0, i); at != all.Len() {
				t.Errorf("%s: byte %d is at %d, want %d", to, i, at, all.Len())
			}
			all.WriteString(x.bytesOf(0, i, stream[i]))
			if has := x.original(0, all.Len()); x.image(0, has) > all.Len() {
				t.Errorf("%s: who has %d bytes acknowledges %d, which stand up to %d", to, all.Len(), has, x.image(0, has))
			}
		}
		if want := strings.ReplaceAll(strings.ReplaceAll(stream, "10,9,1,2,19,136", to), "10,9,1,2,19,137", to); all.String() != want {
			t.Errorf("%s: %q, want %q", to, all.String(), want)
		}
		if at := x.original(0, all.Len()); at != len(stream) {
			t.Errorf("%s: who has all has acknowledged %d of %d", to, at, len(stream))
		}
	}
	// The client's numbers from 1000 on, longer by 5: RFC 959 over 198.51.100.77.
	var x reading
	x.edit(0, 5, "10,9,1,2,19,136", "198,51,100,77,19,136")
	for at, want := range map[int]int{0: 0, 5: 5, 6: 6, 20: 25, 22: 27} {
		if got := x.image(0, at); got != want {
			t.Errorf("%d is at %d, want %d", at, got, want)
		}
	}
	for at, want := range map[int]int{0: 0, 5: 5, 24: 19, 25: 20, 27: 22} {
		if got := x.original(0, at); got != want {
			t.Errorf("%d acknowledges %d, want %d", at, got, want)
		}
	}
}

// TestFTPTexts: what names an endpoint in FTP, and what only looks so. "-": it names none.
func TestFTPTexts(t *testing.T) {
	for text, want := range map[string]string{
		"10,9,1,2,19,136": "10.9.1.2:5000", "10,9,1,2,999,1": "-", "10,9,1,2,0,0": "-", "10,9,1,2,19": "-", "1,2,3,4,5,1234": "-",
		"|1|10.9.1.2|5004|": "10.9.1.2:5004", "!2!fd77::2!5!": "[fd77::2]:5", "|2|10.9.1.2|5004|": "-", "|1|10.9.1.2|0|": "-",
		"|1|10.9.1.2|65536|": "-", "|1|10.9.1.2|5004": "-", "a1a10.9.1.2a5a": "-", "|2|fe80::1%1|5|": "-", "|2|::ffff:10.9.1.2|5|": "-", "": "-",
	} {
		e, ok := ftpNumbers(text)
		if !ok {
			e, ok = ftpExtended(text)
		}
		got := "-"
		if ok && len(e.text) == len(text) {
			got = addrPort(e)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	for line, want := range map[string]string{
		"227 Entering Passive Mode (10,9,2,2,19,140)": "10.9.2.2:5004", "227 10,9,2,2,19,141": "10.9.2.2:5005", "227 at 1,2 =10,9,2,2,19,140.": "10.9.2.2:5004",
		"227 10,9,2,2,19,140,7": "-", "227 nothing": "-", "227 (10, 9,  2,2,19,140)": "10.9.2.2:5004", "227 (10 ,9,2,2,19,140)": "-", "227 (10,9,2,2,256,1) (10,9,2,2,19,140)": "10.9.2.2:5004",
	} {
		if e, at, ok := ftpFind(line, "227"); ok != (want != "-") || ok && (addrPort(e) != want || line[at:at+len(e.text)] != e.text) {
			t.Errorf("%q: %v at %d, %t, want %s", line, e, at, ok, want)
		}
	}
	for line, want := range map[string]uint16{"229 x (|||5007|)": 5007, "229 (!!!1!)": 1, "229 |||5007|": 0, "229 (||5007|)": 0, "229 (|||0|)": 0, "229 (|||5007|": 0} {
		if e, _, ok := ftpFind(line, "229"); ok != (want != 0) || ok && e.port != want {
			t.Errorf("%q: %v, %t, want %d", line, e, ok, want)
		}
	}
	for line, want := range map[string]int{"PORT": 0, "\xff\xf4\xff\xf2ABOR": 4, "\xff\xfb\x01NOOP": 3, "\xff\xffA": 0, "\xff": 1, "\xff\xfa\x01": 3, "\xff\xfa\xff\xff\xe9\xff\xf0227": 7} {
		if got := telnetLength(line); got != want {
			t.Errorf("%q: Telnet's are %d bytes, want %d", line, got, want)
		}
	}
}

func addrPort(e ftpEndpoint) string { return netip.AddrPortFrom(e.addr, e.port).String() }

// TestIRCOffers: what is an offer, and from where on the beginning of one waits; its whole length: nothing does.
func TestIRCOffers(t *testing.T) {
	const head = "PRIVMSG bob :\x01DCC SEND f "
	for line, want := range map[string]bool{
		head + "167772162 5000 1024\x01\r\n": true, "privmsg #c :\x01dcc chat chat 167772162 5000\x01\n": true,
		"PRIVMSG b :\x01DCC SEND \"a b\" fd77::2 5000 1 2\x01\r\n": true, "PRIVMSG b :\x01DCC SEND a b 167772162 5000\x01\r\n": false,
		"PING :" + head + "167772162 5000\x01\r\n": false, head + "167772162 5000\x01 \r\n": false, head + "167772162 5000\r\n": false,
		"PRIVMSG :b :\x01DCC SEND f 1 5000\x01\r\n": false, "PRIVMSG b :\x01DCC RESUME f 1 5000\x01\r\n": false,
	} {
		if got := ircWhole.MatchString(latin([]byte(line))); got != want {
			t.Errorf("%q: %t, want %t", line, got, want)
		}
	}
	for text, waits := range map[string]bool{
		"": true, "1677": true, "167772162 ": true, "167772162 50": true, "167772162 5000 10": true, "167772162 5000 10 1\x01\r": true,
		"1677x": false, "167772162  ": false, "167772162 500000": false, "167772162 5000 1 2 3": false,
	} {
		want := len(head) + len(text)
		if waits {
			want = len(head)
		}
		if got := holdFrom([]byte(head + text)); got != want {
			t.Errorf("%q: waits from %d on, want %d", text, got, want)
		}
	}
}

// TestTFTP: what asks for a file, and what answers that.
func TestTFTP(t *testing.T) {
	for text, want := range map[string]bool{
		"\x00\x01boot.img\x00octet\x00": true, "\x00\x02\xe9\x00NETASCII\x00": true, "\x00\x01f\x00binary\x00": true, "\x00\x01f\x00octet": true,
		"\x00\x01f\x00octet\x00a\x001\x00A\x002\x00": true, "\x00\x01f\x00octet\x00a\x00": true, "\x00\x01f\x00octet\x00\xff\x00\x01": true, "\x00\x02f\x00": true,
		"\x00\x01" + strings.Repeat("f", 510) + "\x00octet\x00": true, "\x00\x01f": false, "\x00\x01\x00octet\x00": false, "\x00\x03\x00\x01x": false,
		"\x00\x01f\nx\x00octet\x00": false, "x\x00\x01f\x00octet\x00": false,
	} {
		if got := tftpRequest.MatchString(latin([]byte(text))); got != want {
			t.Errorf("%q asks: %t, want %t", text, got, want)
		}
	}
	for text, want := range map[string]bool{
		"\x00\x05\x00\x01none\x00": true, "\x00\x06a\x001\x00": true, "\x00\x03\x00\x01": true, "\x00\x04\x00\x00": true, "\x00\x03\x00\x02x": false,
		"\x00\x03\x01\x01x": false, "\x00\x04\x00\x01": false, "\x00\x01f\x00octet\x00": false, "\x05": false, "": false,
	} {
		if got := tftpAnswer.MatchString(latin([]byte(text))); got != want {
			t.Errorf("%q answers: %t, want %t", text, got, want)
		}
	}
}
