// Package tel holds the words of telephony that everything else uses: [Number] (an
// E.164 number), [Identity] (what names a party, of any kind in SPEC A9) and
// [PartyDetails] (what a report says of a call). Text from outside is parsed here once
// and is never a bare string afterwards.
package tel
