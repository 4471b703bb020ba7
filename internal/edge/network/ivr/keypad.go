package ivr

import "github.com/pion/rtp"

// keypad finds key presses among RTP packets of telephone events (RFC 4733). Each event is sent
// many times, under the timestamp of its beginning; so one is known by whichever of its packets
// arrives, and lost or reordered ones do no harm.
//
// A library's reader was tried: it needs the first packet, and lost keys of a real telephone.
type keypad struct {
	payloadType uint8

	began bool
	at    uint32 // timestamp of the newest event
	event byte
	ended bool
}

const (
	keys = "0123456789*#ABCD" // by event code, RFC 4733 3.2
	// endBit is in the second byte of an event.
	endBit = 0x80
	// longest duration that an event can say; one that lasts longer goes on under a new timestamp.
	longestEvent = 0xffff
)

// press returns the key of a packet that begins an event.
func (k *keypad) press(h rtp.Header, payload []byte) (rune, bool) {
	if h.PayloadType != k.payloadType || len(payload) < 4 || int(payload[0]) >= len(keys) {
		return 0, false
	}
	event, ended, since := payload[0], payload[1]&endBit != 0, h.Timestamp-k.at
	if k.began && int32(since) <= 0 {
		k.ended = k.ended || since == 0 && ended
		return 0, false // of the event that is known, or an older one
	}
	goesOn := k.began && !k.ended && !h.Marker && event == k.event && since == longestEvent
	k.began, k.at, k.event, k.ended = true, h.Timestamp, event, ended
	return rune(keys[event]), !goesOn
}
