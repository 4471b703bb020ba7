package sip

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // RFC 3261 22.4 knows nothing else, nor do most phones
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"
)

// nonceFor is how long a nonce holds.
const nonceFor = 5 * time.Minute

// Credential returns the user name and password with which somebody may register and call
// as user (a number in E.164 form, or the user part of an address), until expires: the
// name says who, to whom it was given (by, without dots) and until when, and the password is made
// from it with a secret, so that nothing needs to be stored (as TURN's REST credentials are).
func (e *Element) Credential(user, by string, now time.Time) (name, password string, expires time.Time) {
	expires = now.Add(e.cfg.PasswordFor).Truncate(time.Second)
	name = strconv.FormatInt(expires.Unix(), 10) + "." + by + "." + user
	return name, e.password(name), expires
}

// holderOf reads the name of a credential.
func holderOf(name string) (expires time.Time, who holder, ok bool) {
	until, rest, _ := strings.Cut(name, ".")
	unix, err := strconv.ParseInt(until, 10, 64)
	who.by, who.user, _ = strings.Cut(rest, ".")
	return time.Unix(unix, 0), who, err == nil && who.user != ""
}

// right: the credentials were made with the password.
func (e *Element) right(c map[string]string, method string) bool {
	want := digest(c, e.password(c["username"]), method)
	return hmac.Equal([]byte(want), []byte(strings.ToLower(c["response"])))
}

func (e *Element) password(name string) string {
	return base64.RawURLEncoding.EncodeToString(mac(e.keys.password, name)[:18])
}

// newNonce makes a nonce that says when it was made, and is like no other.
func (e *Element) newNonce(now time.Time) string {
	at := strconv.FormatInt(now.UnixMilli(), 36) + "-" + strconv.FormatUint(rand.Uint64(), 36)
	return at + "." + lower.EncodeToString(mac(e.keys.nonce, at)[:10])
}

func (e *Element) nonceAge(nonce string, now time.Time) (time.Duration, bool) {
	at, sum, _ := strings.Cut(nonce, ".")
	when, _, _ := strings.Cut(at, "-")
	ms, err := strconv.ParseInt(when, 36, 64)
	if err != nil || !hmac.Equal([]byte(sum), []byte(lower.EncodeToString(mac(e.keys.nonce, at)[:10]))) {
		return 0, false
	}
	return now.Sub(time.UnixMilli(ms)), true
}

// challenge asks for credentials (RFC 3261 22): 401 as a registrar, 407 as a proxy.
func (tx *serverTx) challenge(id HeaderID, stale bool) {
	status := 407
	if id == WWWAuthenticate {
		status = 401
	}
	value := `Digest realm=` + quote(tx.s.e.cfg.Domain) + `, nonce="` + tx.s.e.newNonce(time.Now()) + `", qop="auth", algorithm=MD5`
	if stale {
		value += ", stale=true"
	}
	r := tx.answer(status)
	r.Add(id, value)
	tx.respond(r)
}

// authenticated returns whose credentials the request has. Otherwise it has answered, and
// returns false.
func (s *shard) authenticated(tx *serverTx, id HeaderID) (who holder, ok bool) {
	challenge := WWWAuthenticate
	if id == ProxyAuthorization {
		challenge = ProxyAuthenticate
	}
	now := time.Now()
	for _, value := range tx.req.Raw(id) {
		c, ok := parseCredentials(value)
		if !ok || c["realm"] != s.e.cfg.Domain {
			continue
		}
		age, mine := s.e.nonceAge(c["nonce"], now)
		expires, who, ok := holderOf(c["username"])
		holds, known, _ := s.e.holders.of(who, now)
		switch { // the nonce comes last: the count of one that is refused is not used up, so that the request is refused alike when it comes again
		case !ok || !s.e.right(c, tx.req.Method):
			s.e.log.Info("wrong SIP credentials", "remote", tx.from.remote, "method", tx.req.Method)
			tx.reply(403)
		case !expires.After(now):
			tx.reply(403) // a new password must be fetched
		case s.e.cfg.Holds != nil && !known: // it could not be looked up
			r := tx.answer(503)
			r.Add(RetryAfter, "10")
			tx.respond(r)
		case s.e.cfg.Holds != nil && !holds:
			s.e.log.Info("a SIP password that was withdrawn", "remote", tx.from.remote, "method", tx.req.Method)
			tx.reply(403)
		case !mine || age > nonceFor || !s.e.nonces.use(c["nonce"], c["nc"], now):
			tx.challenge(challenge, true)
		default:
			tx.keeps = true
			return who, true
		}
		return holder{}, false
	}
	tx.challenge(challenge, false)
	return holder{}, false
}

// parseCredentials reads "Digest a=b, c="d"" (RFC 3261 25.1, credentials).
func parseCredentials(s string) (map[string]string, bool) {
	scheme, rest, _ := strings.Cut(s, " ")
	if !strings.EqualFold(scheme, "Digest") {
		return nil, false
	}
	c := map[string]string{}
	for _, part := range splitList(rest) {
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, false
		}
		c[strings.ToLower(strings.TrimSpace(name))] = unquote(strings.TrimSpace(value))
	}
	return c, true
}

// digest computes the response (RFC 2617 3.2.2), with qop auth only; "" for what is not
// offered.
func digest(c map[string]string, password, method string) string {
	if a := c["algorithm"]; a != "" && !strings.EqualFold(a, "MD5") || !strings.EqualFold(c["qop"], "auth") {
		return ""
	}
	h := md5hex
	return h(h(c["username"], c["realm"], password), c["nonce"], c["nc"], c["cnonce"], c["qop"], h(method, c["uri"]))
}

// digest2069 is the response to a challenge without qop (RFC 2617 3.2.2.1).
func digest2069(c map[string]string, password, method string) string {
	return md5hex(md5hex(c["username"], c["realm"], password), c["nonce"], md5hex(method, c["uri"]))
}

func md5hex(parts ...string) string {
	sum := md5.Sum([]byte(strings.Join(parts, ":"))) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// nonces remembers how often each was used, so that nobody repeats somebody's request
// (RFC 7616 5.5).
type nonces struct {
	mu   sync.Mutex
	used map[string]uint64 // the highest count
	old  map[string]uint64 // of the time before
	turn time.Time
}

// use notes a count; false: it was used before.
func (n *nonces) use(nonce, count string, now time.Time) bool {
	nc, err := strconv.ParseUint(count, 16, 32)
	if err != nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if now.Sub(n.turn) > nonceFor || n.used == nil {
		n.old, n.used, n.turn = n.used, map[string]uint64{}, now
	}
	if nc <= max(n.used[nonce], n.old[nonce]) {
		return false
	}
	n.used[nonce] = nc
	return true
}
