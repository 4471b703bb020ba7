// Package coupling ties telephones to the devices that carry data for them (SPEC B8): a desk
// phone and a PC, a mobile and a car, any phone and a television.
//
// A [Coupling] says that a device carries data for a number. Such a device needs no code by
// text message of its own: a [Voucher] stands up for it, which is a device that has proved
// the number itself, an operator, or an element to which the network showed the number. What
// the device gets is a binding of the kind "coupled" (package device), which lasts no longer
// than the voucher's own proof, and is never better than it; a coupled device vouches for
// nobody. With the binding it is one of its party's devices, like every other.
//
// The [Service] makes couplings in two ways, as drawn in wire/coupling.go. Either the
// voucher's side makes an [Offer], whose code is typed at the device. Or the device makes a
// [Request], whose code is typed on the voucher's side. The codes differ in their alphabet,
// so that neither serves for the other. In both ways it is the request that is granted, by
// one compare-and-set, and the device that claims what was granted with its key.
//
// A temporary coupling has a lease. [Coupling.Seen] is the rule by which it is renewed: the
// phone's device says that it has the other on a local link, or both were heard of lately
// from the same network. When the lease runs out the device loses its binding; the coupling
// stays, and comes back as soon as the two are near each other again.
package coupling
