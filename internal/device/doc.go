// Package device knows the devices: which key each one holds, which numbers it has
// proved (SPEC B16, DESIGN section 5), and under which application id it is reached by
// push (B7).
//
// A [Registry] enrols a device ([Registry.Begin], [Registry.Confirm]: a one-time code
// proves the number, a signature proves the key) and finds devices by id, by number and
// by party. An [Authenticator] checks, on every connection, that the other end holds
// the key of a device that may still speak for its number.
//
// # Keys and assertions
//
// A device makes an ECDSA key on P-256 and never shows the private part. The public
// part is a [wire.JWK]. Its [Thumbprint] decides the device's id: the same key enrolled
// again is the same device, and a revoked key stays revoked.
//
// Twice a device proves that it holds the key: when it enrols, and on every connection.
// Each time it makes an assertion, a JWS in compact form (RFC 7515) with the header
// {"alg":"ES256"}, at most 4 KiB long, and these claims (RFC 7519):
//
//	sub     the device's id; absent, empty or ignored at enrolment, where it has none yet
//	aud     "tandem"
//	nonce   what the server gave: the challenge's nonce, or the enrolment's id
//	tenant  the tenant; absent means "default"
//	iat     now, in seconds since 1970
//	exp     at most 300 s after iat
//
// Clocks may differ by 60 s. An assertion for the one purpose cannot serve for the other,
// since no nonce of a challenge is an enrolment's id.
//
// # One device, one party
//
// A device belongs to the party of the numbers that it has proved. Numbers of several
// parties need a key each, or an operator's link between the numbers first: a device
// never merges two parties by itself, since whoever borrows a phone for a minute
// could do so.
package device
