//go:build linux

package netlab

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPPTPMessages has the beginning of each message as RFC 2637, sections 2.1 to 2.13, lays it out, and reads it back.
func TestPPTPMessages(t *testing.T) {
	for name, tt := range map[string]struct {
		got  []byte
		kind uint16
		size int
		want string
	}{
		"start request":     {newPPTPStart(pptpStartRequest), 1, 156, "009c00011a2b3c4d00010000010000000000000300000003"},
		"start reply":       {newPPTPStart(pptpStartReply), 2, 156, "009c00011a2b3c4d00020000010001000000000300000003"},
		"stop reply":        {newPPTP(pptpStopReply), 4, 16, "001000011a2b3c4d00040000"},
		"call request":      {newPPTPCall(0x1111, 2), 7, 168, "00a800011a2b3c4d00070000111100020000096005f5e10000000003000000030040"},
		"call reply":        {newPPTPAnswer(0x2222, 0x1111), 8, 32, "002000011a2b3c4d0008000022221111010000000" + "5f5e1000040"},
		"clear request":     {newPPTPWithID(pptpClearRequest, 0x1111), 12, 16, "001000011a2b3c4d000c000011110000"},
		"disconnect notify": {newPPTPWithID(pptpDisconnectNotify, 0x2222), 13, 148, "009400011a2b3c4d000d000022220400"},
	} {
		if want := unhex(t, tt.want); len(tt.got) != tt.size || !bytes.HasPrefix(tt.got, want) {
			t.Errorf("%s: %d bytes % x, want %d that begin % x", name, len(tt.got), tt.got, tt.size, want)
		}
		kind, b, err := readPPTP(bytes.NewReader(append(bytes.Clone(tt.got), 1, 2, 3)))
		if err != nil || kind != tt.kind || !bytes.Equal(b, tt.got) {
			t.Errorf("%s: read as kind %d, % x, %v", name, kind, b, err)
		}
		for n := range tt.got {
			if _, _, err := readPPTP(bytes.NewReader(tt.got[:n])); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s: %d of its bytes give %v", name, n, err)
			}
		}
	}
}

func TestReadPPTPRefuses(t *testing.T) {
	good := newPPTPCall(1, 1)
	for name, at := range map[string]int{"length": 1, "message type": 3, "cookie": 7, "kind": 9} {
		b := bytes.Clone(good)
		b[at] ^= 0x20
		if _, _, err := readPPTP(bytes.NewReader(b)); !errors.Is(err, errNotPPTP) {
			t.Errorf("wrong %s: %v, want %v", name, err, errNotPPTP)
		}
	}
}

func TestGRE(t *testing.T) {
	ack := uint32(4)
	for name, tt := range map[string]struct {
		got  []byte
		want string
	}{
		"data":         {gre(0x2222, 0, nil, []byte("hi")), "3001880b0002222200000000" + "6869"},
		"data and ack": {gre(0x2222, 5, &ack, []byte("hi")), "3081880b0002222200000005000000046869"},
	} {
		if want := unhex(t, tt.want); !bytes.Equal(tt.got, want) {
			t.Errorf("%s: % x, want % x", name, tt.got, want)
		}
		id, _, data, ok := readGRE(tt.got)
		if !ok || id != 0x2222 || string(data) != "hi" {
			t.Errorf("%s: read as call %x, %q, %t", name, id, data, ok)
		}
		for n := range tt.got {
			if _, _, _, ok := readGRE(tt.got[:n]); ok {
				t.Errorf("%s: %d of its bytes were taken", name, n)
			}
		}
	}
}

// FuzzReadGRE: what is read is written as it was.
func FuzzReadGRE(f *testing.F) {
	ack := uint32(9)
	f.Add(gre(1, 2, nil, []byte("data")))
	f.Add(gre(1, 2, &ack, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, seq, data, ok := readGRE(b)
		if !ok {
			return
		}
		var last *uint32
		if len(b)-len(data) == greAck {
			n := binary.BigEndian.Uint32(b[greData:])
			last = &n
		}
		if got := gre(id, seq, last, data); !bytes.Equal(got, b) {
			t.Errorf("% x was read and written as % x", b, got)
		}
	})
}

// TestTwinsNotice runs the PPTP scene through the kernel without NAT, and with NAT but without its helper: the scene has
// to notice. (What the kernel's helper makes of it is seen in integration/pptp.)
func TestTwinsNotice(t *testing.T) {
	need(t, "netns", refused)
	if _, err := exec.LookPath("nft"); err != nil {
		need(t, "nft", "not installed")
	}
	untranslated, _ := kernelRouter(t)
	for _, tt := range []struct {
		p    *Path
		want string
	}{{untranslated[0], "not the outside address"}, {kernelLab(t)[0], " of 2000 came back"}} {
		tt.p.SecondAddr = tt.p.ClientAddr.Next()
		var err error
		if tt.p.Second, err = tt.p.Client.Behind("second", tt.p.ClientAddr, tt.p.SecondAddr); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(tt.p.Second.Close)
		if err := tt.p.Client.Sysctl("net/ipv4/conf/all/proxy_arp=1"); err != nil { // the router looks for both on one wire
			t.Fatal(err)
		}
		if figure, err := twins(t.Context(), tt.p, func(string, ...any) {}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q, %v, want %q in the error", figure, err, tt.want)
		}
	}
}
