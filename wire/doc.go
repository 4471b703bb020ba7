// Package wire holds every message that passes between a device and the server, and
// the codes of errors and closings. [Decode] reads a device's [Envelope] strictly,
// [DecodeBody] its body, [DecodeServer] what the server sent; [Types] says which fields
// each type has. JSON Schemas, an AsyncAPI document ([Schemas]) and the reference page
// docs/reference/problems.md are generated from these types; testdata has frames that
// every implementation must take or refuse.
//
// A device opens a WebSocket at /v1/connect with the subprotocol tandem.v1. Every frame
// is one [Envelope] of JSON text. The whole conversation:
//
//	device A                         server                        device B
//	   | <------- challenge {nonce} ---- |                              |
//	   | -- hello {assertion} ---------> |   the device's key signs the nonce
//	   | <------- welcome {sessions} --- |                              |
//	   | -- report {call party details}> |                              |
//	   | <------------- ack (stored) --- | <------ report (other side) -- |
//	   | <-- session {opened, members}-- | -- session {opened, …} ------> |
//	   | -- send {kind, body} ---------> | -- message {seq, from} ------> |
//	   | <------------ ack {seq} ------- |   after it is stored         |
//	   |            … connection lost, a new one: challenge, hello, welcome …
//	   | -- resume {session, epoch, seq} |                              |
//	   | <-- message … (what was missed) |                              |
//	   | <-- resumed {recovered, head} - |                              |
//	   | -- report {ended} ------------> |                              |
//	   | <-- session {after_call, until} | -- session {after_call} -----> |
//	   | <-- session {closed} ---------- | -- session {closed} ---------> |
//
// Either side sends ping when it has been silent for the heartbeat interval and answers
// ping with pong. Each request from a device has an id of the device's choosing;
// repeating a request with the same id is harmless and gets the same answer. Every
// request is answered by ack or error (SPEC B3).
package wire
