package config

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// changes are, for each key that no standard form below makes, a part of a file in which the key isn't at its default.
var changes = map[string]string{
	"process.user":                  "user = \"nobody\"",
	"log.level":                     "level = \"debug\"",
	"log.format":                    "format = \"json\"",
	"log.drops":                     "drops = true",
	"control.socket":                "socket = \"/c\"",
	"metrics.listen":                "listen = \"[::1]:9469\"",
	"interface.name":                "name = \"x\"",
	"interface.side":                "name = \"x\"\nside = \"outside\"",
	"interface.driver":              "name = \"x\"\ndriver = \"water\"",
	"interface.address":             "name = \"x\"\naddress = \"10.1.0.1/24\"",
	"interface.mtu":                 "name = \"x\"\nmtu = 1400",
	"interface.queues":              "name = \"x\"\nqueues = 2",
	"interface.fd":                  "name = \"x\"\nfd = 5",
	"interface.fd_name":             "name = \"x\"\nfd_name = \"y\"",
	"interface.netns":               "name = \"x\"\nnetns = \"y\"",
	"interface.host_address":        "name = \"x\"\nhost_address = \"10.1.0.2/24\"",
	"interface.host_route":          "name = \"x\"\nhost_address = \"10.1.0.2/24\"\nhost_route = \"10.2.0.0/16\"",
	"interface.gso":                 "name = \"x\"\ngso = false",
	"interface.checksum":            "name = \"x\"\nchecksum = false",
	"interface.coalesce":            "name = \"x\"\ncoalesce = false",
	"route.to":                      "to = \"10.2.0.0/16\"\ninterface = \"lan0\"",
	"route.interface":               "to = \"10.2.0.0/16\"\ninterface = \"lan0\"",
	"route.via":                     "to = \"10.2.0.0/16\"\ninterface = \"lan0\"\nvia = \"10.77.0.9\"",
	"nat.action":                    "action = \"accept\"",
	"nat.in":                        "action = \"accept\"\nin = \"lan0\"",
	"nat.out":                       "action = \"accept\"\nout = \"wan0\"",
	"nat.source":                    "action = \"accept\"\nsource = \"10.1.1.1\"",
	"nat.destination":               "action = \"accept\"\ndestination = \"10.1.1.1\"",
	"nat.protocol":                  "action = \"accept\"\nprotocol = \"gre\"",
	"nat.port":                      "action = \"accept\"\nprotocol = \"tcp\"\nport = 80",
	"nat.to":                        "action = \"redirect\"\nprotocol = \"tcp\"\nto = \":80\"",
	"nat.to_port":                   "action = \"masquerade\"\nout = \"wan0\"\nto_port = \"5000-5999\"",
	"nat.mapping":                   "action = \"masquerade\"\nout = \"wan0\"\nmapping = \"address-dependent\"",
	"nat.filtering":                 "action = \"masquerade\"\nout = \"wan0\"\nfiltering = \"endpoint-independent\"",
	"nat.hairpin":                   "action = \"masquerade\"\nout = \"wan0\"\nhairpin = true",
	"nat.on_address_change":         "action = \"masquerade\"\nout = \"wan0\"\non_address_change = \"keep\"",
	"helper.name":                   "name = \"none\"\nprotocol = \"tcp\"",
	"helper.protocol":               "name = \"none\"\nprotocol = \"tcp\"",
	"helper.port":                   "name = \"none\"\nprotocol = \"tcp\"\nport = 21",
	"helper.source":                 "name = \"none\"\nprotocol = \"tcp\"\nsource = \"10.1.1.1\"",
	"helper.destination":            "name = \"none\"\nprotocol = \"tcp\"\ndestination = \"10.1.1.1\"",
	"helper.timeout":                "name = \"pptp\"\nprotocol = \"tcp\"\nport = 1723\ntimeout = \"1m\"",
	"helper.stream_timeout":         "name = \"pptp\"\nprotocol = \"tcp\"\nport = 1723\nstream_timeout = \"1m\"",
	"helper.max_calls":              "name = \"pptp\"\nprotocol = \"tcp\"\nport = 1723\nmax_calls = 3",
	"helper.max_dcc":                "name = \"irc\"\nprotocol = \"tcp\"\nport = 6667\nmax_dcc = 3",
	"helper.loose":                  "name = \"ftp\"\nprotocol = \"tcp\"\nport = 21\nloose = \"10.1.1.1\"",
	"helper.data_port":              "name = \"ftp\"\nprotocol = \"tcp\"\nport = 21\ndata_port = \"5000-6000\"",
	"helper.min_port":               "name = \"ftp\"\nprotocol = \"tcp\"\nport = 21\nmin_port = 2000",
	"helper.deny_port":              "name = \"ftp\"\nprotocol = \"tcp\"\nport = 21\ndeny_port = [3306, \"5900-5999\"]",
	"helper.strict20":               "name = \"ftp\"\nprotocol = \"tcp\"\nport = 21\nstrict20 = true",
	"helper.lprt":                   "name = \"ftp\"\nprotocol = \"tcp\"\nport = 21\nlprt = true",
	"helper.ccc":                    "name = \"ftp\"\nprotocol = \"tcp\"\nport = 21\nccc = true",
	"pass.protocol":                 "protocol = \"esp\"",
	"pass.source":                   "protocol = \"esp\"\nsource = \"10.1.1.1\"",
	"pass.destination":              "protocol = \"esp\"\ndestination = \"10.1.1.1\"",
	"pass.conflict":                 "protocol = \"esp\"\nconflict = \"newest\"",
	"filter.forward":                "forward = \"drop\"",
	"filter.input":                  "input = \"drop\"",
	"filter.reverse_path":           "reverse_path = false",
	"filter.rule.action":            "action = \"drop\"",
	"filter.rule.in":                "action = \"drop\"\nin = \"lan0\"",
	"filter.rule.out":               "action = \"drop\"\nout = \"lan0\"",
	"filter.rule.source":            "action = \"drop\"\nsource = \"10.1.1.1\"",
	"filter.rule.destination":       "action = \"drop\"\ndestination = \"10.1.1.1\"",
	"filter.rule.protocol":          "action = \"drop\"\nprotocol = \"sctp\"",
	"filter.rule.port":              "action = \"drop\"\nprotocol = \"udp\"\nport = 53",
	"filter.rule.state":             "action = \"drop\"\nstate = \"new\"",
	"filter.rule.helper":            "action = \"drop\"\nhelper = \"ftp\"",
	"conntrack.max":                 "max = 5",
	"conntrack.buckets":             "buckets = 64",
	"conntrack.max_expectations":    "max_expectations = 0",
	"conntrack.max_per_source":      "max_per_source = 9",
	"conntrack.max_unreplied":       "max_unreplied = 9",
	"conntrack.fragment_memory":     "fragment_memory = \"1MiB\"",
	"conntrack.profile":             "profile = \"linux\"",
	"conntrack.accounting":          "accounting = false",
	"conntrack.auto_helper":         "auto_helper = true",
	"conntrack.tcp_loose":           "tcp_loose = false",
	"conntrack.tcp_liberal":         "tcp_liberal = true",
	"conntrack.policy.protocol":     "protocol = \"gre\"\ntimeout = { gre = \"1h\" }",
	"conntrack.policy.destination":  "destination = \"10.1.1.1\"\ntimeout = { gre = \"1h\" }",
	"conntrack.policy.port":         "protocol = \"tcp\"\nport = 22\ntimeout = { tcp_established = \"9d\" }",
	"nat_defaults.mapping":          "mapping = \"address-dependent\"",
	"nat_defaults.filtering":        "filtering = \"endpoint-independent\"",
	"nat_defaults.hairpin":          "hairpin = false",
	"nat_defaults.port_range":       "port_range = \"2000-3000\"",
	"nat_defaults.port_parity":      "port_parity = false",
	"nat_defaults.port_choice":      "port_choice = \"random\"",
	"nat_defaults.pooling":          "pooling = \"arbitrary\"",
	"nat_defaults.overlap":          "overlap = \"never\"",
	"nat_defaults.quarantine":       "quarantine = \"3m\"",
	"nat_defaults.inbound_refresh":  "inbound_refresh = true",
	"nat_defaults.ports_per_source": "ports_per_source = 9",
	"nat_defaults.max_mappings":     "max_mappings = 9",
	"nat_defaults.ip_id":            "ip_id = \"keep\"",
	"nat_defaults.mss_clamp":        "mss_clamp = 1400",
	"icmp.error_rate":               "error_rate = 0",
	"fast_path.enabled":             "enabled = false",
}

// TestEveryKeyCounts changes each key of the schema: the file must say something else with it than without it, or be
// refused without it or as not supported yet. So no key is checked and then forgotten.
func TestEveryKeyCounts(t *testing.T) {
	walk(schema(), "", func(k *key, path string) {
		section := path[:strings.LastIndexByte(path, '.')]
		part, ok := changes[path]
		switch {
		case strings.HasPrefix(path, "conntrack.policy.timeout."):
			section, part = "conntrack.policy", "timeout = { "+k.name+" = \"3h\" }\n"
		case strings.HasPrefix(path, "conntrack.timeout."):
			part = k.name + " = \"3h\""
		case !ok:
			t.Errorf("no case for %s", path)
			return
		}
		header := "[" + section + "]"
		if at := tableOf(schema(), section); at.array {
			header = "[[" + section + "]]"
		}
		with := header + "\n" + part + "\n" + twoSides
		line := regexp.MustCompile(`(?m)^` + k.name + ` = .*$`)
		if section == "conntrack.policy" && !line.MatchString(part) {
			line = regexp.MustCompile(k.name + ` = "3h"`)
		}
		without := line.ReplaceAllString(with, "")
		if with == without {
			t.Errorf("%s: the case doesn't have the key:\n%s", path, part)
		}
		f, err := Parse("f", []byte(with))
		if err != nil {
			if !strings.Contains(err.Error(), "not supported yet") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v", path, err)
			}
			return
		}
		g, err := Parse("f", []byte(without))
		if err == nil && reflect.DeepEqual(f, g) {
			t.Errorf("%s changes nothing", path)
		}
	})
}

// tableOf returns the table of a path.
func tableOf(k *key, path string) *key {
	for name := range strings.SplitSeq(path, ".") {
		k = find(k.keys, name)
	}
	return k
}
