package nat

// remotes counts the connections of each mapping to each remote address, for address-dependent filtering: open
// addressing over keyed hashes of 64 bits, which stand for mapping and address themselves. Two of them are alike
// with probability 2^-64.
type remotes struct {
	hashes []uint64 // 0: empty
	counts []uint32
	used   int
}

// newRemotes returns a table that holds n entries before it grows, which stops all packets for a while; parts that
// were never used take no memory.
func newRemotes(n int) remotes {
	size := 64
	for size*3/4 < n {
		size *= 2
	}
	return remotes{hashes: make([]uint64, size), counts: make([]uint32, size)}
}

// find returns where hash is, or where it would be put.
func (r *remotes) find(hash uint64) int {
	mask := len(r.hashes) - 1
	i := int(hash) & mask
	for r.hashes[i] != 0 && r.hashes[i] != hash {
		i = (i + 1) & mask
	}
	return i
}

// key keeps 0 free to mean empty.
func remoteKey(hash uint64) uint64 {
	if hash == 0 {
		return 1
	}
	return hash
}

func (r *remotes) has(hash uint64) bool {
	hash = remoteKey(hash)
	return r.hashes[r.find(hash)] == hash
}

func (r *remotes) add(hash uint64) {
	hash = remoteKey(hash)
	if (r.used+1)*4 > len(r.hashes)*3 {
		r.grow()
	}
	i := r.find(hash)
	if r.hashes[i] == 0 {
		r.hashes[i] = hash
		r.used++
	}
	r.counts[i]++
}

func (r *remotes) grow() {
	old := *r
	r.hashes, r.counts = make([]uint64, 2*len(old.hashes)), make([]uint32, 2*len(old.hashes))
	for i, h := range old.hashes {
		if h != 0 {
			j := r.find(h)
			r.hashes[j], r.counts[j] = h, old.counts[i]
		}
	}
}

// remove takes one connection off, and with the last one the entry (Knuth, volume 3, section 6.4, algorithm R).
func (r *remotes) remove(hash uint64) {
	hash = remoteKey(hash)
	i := r.find(hash)
	if r.hashes[i] == 0 {
		return
	}
	if r.counts[i]--; r.counts[i] != 0 {
		return
	}
	r.used--
	mask := len(r.hashes) - 1
	for j := i; ; {
		j = (j + 1) & mask
		if r.hashes[j] == 0 {
			break
		}
		if home := int(r.hashes[j]) & mask; (j-home)&mask >= (j-i)&mask {
			r.hashes[i], r.counts[i] = r.hashes[j], r.counts[j]
			i = j
		}
	}
	r.hashes[i], r.counts[i] = 0, 0
}
