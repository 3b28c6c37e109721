package ftp

import (
	"bytes"
	"net/netip"
	"testing"
)

// goodArguments are arguments of commands that are read.
var goodArguments = []struct {
	form form
	text string
	want string
}{
	{short, "10,9,1,2,19,136", "10.9.1.2:5000"},
	{short, "255,255,255,255,255,255", "255.255.255.255:65535"},
	{short, "0,0,0,0,0,1", "0.0.0.0:1"},
	{long, "4,4,10,9,1,2,2,19,136", "10.9.1.2:5000"},
	{long, "6,16,253,119,0,0,0,0,0,0,0,0,0,0,0,0,0,2,2,19,136", "[fd77::2]:5000"},
	{extended, "|1|10.9.1.2|5000|", "10.9.1.2:5000"},
	{extended, "|2|fd77::2|5000|", "[fd77::2]:5000"},
	{extended, "!2!fd77:0000:0000:0000:0000:0000:0000:0002!1!", "[fd77::2]:1"},
	{extended, ":1:10.9.1.2:65535:", "10.9.1.2:65535"},
	{portOnly, "|||5000|", ":5000"},
	{portOnly, "~~~65535~", ":65535"},
}

// What is good is read, and no beginning of it that has not all its numbers.
func TestEveryTruncation(t *testing.T) {
	for _, tt := range goodArguments {
		e, ok := tt.form.argument([]byte(tt.text), 0)
		got := netip.AddrPortFrom(e.addr, e.port).String()
		if tt.form == portOnly {
			got = netip.AddrPortFrom(netip.IPv6Unspecified(), e.port).String()[len("[::]"):]
		}
		if !ok || got != tt.want {
			t.Errorf("%q: %s, %v, want %s", tt.text, got, ok, tt.want)
		}
		whole := len(tt.text)
		if tt.form == short || tt.form == long { // the last number may be shorter
			whole = bytes.LastIndexByte([]byte(tt.text), ',') + 2
		}
		for n := range whole {
			if e, ok := tt.form.argument([]byte(tt.text[:n]), 0); ok {
				t.Errorf("%q is read as %v", tt.text[:n], e)
			}
		}
	}
}

// badArguments are near to good ones.
var badArguments = []struct {
	form form
	text string
}{
	{extended, "|2|fe80::1%eth0|5000|"}, {extended, "|2|::ffff:10.9.1.2|5000|"}, {extended, "|1|::ffff:10.9.1.2|5000|"},
	{extended, "|1|fd77::2|5000|"}, {extended, "|2|10.9.1.2|5000|"}, {extended, "71710.9.1.2750047"}, {extended, "717fd::17500477"},
	{extended, "a2afd77::2a5000a"}, {extended, "F2FEEEE::2F5000F"}, {extended, " 1 10.9.1.2 5000 "}, {extended, "|1|10.9.1.02|5000|"},
	{extended, "|1|10.9.1.2|+500|"}, {extended, "|1|10.9.1.2|5000| "}, {extended, "||10.9.1.2|5000|"}, {extended, "\x7f1\x7f10.9.1.2\x7f5000\x7f"},
	{portOnly, "|| |5000|"}, {portOnly, "||!5000|"}, {portOnly, "|||5000!"}, {portOnly, "|||70000|"}, {portOnly, "|||123456|"}, {portOnly, "77750007"},
	{short, "10,9,1,2,19,256"}, {short, "10,9,1,2,19,"}, {short, ",10,9,1,2,19,1"}, {short, "10,9,1,2,0,0"}, {short, "10,9,1,2,19,0001"},
	{short, "-1,9,1,2,19,1"}, {short, "10.9.1.2.19.1"}, {short, "10,9,1,2,19,136\x00"}, {short, "１０,9,1,2,19,136"},
	{long, "4,4,10,9,1,2,1,19,136"}, {long, "4,5,10,9,1,2,2,19,136"}, {long, "6,4,10,9,1,2,2,19,136"}, {long, "4,4,10,9,1,2,2,0,0"},
	{long, "6,16,0,0,0,0,0,0,0,0,0,0,255,255,10,9,1,2,2,19,136"}, {long, "0,4,10,9,1,2,2,19,136"},
}

func TestBadArguments(t *testing.T) {
	for _, b := range badArguments {
		if e, ok := b.form.argument([]byte(b.text), 0); ok {
			t.Errorf("%q is read as %v", b.text, e)
		}
	}
}

// FuzzEndpoint compares the readers with the slow ones, and what is written with what is read back.
func FuzzEndpoint(f *testing.F) {
	for _, g := range goodArguments {
		f.Add(uint8(g.form), []byte(g.text))
	}
	for _, b := range badArguments {
		f.Add(uint8(b.form), []byte(b.text))
	}
	f.Fuzz(func(t *testing.T, kind uint8, text []byte) {
		form := form(kind % 4)
		e, ok := form.argument(text, 0)
		var addr netip.Addr
		var port uint64
		switch form {
		case short:
			addr, port = sixNumbers(latin1(text))
		case long:
			addr, port = longNumbers(latin1(text))
		case extended:
			addr, port, _ = extendedOf(latin1(text))
		default:
			if m := portAlone.FindStringSubmatch("(" + latin1(text) + ")"); m != nil && len(m[0]) == len(text)+2 && m[1] == m[2] && m[1] == m[3] && m[1] == m[5] {
				port, _ = number(m[4], 5, 65535)
			}
		}
		if ok != (port != 0) || ok && (e.addr != addr || uint64(e.port) != port) {
			t.Fatalf("form %d: %q is %v:%d, %v; want %v:%d", form, text, e.addr, e.port, ok, addr, port)
		}
		if !ok {
			return
		}
		again, ok := form.argument(e.text(e.addr, e.port), 0)
		if !ok || again.addr != e.addr || again.port != e.port || again.delim != e.delim {
			t.Errorf("%q written again: %q", text, e.text(e.addr, e.port))
		}
	})
}
