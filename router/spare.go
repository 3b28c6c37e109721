package router

// mostSpare is how many buffers a lane uses, about, before it sends what it has; then they are free again.
const mostSpare = 64

// spare is room for packets that a lane makes itself. It is the lane's until the batch is sent. The zero value is empty;
// one goroutine uses it.
type spare struct {
	buffers [][]byte // of bufferSize; the first used are taken
	used    int
	rest    []byte // what small packets have left of the last buffer that they share
}

// take returns a whole buffer.
func (s *spare) take() []byte {
	if s.used == len(s.buffers) {
		s.buffers = append(s.buffers, make([]byte, bufferSize))
	}
	s.used++
	return s.buffers[s.used-1]
}

// giveBack takes back what the last call of take returned, if nobody has taken anything since.
func (s *spare) giveBack() { s.used-- }

// room returns headroom and n bytes behind it. Small packets share a buffer: a datagram may leave in more than a thousand
// fragments.
func (s *spare) room(n int) []byte {
	n += headroom
	if len(s.rest) < n {
		s.rest = s.take()
	}
	buf := s.rest[:n:n]
	s.rest = s.rest[n:]
	return buf
}

// full reports whether it is time to send what was made.
func (s *spare) full() bool { return s.used >= mostSpare }

// reset takes all back. What a single packet needed beyond the usual is left to the garbage collector.
func (s *spare) reset() {
	if len(s.buffers) > 2*mostSpare {
		clear(s.buffers[2*mostSpare:])
		s.buffers = s.buffers[:2*mostSpare]
	}
	s.used, s.rest = 0, nil
}
