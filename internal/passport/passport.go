// Package passport verifies what a telephone network says of a call: PASSporTs (RFC 8225),
// the signed tokens of STIR that travel in SIP Identity headers (RFC 8224).
//
// [Parse] reads one Identity header into a [Token] and checks its form. A [Verifier] asks
// of the tokens of one call what makes them evidence: a signature by a certificate that
// goes back to the configured roots and that may speak for the number (RFC 8226,
// [TNAuthList]), the numbers of the call as it was reported, a fresh time, a provider who
// vouches for the caller (RFC 8588), for a diverted call a whole chain (RFC 8946), and that
// it was not presented before for another call.
//
//	report ── passports ──▶ Parse ──▶ form, time, numbers ──▶ certificates ──▶ signatures ──▶ used once
//
// Everything that is cheap comes before the certificate is fetched. The package does no
// I/O: certificates come through [Config.Fetch], and what was presented is kept in a table.
// Revocation lists are not asked: STIR certificates are to be short-lived (RFC 9118).
package passport

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Why a PASSporT is no evidence. The texts are for whoever presented it.
var (
	// ErrForm: it is not a PASSporT, or one of a kind that is not taken.
	ErrForm = errors.New("passport: not a usable PASSporT")
	// ErrNumbers: it speaks of other numbers than the report.
	ErrNumbers = errors.New("passport: it is about another call")
	// ErrStale: it is too old, or from the future.
	ErrStale = errors.New("passport: not fresh")
	// ErrAttestation: the provider does not vouch for the caller's number.
	ErrAttestation = errors.New("passport: the provider does not vouch for the number")
	// ErrCertificate: its certificate cannot be used, or may not speak for the number.
	ErrCertificate = errors.New("passport: certificate not accepted")
	// ErrFetch: its certificate could not be had.
	ErrFetch = errors.New("passport: the certificate could not be fetched")
	// ErrSignature: the signature is not the certificate's.
	ErrSignature = errors.New("passport: wrong signature")
	// ErrReplayed: it was presented before, for another call.
	ErrReplayed = errors.New("passport: presented before")
)

// MaxHeader is the longest Identity header that is read, in bytes, and MaxChain the most
// PASSporTs of one call.
const (
	MaxHeader = wire.MaxPassport
	MaxChain  = wire.MaxPassports
)

// Kind is the PASSporT's extension type, its ppt; [Base] has none.
type Kind string

// Kinds that are taken.
const (
	Base   Kind = ""       // RFC 8225
	Shaken Kind = "shaken" // RFC 8588
	Div    Kind = "div"    // RFC 8946: the call was diverted
	DivO   Kind = "div-o"  // the same, with the PASSporT before it inside
)

// Token is a PASSporT whose form is right. Nothing else is known of it yet.
type Token struct {
	Kind Kind
	// URL of the certificate (x5u); https.
	URL string
	// Orig is the calling number; Dest lists the numbers called.
	Orig tel.Number
	Dest []tel.Number
	// Div is the number that the call was diverted from.
	Div tel.Number
	// Inner is the PASSporT that a div-o carries.
	Inner *Token
	// Issued at (iat), to the second.
	Issued time.Time
	// Attest of shaken: A, B or C; and the provider's own name for the origin.
	Attest, OrigID string

	signed    string // header.payload, as signed
	signature []byte // R and S, 32 bytes each
}

// Call is what completes a compact PASSporT: the header fields of its SIP request.
type Call struct {
	Orig, Dest tel.Number
	Date       time.Time
}

// Parse reads an Identity header's value, "header.payload.signature;info=<URL>;alg=ES256",
// with or without its parameters. In a compact one, "..signature" with info (RFC 8224 7),
// the rest is put together from the call. ErrForm.
func Parse(identity string, c Call) (Token, error) {
	if len(identity) > MaxHeader {
		return Token{}, form("longer than %d bytes", MaxHeader)
	}
	jws, params, err := header(identity)
	if err != nil {
		return Token{}, err
	}
	if rest, compact := strings.CutPrefix(jws, ".."); compact {
		if jws, err = complete(params, c, rest); err != nil {
			return Token{}, err
		}
	}
	t, err := parse(jws, 1)
	if err != nil {
		return Token{}, err
	}
	if info, ok := params["info"]; ok && info != t.URL {
		return Token{}, form("info and x5u differ")
	}
	if ppt, ok := params["ppt"]; ok && ppt != string(t.Kind) {
		return Token{}, form("the ppt of the header field and of the PASSporT differ")
	}
	return t, nil
}

// parse reads a JWS in compact serialisation (RFC 7515 7.1).
func parse(jws string, depth int) (t Token, err error) {
	parts := strings.Split(jws, ".")
	if len(parts) != 3 {
		return t, form("it has not three parts")
	}
	var raw [3][]byte
	for i, p := range parts {
		if raw[i], err = base64.RawURLEncoding.Strict().DecodeString(p); err != nil || len(raw[i]) == 0 {
			return t, form("part %d is not base64url", i+1)
		}
	}
	t.signed, t.signature = parts[0]+"."+parts[1], raw[2]
	if len(t.signature) != 64 {
		return t, form("the signature has not 64 bytes")
	}
	head, err := object(raw[0])
	if err != nil {
		return t, form("header: %s", err)
	}
	claims, err := object(raw[1])
	if err != nil {
		return t, form("payload: %s", err)
	}
	if err := t.head(head); err != nil {
		return t, err
	}
	return t, t.claims(claims, depth)
}

// head reads the JOSE header. The algorithm is fixed: what the header says of it can
// only be refused, never followed.
func (t *Token) head(h fields) error {
	var alg, typ, ppt string
	for _, f := range []struct {
		name string
		to   *string
	}{{"alg", &alg}, {"typ", &typ}, {"ppt", &ppt}, {"x5u", &t.URL}} {
		if err := h.text(f.name, f.to); err != nil {
			return err
		}
	}
	t.Kind = Kind(ppt)
	switch {
	case alg != "ES256":
		return form("alg is not ES256")
	case typ != "passport":
		return form("typ is not passport")
	case h["crit"] != nil:
		return form("crit is not supported")
	case !slices.Contains([]Kind{Base, Shaken, Div, DivO}, t.Kind):
		return form("ppt is none of shaken, div, div-o")
	case h["ppt"] != nil && ppt == "":
		return form("ppt is empty")
	case !strings.HasPrefix(t.URL, "https://"):
		return form("x5u is not an https address")
	}
	return nil
}

// claims reads the payload.
func (t *Token) claims(c fields, depth int) (err error) {
	if t.Orig, err = c.party("orig"); err != nil {
		return err
	}
	if t.Dest, err = c.parties("dest"); err != nil {
		return err
	}
	if t.Issued, err = c.seconds("iat"); err != nil {
		return err
	}
	if t.Kind == Shaken {
		if err := errors.Join(c.text("attest", &t.Attest), c.text("origid", &t.OrigID)); err != nil {
			return err
		}
		if !slices.Contains([]string{"A", "B", "C"}, t.Attest) || t.OrigID == "" {
			return form("shaken needs attest (A, B or C) and origid")
		}
	}
	if t.Kind != Div && t.Kind != DivO {
		return nil
	}
	if t.Div, err = c.party("div"); err != nil {
		return err
	}
	if t.Kind == DivO {
		var opt string
		if err := c.text("opt", &opt); err != nil {
			return err
		}
		if depth >= MaxChain {
			return form("more than %d PASSporTs within each other", MaxChain)
		}
		inner, err := parse(opt, depth+1)
		if err != nil {
			return err
		}
		t.Inner = &inner
	}
	return nil
}

// complete builds the full form of a compact PASSporT: its members in the order of
// RFC 8225 9, so that the signature is over the same bytes. Extensions have no compact form.
func complete(params map[string]string, c Call, signature string) (string, error) {
	switch {
	case params["info"] == "":
		return "", form("a compact one needs info")
	case params["ppt"] != "":
		return "", form("an extension has no compact form here")
	case c.Orig.IsZero() || c.Dest.IsZero() || c.Date.IsZero():
		return "", form("a compact one needs both numbers and the time of the request")
	}
	head, err := json.Marshal(struct {
		Alg string `json:"alg"`
		Typ string `json:"typ"`
		X5U string `json:"x5u"`
	}{"ES256", "passport", params["info"]})
	if err != nil {
		return "", form("info: %s", err)
	}
	payload := fmt.Sprintf(`{"dest":{"tn":["%s"]},"iat":%d,"orig":{"tn":"%s"}}`, c.Dest.String()[1:], c.Date.Unix(), c.Orig.String()[1:])
	b64 := base64.RawURLEncoding.EncodeToString
	return b64(head) + "." + b64([]byte(payload)) + "." + signature, nil
}

func form(what string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrForm, fmt.Sprintf(what, args...))
}
