package packet

import "fmt"

// reasons holds what people read of each reason: its name in all outputs and one line of help.
var reasons = [NumReasons]struct{ name, help string }{
	NotDropped: {"not-dropped", "the packet went on"},

	Malformed:         {"malformed", "a header is truncated, or its lengths contradict each other"},
	BadIPChecksum:     {"bad-ip-checksum", "the IPv4 header checksum is wrong"},
	BadChecksum:       {"bad-checksum", "the transport checksum is wrong, or missing where it must not be"},
	BadAddress:        {"bad-address", "a source or destination address that no router may forward"},
	BadFlags:          {"bad-flags", "TCP flags that no segment carries together"},
	UnsupportedHeader: {"unsupported-header", "an IPv6 extension header that cannot be walked, or too many of them"},
	Oversize:          {"oversize", "the packet is larger than a buffer"},

	FragmentOverlap: {"fragment-overlap", "fragments overlap, so their datagram is dropped whole"},
	FragmentTimeout: {"fragment-timeout", "the datagram was not complete in time"},
	FragmentMemory:  {"fragment-memory", "no memory left for fragments, or the source holds its share"},
	FragmentStale:   {"fragment-stale", "a fragment was lost, and its datagram's identification was used again or 64 later ones of the same hosts were complete"},
	FragmentInvalid: {"fragment-invalid", "a fragment's length, offset or count is impossible"},

	TCPWindow:        {"tcp-window", "a sequence or acknowledgement number is outside the window"},
	TCPState:         {"tcp-state", "the connection's state does not allow this segment"},
	TCPReset:         {"tcp-reset", "a reset whose sequence number is not exact enough to believe"},
	NotTracked:       {"not-tracked", "no connection, and this packet can't start one"},
	UnknownICMPError: {"unknown-icmp-error", "an ICMP error about no known connection"},
	ForgedICMPError:  {"forged-icmp-error", "an ICMP error whose addresses, checksum or quote contradict its connection"},
	TableFull:        {"table-full", "the connection table is full"},
	SourceLimit:      {"source-limit", "the inside host holds its share of connections"},
	UnrepliedLimit:   {"unreplied-limit", "too many connections without a reply"},
	Clash:            {"clash", "another connection took the same addresses and ports first"},
	SCTPTag:          {"sctp-tag", "the SCTP verification tag is wrong"},
	ChainLimit:       {"chain-limit", "no slot left in the hash table near the connection's place"},

	ReversePath:        {"reverse-path", "the source is routed to another interface than the packet came in by"},
	NoRoute:            {"no-route", "there is no route to the destination"},
	NoMapping:          {"no-mapping", "an unsolicited packet to an outside address"},
	UntranslatedSource: {"untranslated-source", "a private source address would leave an outside interface untranslated"},
	Filtered:           {"filtered", "a filter rule, or the filter's default, refused the packet"},
	InputFiltered:      {"input-filtered", "the router's own addresses do not answer this"},
	ProhibitedForward:  {"prohibited-forward", "link-local, loopback, multicast or directed broadcast: never forwarded"},
	TTLExceeded:        {"ttl-exceeded", "the TTL or hop limit ran out here"},

	NoPort:        {"no-port", "every outside port of the pool is in use"},
	MappingLimit:  {"mapping-limit", "the table of mappings is full"},
	PortLimit:     {"port-limit", "the inside host holds its share of outside ports"},
	PassConflict:  {"pass-conflict", "another inside host uses this portless protocol with the same peer"},
	CannotMap:     {"cannot-map", "the address has no checksum-neutral counterpart (NPTv6)"},
	Exhausted:     {"exhausted", "no memory or identifier left for the translation"},
	NATUnmappable: {"nat-unmappable", "the packet can't be translated: a redirect, or a protocol with no rule for it"},

	HelperDropped: {"helper-dropped", "a helper refused the packet"},
	SeqAdjust:     {"seq-adjust", "malformed TCP options on a connection that a helper edits"},

	TooBig:      {"too-big", "larger than the egress MTU, and may not be fragmented"},
	QueueFull:   {"queue-full", "the device takes no more at present"},
	DeviceError: {"device-error", "the device refused the packet"},
	DeviceDown:  {"device-down", "the device is closed"},

	NetstackPanic:   {"netstack-panic", "the network stack failed on this packet; the router goes on"},
	NetstackDropped: {"netstack-dropped", "the network stack refused the packet for a reason of its own"},
	RateLimited:     {"rate-limited", "an answer of the router itself, above the rate of errors"},
	Unspecified:     {"unspecified", "a stage dropped the packet without a reason: a defect, please report it"},
}

// String returns the name of the reason in metrics, status and logs: lower case, words joined by hyphens.
func (r DropReason) String() string {
	if r >= NumReasons {
		return fmt.Sprintf("reason-%d", uint8(r))
	}
	return reasons[r].name
}

// Help returns one line that explains the reason, empty for a value that is none.
func (r DropReason) Help() string {
	if r >= NumReasons {
		return ""
	}
	return reasons[r].help
}

// ParseDropReason returns the reason of a name that [DropReason.String] gives.
func ParseDropReason(name string) (DropReason, error) {
	for r := range reasons {
		if reasons[r].name == name {
			return DropReason(r), nil
		}
	}
	return NotDropped, fmt.Errorf("unknown drop reason %q", name)
}
