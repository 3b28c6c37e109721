// Package tun moves IP packets in batches between this process and the other end of a TUN: a kernel's network
// stack, or in tests another goroutine. [Device] and [Queue] say who owns which buffer until when.
//
// Drivers, all held to one conformance test:
//
//   - offload: the Linux TUN with virtio headers, so that TCP and UDP super-segments and unfinished checksums
//     cross in both directions; several queues; neighbouring segments of a flow merged before the write.
//   - water: github.com/songgao/water, one packet a call, for the other systems.
//   - memory: [NewPair], two ends within the process.
//   - descriptor: [FromFD], a TUN that somebody else opened, with offload where it was opened with virtio headers.
//
// What a caller leaves unfinished and the other side does not accept ([Caps]) is segmented or has its checksum
// finished here, in software. [Open] chooses the driver and sets up the host end of the TUN.
//
// The virtio header is that of Virtual I/O Device (VIRTIO) 1.2, section 5.1.6, in the machine's byte order.
//
// Limits: no TAP; no virtio header with hash or tunnel fields; the host end is set up on Linux only.
package tun
