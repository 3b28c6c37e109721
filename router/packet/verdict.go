package packet

// Verdict is what a hook decides for one packet.
type Verdict uint8

const (
	Drop   Verdict = iota // the zero value, so a hook that forgets to decide fails closed
	Accept                // go on to the next hook
	Stolen                // the hook has taken the packet over and sends or frees it itself
)

func (v Verdict) String() string {
	switch v {
	case Drop:
		return "drop"
	case Accept:
		return "accept"
	case Stolen:
		return "stolen"
	}
	return "invalid"
}
