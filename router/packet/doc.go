// Package packet reads and changes IP packets in place: header views, checksums, segmentation, fragmentation,
// and the words that all rooms above share ([Verdict], [DropReason], [Meta]).
//
// It knows bytes only: no connections, no devices, no clock. Every view is checked once, where it is made;
// after that no method of it panics, whatever came from outside. Nothing here allocates but [Segment] and
// [Fragment] callbacks' scratch, which the caller passes in.
//
// Standards: RFC 791, 768, 792, 1624, 2637, 2784, 2890, 4443, 6935, 8200, 9260, 9293.
package packet
