package packet

//go:generate go run ./internal/reasondoc -o ../../docs/drop-reasons.md

// DropReason says why a packet was dropped. Metrics, status, explain, logs and docs/drop-reasons.md share this
// one enumeration. The zero value, NotDropped, says that the packet went on.
type DropReason uint8

// The reasons, in the order of a packet's way.
const (
	NotDropped DropReason = iota

	// Reading and parsing.
	Malformed         // a header is truncated, or its lengths contradict each other
	BadIPChecksum     // IPv4 header checksum is wrong
	BadChecksum       // transport checksum is wrong
	BadAddress        // source or destination that no router may forward
	BadFlags          // TCP flags that no segment carries
	UnsupportedHeader // IPv6 extension header that cannot be walked
	Oversize          // larger than a buffer

	// Fragments.
	FragmentOverlap // fragments overlap: the datagram is dropped whole
	FragmentTimeout // the datagram was not complete in time
	FragmentMemory  // no memory left for fragments
	FragmentStale   // others overtook the datagram, or its identification was used again
	FragmentInvalid // fragment length, offset or count is impossible

	// Connection tracking.
	TCPWindow        // sequence or acknowledgement number outside the window
	TCPState         // segment that the connection's state does not allow
	TCPReset         // RST whose sequence number is not exact enough to believe
	NotTracked       // no connection, and this packet can't start one
	UnknownICMPError // ICMP error about no known connection
	ForgedICMPError  // ICMP error whose addresses, checksum or quote contradict its connection
	TableFull        // connection table is full
	SourceLimit      // the inside host holds its share of connections
	UnrepliedLimit   // too many unreplied connections
	Clash            // the tuple was taken between lookup and confirm
	SCTPTag          // SCTP verification tag is wrong
	ChainLimit       // no slot left in the hash table near the tuple

	// Routing and policy.
	ReversePath        // source is routed to another interface
	NoRoute            // no route to the destination
	NoMapping          // unsolicited packet to an outside address
	UntranslatedSource // a private source would leave an outside interface
	Filtered           // a filter rule or default refused it
	InputFiltered      // the router's own addresses do not answer this
	ProhibitedForward  // may never be forwarded: link-local, loopback, directed broadcast, multicast
	TTLExceeded        // TTL or hop limit ran out here

	// Translation.
	NoPort        // every outside port of the pool is in use
	MappingLimit  // the table of mappings is full
	PortLimit     // the inside host holds its share of outside ports
	PassConflict  // another inside host holds this portless protocol to this peer
	CannotMap     // NPTv6: the address has no checksum-neutral counterpart
	Exhausted     // no memory or identifier for the translation
	NATUnmappable // the packet can't be translated: redirect, or a protocol with no rule for it

	// Helpers.
	HelperDropped // a helper refused the packet
	SeqAdjust     // malformed TCP options on a connection with edits

	// Sending.
	TooBig      // larger than the egress MTU and may not be fragmented
	QueueFull   // the device takes no more
	DeviceError // the device refused the packet
	DeviceDown  // the device is closed

	// Ourselves.
	NetstackPanic   // netstack panicked on this packet
	NetstackDropped // netstack refused it for a reason of its own
	RateLimited     // an answer of the router itself, above the error rate
	Unspecified     // a hook dropped without giving a reason: a defect

	// NumReasons is how many there are, for arrays indexed by DropReason.
	NumReasons
)
