package ftp

// kind is what a command is to the helper.
type kind uint8

const (
	other   kind = iota
	login        // USER, PASS, ACCT: a positive reply to one of them logs in (RFC 959, section 5.4)
	restart      // REIN: the login is over
	quit
	auth    // AUTH: encryption may begin (RFC 4217, section 4)
	active  // PORT, EPRT, LPRT
	pasv    // answered by 227
	epsv    // answered by 229
	epsvAll // EPSV ALL: no other commands for data from now on (RFC 2428, section 4)
	lpsv    // answered by 228
)

// maxPending is how many commands that wait for their replies are remembered; of more, the latest.
const maxPending = 32

// queue holds the commands that wait for their replies, which come in order (RFC 959, section 5.4). Commands are numbered
// from 1 on. The zero value is empty.
type queue struct {
	kinds [maxPending]kind // by place, modulo
	first uint32           // place of the oldest: one below its number
	n     uint32
}

// push appends a command and returns its number.
func (q *queue) push(k kind) uint32 {
	if q.n == maxPending {
		q.first, q.n = q.first+1, q.n-1
	}
	q.kinds[(q.first+q.n)%maxPending] = k
	q.n++
	return q.first + q.n
}

// pop takes the oldest command: a reply to it has come.
func (q *queue) pop() (k kind, number uint32, ok bool) {
	if q.n == 0 {
		return other, 0, false
	}
	k = q.kinds[q.first%maxPending]
	q.first, q.n = q.first+1, q.n-1
	return k, q.first, true
}

// has reports whether a command of a kind waits.
func (q *queue) has(k kind) bool {
	for i := range q.n {
		if q.kinds[(q.first+i)%maxPending] == k {
			return true
		}
	}
	return false
}

// popTo takes commands up to the first of a kind: some servers leave commands without a reply (ABOR), and a reply that
// only one kind can have says which it is for. false: none of the kind waits.
func (q *queue) popTo(want kind) bool {
	if !q.has(want) {
		return false
	}
	for k, _, ok := q.pop(); ok && k != want; k, _, ok = q.pop() {
	}
	return true
}
