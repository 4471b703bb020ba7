package passport

// Cached counts the addresses that are remembered.
func Cached(v *Verifier) int {
	v.certificates.mu.Lock()
	defer v.certificates.mu.Unlock()
	return len(v.certificates.entries)
}

// Signed gives out what is under the signature, and the signature.
func Signed(t Token) (string, []byte) { return t.signed, t.signature }

// SignedBy verifies a token's signature alone.
var SignedBy = Token.signedBy

// Raw makes a token of a signature and what is under it.
func Raw(signed string, signature []byte) Token { return Token{signed: signed, signature: signature} }
