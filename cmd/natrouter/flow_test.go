package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/natrouter/natrouter/router"
)

func ptr[T any](v T) *T { return &v }

// someFlows are one of each kind that the formats treat differently.
func someFlows() []router.Flow {
	return []router.Flow{
		{
			ID: 1, Proto: "tcp", State: "ESTABLISHED", Status: []string{"seen-reply", "assured", "snat"}, Timeout: 431999.5, Mark: 7,
			Original: router.FlowTuple{Source: "10.77.1.2", Destination: "192.0.2.1", SourcePort: ptr[uint16](40000), DestinationPort: ptr[uint16](80), Packets: 5, Bytes: 400},
			Reply:    router.FlowTuple{Source: "192.0.2.1", Destination: "203.0.113.1", SourcePort: ptr[uint16](80), DestinationPort: ptr[uint16](40000), Packets: 4, Bytes: 3000},
		},
		{
			ID: 2, Proto: "udp", Status: []string{}, Timeout: 29.2,
			Original: router.FlowTuple{Source: "fd77::2", Destination: "2001:db8::1", SourcePort: ptr[uint16](5000), DestinationPort: ptr[uint16](53)},
			Reply:    router.FlowTuple{Source: "2001:db8::1", Destination: "2001:db8:113::1", SourcePort: ptr[uint16](53), DestinationPort: ptr[uint16](5000)},
		},
		{
			ID: 3, Proto: "icmp", Status: []string{"seen-reply", "snat"}, Timeout: 30,
			Original: router.FlowTuple{Source: "10.77.1.2", Destination: "192.0.2.1", ICMPID: ptr[uint16](77), ICMPType: ptr[uint8](8), ICMPCode: ptr[uint8](0), Packets: 1, Bytes: 84},
			Reply:    router.FlowTuple{Source: "192.0.2.1", Destination: "203.0.113.1", ICMPID: ptr[uint16](78), ICMPType: ptr[uint8](0), ICMPCode: ptr[uint8](0), Packets: 1, Bytes: 84},
		},
		{
			ID: 4, Proto: "gre", Status: []string{"seen-reply", "assured"}, Timeout: 179, Helper: "pptp",
			Original: router.FlowTuple{Source: "10.9.1.2", Destination: "10.9.2.2", SourcePort: ptr[uint16](0x1111), DestinationPort: ptr[uint16](0x2222)},
			Reply:    router.FlowTuple{Source: "10.9.2.2", Destination: "10.9.2.1", SourcePort: ptr[uint16](0x2222), DestinationPort: ptr[uint16](0x934f)},
		},
		{
			ID: 5, Proto: "tcp", State: "SYN_SENT", Status: []string{"dnat"}, Timeout: 120,
			Original: router.FlowTuple{Source: "192.0.2.9", Destination: "203.0.113.1", SourcePort: ptr[uint16](1234), DestinationPort: ptr[uint16](8080)},
			Reply:    router.FlowTuple{Source: "10.77.1.2", Destination: "192.0.2.9", SourcePort: ptr[uint16](80), DestinationPort: ptr[uint16](1234)},
		},
		{
			ID: 6, Proto: "esp", Status: []string{}, Timeout: 600,
			Original: router.FlowTuple{Source: "10.77.1.2", Destination: "192.0.2.1"},
			Reply:    router.FlowTuple{Source: "192.0.2.1", Destination: "10.77.1.2"},
		},
	}
}

const wantFlowTable = `PROTO  STATE        SOURCE              DESTINATION         TRANSLATED                  TIMEOUT      BYTES
tcp    ESTABLISHED  10.77.1.2:40000     192.0.2.1:80        src 203.0.113.1:40000         4d23h    3.3 KiB
udp    unreplied    [fd77::2]:5000      [2001:db8::1]:53    src [2001:db8:113::1]:5000      29s        0 B
icmp   replied      10.77.1.2 id 77     192.0.2.1           src 203.0.113.1 id 78           30s      168 B
gre    assured      10.9.1.2 call 4369  10.9.2.2 call 8738  src 10.9.2.1 call 37711       2m59s        0 B
tcp    SYN_SENT     192.0.2.9:1234      203.0.113.1:8080    dst 10.77.1.2:80               2m0s        0 B
esp    unreplied    10.77.1.2           192.0.2.1           -                             10m0s        0 B
`

const wantConntrack = `tcp      6 431999 ESTABLISHED src=10.77.1.2 dst=192.0.2.1 sport=40000 dport=80 packets=5 bytes=400 src=192.0.2.1 dst=203.0.113.1 sport=80 dport=40000 packets=4 bytes=3000 [ASSURED] mark=7
udp      17 29 src=fd77::2 dst=2001:db8::1 sport=5000 dport=53 [UNREPLIED] src=2001:db8::1 dst=2001:db8:113::1 sport=53 dport=5000 mark=0
icmp     1 30 src=10.77.1.2 dst=192.0.2.1 type=8 code=0 id=77 packets=1 bytes=84 src=192.0.2.1 dst=203.0.113.1 type=0 code=0 id=78 packets=1 bytes=84 mark=0
gre      47 179 src=10.9.1.2 dst=10.9.2.2 srckey=0x1111 dstkey=0x2222 src=10.9.2.2 dst=10.9.2.1 srckey=0x2222 dstkey=0x934f [ASSURED] mark=0 helper=pptp
tcp      6 120 SYN_SENT src=192.0.2.9 dst=203.0.113.1 sport=1234 dport=8080 [UNREPLIED] src=10.77.1.2 dst=192.0.2.9 sport=80 dport=1234 mark=0
unknown  50 600 src=10.77.1.2 dst=192.0.2.1 [UNREPLIED] src=192.0.2.1 dst=10.77.1.2 mark=0
`

func TestFlowList(t *testing.T) {
	socket := answer(t, &fake{flows: someFlows()})
	for format, want := range map[string]string{"table": wantFlowTable, "conntrack": wantConntrack} {
		got := command(t, "flow", "list", "--socket", socket, "-o", format)
		if got.code != exitOK || got.err != "" || got.out != want {
			t.Errorf("%s: exit %d, %s\n%swant\n%s", format, got.code, got.err, got.out, want)
		}
	}
	got := command(t, "flow", "list", "--socket", socket)
	if got.out != wantFlowTable {
		t.Errorf("the default is no table:\n%s", got.out)
	}
}

func TestFlowListJSON(t *testing.T) {
	socket := answer(t, &fake{flows: someFlows()})
	got := command(t, "flow", "list", "--socket", socket, "-o", "json")
	var array []router.Flow
	if err := json.Unmarshal([]byte(got.out), &array); err != nil || len(array) != len(someFlows()) || array[0].Reply.Destination != "203.0.113.1" {
		t.Errorf("json: %v, %+v", err, got)
	}
	got = command(t, "flow", "list", "--socket", socket, "-o", "jsonl")
	lines := strings.Split(strings.TrimSuffix(got.out, "\n"), "\n")
	if len(lines) != len(someFlows()) {
		t.Errorf("jsonl: %d lines, want %d", len(lines), len(someFlows()))
	}
	for i, line := range lines {
		var f router.Flow
		if err := json.Unmarshal([]byte(line), &f); err != nil || f.ID != uint64(i+1) {
			t.Errorf("jsonl: line %d is %q: %v", i, line, err)
		}
	}
}

func TestFlowListNoMatch(t *testing.T) {
	socket := answer(t, &fake{})
	for format, want := range map[string]string{"table": "", "json": "[]\n", "jsonl": "", "conntrack": ""} {
		got := command(t, "flow", "list", "--socket", socket, "-o", format)
		if got.code != exitNoMatch || got.out != want || got.err != "natrouter: no flow matches\n" {
			t.Errorf("%s: %+v, want 4 and %q", format, got, want)
		}
	}
}

func TestFlowListFilter(t *testing.T) {
	source := &fake{flows: someFlows()}
	got := command(t, "flow", "list", "--socket", answer(t, source), "--protocol", "TCP", "--source", "10.0.0.0/8",
		"--destination", "192.0.2.1", "--port", "80", "--state", "ESTABLISHED", "--limit", "5")
	want := router.FlowFilter{Proto: "tcp", Source: "10.0.0.0/8", Destination: "192.0.2.1", Port: 80, State: "ESTABLISHED", Limit: 5}
	if got.code != exitOK || source.asked != want {
		t.Errorf("asked for %+v, want %+v; %+v", source.asked, want, got)
	}
}

func TestFlowListRefusedByRouter(t *testing.T) {
	got := command(t, "flow", "list", "--socket", answer(t, &fake{err: errors.New(`state "OPEN": no such state`)}), "--state", "OPEN")
	want := "natrouter: state \"OPEN\": no such state; see natrouter flow list --help\n"
	if got.code != exitUsage || got.out != "" || got.err != want {
		t.Errorf("%+v, want 2 and %q", got, want)
	}
}
