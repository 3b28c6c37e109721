package ftp

// kind is what a command is to the helper.
type kind uint8

const (
	other   kind = iota
	login        // USER, PASS, ACCT: a completion of one of them logs in (RFC 959, section 5.4)
	restart      // REIN: the login is over
	quit
	auth    // AUTH: encryption may begin (RFC 4217, section 4)
	active  // PORT, EPRT, LPRT
	passive // PASV, EPSV, LPSV: answered by a reply with an endpoint
	epsvAll // EPSV ALL: no other commands for data from now on (RFC 2428, section 4)
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

// take takes the oldest command that a reply can be for, which is of a kind that is wanted. Those before it wait on.
func (q *queue) take(wanted func(kind) bool) (k kind, number uint32, ok bool) {
	for i := range q.n {
		k = q.kinds[(q.first+i)%maxPending]
		if !wanted(k) {
			continue
		}
		number = q.first + i + 1
		for ; i > 0; i-- { // those before it move up, and get other numbers; nobody asks for theirs
			q.kinds[(q.first+i)%maxPending] = q.kinds[(q.first+i-1)%maxPending]
		}
		q.first, q.n = q.first+1, q.n-1
		return k, number, true
	}
	return other, 0, false
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

// skipTo leaves out the commands before the first of a kind: some servers leave commands without a reply (ABOR), and a
// reply that only one kind can have says which it is for.
func (q *queue) skipTo(k kind) {
	for q.has(k) && q.kinds[q.first%maxPending] != k {
		q.first, q.n = q.first+1, q.n-1
	}
}
