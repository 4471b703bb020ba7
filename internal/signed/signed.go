// Package signed signs requests to other people's servers as Standard Webhooks says
// (symmetric, version v1): [Sign] makes the signature of one key, [Text] the secret as the receiver enters it.
package signed

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
)

// NewKey returns 32 random bytes; Standard Webhooks asks for 24 to 64.
func NewKey() []byte {
	b := make([]byte, 32)
	rand.Read(b) // never fails: it would end the program
	return b
}

// Text is a key as the receiver enters it.
func Text(key []byte) string { return "whsec_" + base64.StdEncoding.EncodeToString(key) }

// Sign returns the signature of a message with an id, sent at a time in Unix seconds.
func Sign(key []byte, id string, timestamp int64, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + strconv.FormatInt(timestamp, 10) + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
