package sip

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// keys are the secrets of the element, one per purpose.
type keys struct{ token, password, nonce, tag []byte }

func newKeys(secret []byte) (k keys, err error) {
	for purpose, key := range map[string]*[]byte{"token": &k.token, "password": &k.password, "nonce": &k.nonce, "tag": &k.tag} {
		if *key, err = hkdf.Key(sha256.New, secret, nil, "tandem sip "+purpose, 32); err != nil {
			return k, fmt.Errorf("sip: derive the %s key: %w", purpose, err)
		}
	}
	return k, nil
}

// mac of some texts, which cannot run into one another.
func mac(key []byte, texts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, t := range texts {
		h.Write([]byte(strconv.Itoa(len(t)) + ":" + t))
	}
	return h.Sum(nil)
}

// lower is base32 in lower case: URIs' user parts and tags may be compared without case.
var lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// tokenMAC is how many bytes vouch for a token.
const tokenMAC = 10

// tokenFor makes the user part of a Record-Route (RFC 5626 5.2): the flow to the side that
// it faces. It holds for this call only, so that nobody can make the element send
// elsewhere.
func (e *Element) tokenFor(f *flow, callID string) string {
	b := f.encode()
	return lower.EncodeToString(append(b, mac(e.keys.token, string(b), callID)[:tokenMAC]...))
}

// readToken returns the bytes of the flow; false if the token is not ours or not for this call.
func (e *Element) readToken(token, callID string) ([]byte, bool) {
	b, err := lower.DecodeString(strings.ToLower(token))
	if err != nil || len(b) <= tokenMAC {
		return nil, false
	}
	b, sum := b[:len(b)-tokenMAC], b[len(b)-tokenMAC:]
	return b, hmac.Equal(sum, mac(e.keys.token, string(b), callID)[:tokenMAC])
}

// tagFor makes a To tag that is the same each time (RFC 3261 8.2.7).
func (e *Element) tagFor(what string) string { return lower.EncodeToString(mac(e.keys.tag, what)[:10]) }

// newBranch makes a branch: unique, and with what shows a loop (RFC 3261 16.6 step 8, RFC
// 5393 4.2.1).
func (e *Element) newBranch(loop string) string {
	return cookie + strconv.FormatUint(rand.Uint64(), 36) + "." + loop
}

// loopOf is equal for two requests that would be handled alike.
func (e *Element) loopOf(m *Message) string {
	n, _, _ := strings.Cut(m.Get(CSeq), " ")
	return base64.RawURLEncoding.EncodeToString(mac(e.keys.tag, m.URI, tagOf(m.Get(From)), tagOf(m.Get(To)), m.Get(CallID), n, m.Get(Route))[:9])
}

// looped reports whether the request was here before, with nothing changed since.
func (e *Element) looped(m *Message) bool {
	loop := "." + e.loopOf(m)
	for _, value := range m.All(Via) {
		if v, ok := parseVia(value); ok && strings.HasSuffix(v.branch(), loop) {
			return true
		}
	}
	return false
}
