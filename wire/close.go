package wire

// CloseCode is the status with which the server closes a WebSocket (RFC 6455 7.4;
// 4000–4999 are ours).
type CloseCode uint16

// Close codes.
const (
	CloseDraining    CloseCode = 4000 // the node goes down: reconnect at once, anywhere
	CloseBadFrame    CloseCode = 4001 // a frame that no correct client sends
	CloseUnauthentic CloseCode = 4003 // the assertion did not hold
	CloseRevoked     CloseCode = 4004 // the device's credential was revoked
	CloseAuthTimeout CloseCode = 4005 // no hello in time
	CloseTooMany     CloseCode = 4006 // too many connections of this device
	CloseSlow        CloseCode = 4008 // the client reads too slowly; resume fills the gap
	CloseHeartbeat   CloseCode = 4009 // silence for longer than two heartbeats
	CloseRate        CloseCode = 4010 // far above the rate limit
	CloseInternal    CloseCode = 4011 // fault in the server
)

// CloseInfo is what the protocol says of one close code.
type CloseInfo struct {
	Code    CloseCode
	Name    string
	Meaning string
}

// CloseCodes lists the close codes.
var CloseCodes = []CloseInfo{
	{CloseDraining, "draining", "The node goes down; another one, or the restarted one, will answer."},
	{CloseBadFrame, "bad frame", "A frame came that no correct client sends."},
	{CloseUnauthentic, "not authentic", "The assertion did not hold."},
	{CloseRevoked, "revoked", "The device's credential was revoked: enrol again."},
	{CloseAuthTimeout, "authentication timeout", "No hello came in time."},
	{CloseTooMany, "too many connections", "The device, or its address, has too many connections."},
	{CloseSlow, "slow", "The client reads too slowly; a resume fills the gap."},
	{CloseHeartbeat, "heartbeat", "Nothing was heard for longer than two heartbeats."},
	{CloseRate, "rate", "Far above the rate limit."},
	{CloseInternal, "internal", "A fault in the server."},
}

// Reconnect says whether a client should come back by itself, and whether only after
// a pause (with jitter).
func (c CloseCode) Reconnect() (again, pause bool) {
	switch c {
	case CloseBadFrame, CloseUnauthentic, CloseRevoked:
		return false, false
	case CloseDraining, CloseSlow, CloseHeartbeat:
		return true, false
	}
	return true, true
}
