// Package wsconn keeps the devices' connections: the WebSocket at /v1/connect and, where
// that is blocked, the fallback of server-sent events at /v1/events plus POST /v1/frames
// (SPEC B4, B5). A [Handler] serves all three; behind it stands a [Backend], which knows
// who a device is and what its frames mean. What is sent to a device goes through its
// [Outbox], a bounded queue that a goroutine empties only while there is something in it,
// many frames to one write.
//
// # WebSocket
//
// RFC 6455 with the subprotocol tandem.v1; each text message is one wire.Envelope.
//
//	device                           server
//	   | -- GET, Upgrade ------------> |   Origin, subprotocol, room for one more?
//	   | <---- 101, challenge -------- |
//	   | -- hello -------------------> |   Backend.Hello, then Backend.Attach
//	   | <---- welcome --------------- |   the first frame after hello, always
//	   | -- request -----------------> |   Backend.Handle
//	   | <---- answers, messages ----- |
//	   | <-- ping (after silence) ---- |   either side; answered by pong
//	   | <---- close {code} ---------- |   wire.CloseCode; the device answers, and is cut off
//
// Binary messages are refused with wire.CloseBadFrame until live streams need them.
//
// A connection from which nothing has come for a second rests: it has no goroutine and no
// read buffer until it speaks again (Linux, without TLS in this process). See lounge.
//
// # Server-sent events and POST
//
// Both requests carry "Authorization: Bearer TOKEN". The stream is read with fetch, since
// EventSource cannot send that header. It consists of these events, and of comments as
// heartbeats:
//
//	event: stream                    the first event: this stream's id
//	data: {"stream":"str_…"}
//
//	event: envelope                  one envelope; the first one is welcome
//	data: {"type":"welcome",…}
//
//	event: close                     the last event: as a WebSocket's close frame
//	data: {"code":4000,"reason":"…"}
//
// POST /v1/frames takes one envelope with an id and returns its answer: an ack as
// application/json, an error's problem as application/problem+json with the problem's
// status, and 504 outcome-unknown if there is none in time (then repeat the request, which
// is harmless). A signal, which has no answer but a fault, gets 204. Heartbeats of the
// device are not needed: a device that reads nothing is noticed by the writes.
//
// The POST names its device's stream in the header Tandem-Stream. What the request causes
// besides its answer goes to that stream, and so does an answer that comes too late. A
// resume must name a stream and gets 204: the missed messages are sent on the stream and
// after them, in order, the resumed envelope, or the error.
//
// # Locks
//
// registry.mu, outbox.mu and lounge.mu are never held together. Backend is called with neither held.
package wsconn
