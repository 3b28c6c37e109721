package main

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/natrouter/natrouter/router"
)

func someStatus() router.Status {
	return router.Status{
		Uptime: 3725.7, Flows: 12, FlowsMax: 262144, Mappings: 7,
		Interfaces: []router.InterfaceStatus{
			{Name: "lan0", Side: "inside", Driver: "offload", MTU: 1500, Addresses: []string{"10.77.0.1/24", "fd77::1/64"}, PacketsIn: 1000, BytesIn: 1 << 20, PacketsOut: 900, BytesOut: 500},
			{Name: "wan0", Side: "outside", Driver: "water", MTU: 1400},
		},
		Drops: map[string]uint64{"no-mapping": 3, "malformed": 0, "tcp-window": 41, "bad-checksum": 3},
		Helpers: map[string]map[string]uint64{
			"tftp": {"attached": 1},
			"pptp": {"messages": 1000, "attached": 12, "calls": 0, "expect-created": 24},
			"ftp":  {"attached": 0},
		},
	}
}

const wantStatus = `up 1h2m   flows 12 of 262144   mappings 7

INTERFACE  SIDE     DRIVER    MTU  PACKETS IN  BYTES IN  PACKETS OUT  BYTES OUT  ADDRESSES
lan0       inside   offload  1500        1000   1.0 MiB          900      500 B  10.77.0.1/24
                                                                                 fd77::1/64
wan0       outside  water    1400           0       0 B            0        0 B

DROPPED               PACKETS
tcp-window                 41
bad-checksum                3
no-mapping                  3

HELPER  COUNTER               COUNT
pptp    attached                 12
pptp    expect-created           24
pptp    messages               1000
tftp    attached                  1
`

const wantStatusQuiet = `up 0s   flows 0 of 10   mappings 0

INTERFACE  SIDE     DRIVER   MTU  PACKETS IN  BYTES IN  PACKETS OUT  BYTES OUT  ADDRESSES
lan0       inside   memory  1500           0       0 B            0        0 B

no drops
`

const wantStatusAll = `up 0s   flows 0 of 10   mappings 0

INTERFACE  SIDE     DRIVER   MTU  PACKETS IN  BYTES IN  PACKETS OUT  BYTES OUT  ADDRESSES
lan0       inside   memory  1500           0       0 B            0        0 B

DROPPED               PACKETS
bad-address                 0
malformed                   0

HELPER  COUNTER               COUNT
pptp    calls                     0
`

func TestStatus(t *testing.T) {
	quiet := router.Status{
		FlowsMax: 10, Drops: map[string]uint64{"malformed": 0, "bad-address": 0},
		Helpers:    map[string]map[string]uint64{"pptp": {"calls": 0}},
		Interfaces: []router.InterfaceStatus{{Name: "lan0", Side: "inside", Driver: "memory", MTU: 1500}},
	}
	for name, tt := range map[string]struct {
		status router.Status
		args   []string
		want   string
	}{
		"busy":           {someStatus(), nil, wantStatus},
		"nothing yet":    {quiet, nil, wantStatusQuiet},
		"with all zeros": {quiet, []string{"--all"}, wantStatusAll},
	} {
		got := command(t, append([]string{"status", "--socket", answer(t, &fake{status: tt.status})}, tt.args...)...)
		if got.code != exitOK || got.err != "" || got.out != tt.want {
			t.Errorf("%s: exit %d, %s\n%swant\n%s", name, got.code, got.err, got.out, tt.want)
		}
	}
}

func TestStatusJSON(t *testing.T) {
	got := command(t, "status", "--socket", answer(t, &fake{status: someStatus()}), "-o", "json")
	var status router.Status
	if err := json.Unmarshal([]byte(got.out), &status); err != nil || !reflect.DeepEqual(status, someStatus()) {
		t.Errorf("%v, %+v", err, got)
	}
}
