package coupling

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// The alphabets and lengths of RFC 8628 6.1: letters that make no words, typed at the
// device; digits, so that they can be keyed on a telephone, typed on the voucher's side.
const (
	letters    = "BCDFGHJKLMNPQRSTVWXZ"
	offerLen   = 8 // 2.6e10 codes
	digits     = "0123456789"
	requestLen = 9 // 1e9 codes
)

// newCode returns n random characters of an alphabet.
func newCode(alphabet string, n int) (string, error) {
	b := make([]byte, n)
	for i := range b {
		k, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			return "", fmt.Errorf("coupling: make a code: %w", err)
		}
		b[i] = alphabet[k.Int64()]
	}
	return string(b), nil
}

// shown writes a code in groups, as people read it.
func shown(code string) string {
	group := 4
	if len(code) == requestLen {
		group = 3
	}
	var parts []string
	for ; len(code) > group; code = code[group:] {
		parts = append(parts, code[:group])
	}
	return strings.Join(append(parts, code), "-")
}

// plain reduces what was typed to the code; "" if it cannot be one of that form.
func plain(typed, alphabet string, n int) string {
	code := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -.\u00a0", r) {
			return -1
		}
		return r
	}, strings.ToUpper(typed))
	if len(code) != n || strings.Trim(code, alphabet) != "" {
		return ""
	}
	return code
}

// secret of the server, shared by all nodes: the one record of the table "keys", under
// "coupling". Codes are kept under a MAC made with it.
type secret struct {
	Secret []byte `json:"secret"`
}

func loadSecret(ctx context.Context, e store.Engine) ([]byte, error) {
	fresh := secret{make([]byte, 32)}
	rand.Read(fresh.Secret)
	s, err := store.Change(ctx, store.TableOf[secret](e, "keys"), store.Key("coupling"), func(old secret, exists bool) (secret, bool, error) {
		if exists {
			return old, false, nil
		}
		return fresh, true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("coupling: load the server's secret: %w", err)
	}
	return s.Secret, nil
}

// codeKey is where a code leads from.
func (s *Service) codeKey(tenant wire.TenantID, code string) string {
	mac := hmac.New(sha256.New, s.secret)
	mac.Write([]byte(string(tenant) + "\x00" + code))
	return store.Key(string(tenant), hex.EncodeToString(mac.Sum(nil)))
}
