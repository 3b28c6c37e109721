package beside

import (
	"strings"
	"testing"

	"github.com/natrouter/natrouter/integration/lab"
)

// limited is as "mtu", with the limits of ICMP errors that both routers have if nobody says otherwise.
var limited = group{
	name: "limited", mtu: 1400, errors: 1000, sysctls: []string{"net/ipv4/icmp_ratelimit=1000", "net/ipv6/icmp/ratelimit=1000"},
}

// TestStarved: while one host floods with packets that have no hop left, another is told each time that its packet is too
// big, by both routers (RFC 1191, section 4; RFC 8201, section 4). The flood gets a part and no more.
func TestStarved(t *testing.T) {
	lab.NeedLab(t)
	const flood, honest = 400, 20
	var all []script
	for _, v6 := range []bool{false, true} {
		steps, _, err := parseScript("f: a:5000 > x:53 udp ttl=1 len=40\nq: b:6000 > x:53 udp df len=1400")
		lab.Must(t, err)
		all = append(all, script{name: "starved", group: limited.name, v6: v6, steps: steps})
	}
	for _, s := range []*system{newKernel(t, &limited, all), newOurs(t, &limited, all)} {
		for i := range all {
			v := newView(&all[i], i)
			tooBig, noHops := "icmp type=3/4", "icmp type=11/0"
			if all[i].v6 {
				tooBig, noHops = "icmp type=2/0", "icmp type=3/0"
			}
			told, flooded := 0, 0
			for n := range flood {
				lines, err := v.run(s, &all[i].steps[0])
				lab.Must(t, err)
				if strings.Contains(lines[0], noHops) {
					flooded++
				}
				if n%(flood/honest) == 0 {
					lines, err := v.run(s, &all[i].steps[1])
					lab.Must(t, err)
					if strings.Contains(lines[0], tooBig) {
						told++
					}
				}
			}
			if told != honest || flooded == 0 || flooded > flood/2 {
				t.Errorf("%s, IPv6 %v: %d of %d told that it is too big, %d of %d answers to the flood", s.name, all[i].v6, told, honest, flooded, flood)
			}
			t.Logf("%s, IPv6 %v: %d of %d told, %d of %d answers to the flood", s.name, all[i].v6, told, honest, flooded, flood)
		}
	}
}
