// Package party says who is who: which identities (SPEC A9) name the same party.
//
// A [Directory] maps an identity to its party's principal identity, by which parties are
// compared everywhere else ([Directory.Principal]). An identity that it doesn't know is
// its own principal, so calls between strangers can be compared too. A party's
// identities come to be by proof ([Directory.Prove], at enrolment), by an operator's word
// ([Directory.Link]) or by being made here ([Directory.Allocate]); never by an address book or a
// guess, so that nobody can merge another's party into their own.
//
// It also keeps which identities many people share (trunks, contact-centre and conference
// numbers: [Directory.Shared]), and which parties want nothing of each other ([Directory.Block]).
package party
