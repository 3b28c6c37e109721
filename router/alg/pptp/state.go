package pptp

// session is the state of a control connection (RFC 2637, section 3.1). Only an open one makes expectations; IDs are
// translated in each.
type session uint8

const (
	idle     session = iota
	opening          // a Start-Control-Connection-Request was seen
	open             // its reply was; or calls are made on a connection whose start was not seen
	stopping         // to be stopped: the calls have a short grace
	closed
	numSessions
	ss = numSessions // in the table: the state stays
)

// signal is what moves a control connection.
type signal uint8

const (
	sigStart   signal = iota // Start-Control-Connection-Request
	sigStarted               // its reply, with result 1
	sigRefused               // its reply, with another result
	sigStop                  // Stop-Control-Connection-Request
	sigStopped               // its reply; or the grace is over
	sigCall                  // a request for a call
	sigEnd                   // RST, or FIN from both ends
	numSignals
)

var sessionNext = [numSessions][numSignals]session{
	//         start    started refused stop      stopped call  end
	idle:     {opening, open, closed, stopping, closed, open, closed},
	opening:  {ss, open, closed, stopping, closed, ss, closed}, // call: behind the request in the same flight
	open:     {ss, ss, ss, stopping, closed, ss, closed},       // start: a repeat
	stopping: {ss, ss, ss, ss, closed, ss, closed},
	closed:   {opening, ss, ss, ss, ss, ss, ss},
}

// callState is the state of a call (RFC 2637, section 3.2).
type callState uint8

const (
	outWait  callState = iota // Outgoing-Call-Request seen
	outUp                     // answered: GRE may flow
	inWait                    // Incoming-Call-Request seen
	inReply                   // accepted, not yet connected
	inUp                      // connected: GRE may flow
	clearing                  // the PNS wants it cleared; the PAC has not yet told that it is
	numCallStates
	ended // only the IDs are remembered for a while
	xx    // in the table: no step, the state stays
)

// up reports whether GRE of the call may begin to flow.
func (s callState) up() bool { return s == outUp || s == inUp }

// event is what moves a call, after the request that made it.
type event uint8

const (
	noEvent      event = iota // the zero value: the message is none for calls
	answered                  // Outgoing-Call-Reply, result 1
	unanswered                // Outgoing-Call-Reply, other results
	accepted                  // Incoming-Call-Reply, result 1
	rejected                  // Incoming-Call-Reply, other results
	connected                 // Incoming-Call-Connected
	cleared                   // Call-Clear-Request
	disconnected              // Call-Disconnect-Notify
	timedOut                  // waited too long
	numEvents
)

// callNext is the state after an event. A state that comes to itself acts again: what of an open call's expectations
// is missing is made again.
var callNext = [numCallStates][numEvents]callState{
	//          none answered unanswered accepted rejected connected cleared disconnected timedOut
	outWait:  {xx, outUp, ended, xx, xx, xx, clearing, ended, ended},
	outUp:    {xx, outUp, ended, xx, xx, xx, clearing, ended, xx},
	inWait:   {xx, xx, xx, inReply, ended, xx, clearing, ended, ended},
	inReply:  {xx, xx, xx, inReply, ended, inUp, clearing, ended, ended},
	inUp:     {xx, xx, xx, xx, ended, inUp, clearing, ended, xx},
	clearing: {xx, clearing, ended, xx, ended, xx, xx, ended, ended}, // answered: the two crossed, the ID is learnt
}
