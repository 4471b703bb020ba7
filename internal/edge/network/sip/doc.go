// Package sip is the SIP network element (A4): a registrar and a record-routing proxy that
// reports the calls it carries. So a telephone without any Tandem app takes part: the
// network speaks for it.
//
// An [Element] takes SIP over UDP, TCP, TLS and WebSocket (RFC 7118). What it says of a
// call is a [Report] for each side, handed to Config.Report by a queue, so that no call
// waits for the rest of Tandem.
//
//	phone A                      Element                        phone B
//	   | REGISTER ------------------>| <------------------ REGISTER |
//	   | INVITE -------------------->| INVITE --------------------->|   reports: A ringing
//	   | <---------------------- 180 | <----------------------- 180 |            B ringing
//	   | <---------------------- 200 | <----------------------- 200 |            A, B active
//	   | ACK ----------------------->| ACK ------------------------>|
//	   | …  re-INVITE: held, active; every minute: still up …       |
//	   | BYE ----------------------->| BYE ------------------------>|            A, B ended
//
// From the bottom up: message.go, syntax.go, uri.go, address.go (the words); parse.go,
// validate.go, fault.go (what is taken, and what is answered to the rest, RFC 4475);
// transport.go, tls.go, websocket.go, flow.go (the ways to peers); shard.go, timer.go,
// transaction.go (RFC 3261 17, RFC 6026); proxy.go, fork.go, reach.go (RFC 3261 16),
// registrar.go, location.go, digest.go, token.go; track.go, geolocation.go, report.go (what is reported);
// element.go puts them together.
//
// Each call belongs to one [shard], by its Call-ID. The shard is one goroutine that handles
// messages and timers one after the other; it never waits for a name, a connection or the
// core.
package sip
