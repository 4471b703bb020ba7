package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-call/tandem/internal/signed"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Secret is a symmetric key of Standard Webhooks: "whsec_" and base64.
type Secret struct {
	Key []byte `json:"key"`
	// Until it is used besides the newer one; zero: it is the newest.
	Until time.Time `json:"until,omitzero"`
}

// String is the secret as the receiver enters it.
func (s Secret) String() string { return signed.Text(s.Key) }

// sign returns the header webhook-signature: one signature for each secret in use.
func sign(secrets []Secret, id string, timestamp int64, body []byte, now time.Time) string {
	var all []string
	for _, s := range secrets {
		if !s.Until.IsZero() && !now.Before(s.Until) {
			continue
		}
		all = append(all, signed.Sign(s.Key, id, timestamp, body))
	}
	return strings.Join(all, " ")
}

// EventID makes an event's id of what tells it from all others, so that whoever emits it
// again after a crash uses the same one. It gives nothing of the parts away if one of them
// cannot be guessed.
func EventID(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(strconv.Itoa(len(p)) + ":" + p))
	}
	return "evt_" + hex.EncodeToString(h.Sum(nil)[:16])
}

// shown writes what is personal as the endpoint may see it.
type shown struct{ e Endpoint }

func (s shown) Party(principal, visible tel.Identity) string {
	switch {
	case visible.IsZero():
		return ""
	case s.e.Identities == Full:
		return visible.String()
	}
	return s.pseudonym("party", principal.String())
}

func (s shown) Device(id wire.DeviceID) string {
	if s.e.Identities == Full {
		return string(id)
	}
	return s.pseudonym("device", string(id))
}

func (s shown) pseudonym(kind, name string) string {
	mac := hmac.New(sha256.New, s.e.Pseudonyms)
	mac.Write([]byte(kind + "\x00" + name))
	return kind + "_" + strings.ToLower(base32.StdEncoding.EncodeToString(mac.Sum(nil)[:15]))
}
