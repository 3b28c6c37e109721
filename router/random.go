package router

import (
	crand "crypto/rand"
	"io"
	legacy "math/rand"
	"math/rand/v2"
	"sync"
)

// random is where every choice of a router comes from, so that a seed repeats a run. Safe for concurrent use.
type random struct {
	seed [32]byte

	mu     sync.Mutex
	stream *rand.ChaCha8 // guarded by mu
}

// newRandom uses a seed, or takes one from the system where it is zero.
func newRandom(seed [32]byte) (*random, error) {
	if seed == ([32]byte{}) {
		if _, err := crand.Read(seed[:]); err != nil {
			return nil, err
		}
	}
	return &random{seed: seed, stream: rand.NewChaCha8(seed)}, nil
}

// derive returns a seed for another room.
func (r *random) derive() (seed [32]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = r.stream.Read(seed[:]) // never fails
	return seed
}

// Uint64 makes random a source.
func (r *random) Uint64() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stream.Uint64()
}

// Read makes random netstack's SecureRNG: IP and fragment IDs come from it.
func (r *random) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stream.Read(b)
}

// fragmentID returns the identification of an IPv6 packet that is fragmented here (RFC 7739, section 5.3).
func (r *random) fragmentID() uint32 { return uint32(r.Uint64()) }

// reader is random as netstack wants it.
func (r *random) reader() io.Reader { return r }

// source is random in the form of math/rand, which netstack still uses.
func (r *random) source() legacy.Source { return legacySource{r} }

type legacySource struct{ r *random }

func (s legacySource) Int63() int64   { return int64(s.r.Uint64() >> 1) }
func (s legacySource) Uint64() uint64 { return s.r.Uint64() }
func (legacySource) Seed(int64)       {}
