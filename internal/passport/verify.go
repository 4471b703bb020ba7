package passport

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Uses is what the verifier needs of storage; store.Table[Use] fits.
type Uses interface {
	Get(ctx context.Context, key string) (Use, store.Rev, error)
	Put(ctx context.Context, key string, u Use, at store.Rev) (store.Rev, error)
	Delete(ctx context.Context, key string, at store.Rev) error
	Scan(ctx context.Context, prefix string) iter.Seq2[store.Item[Use], error]
}

// Use is for what call a PASSporT was presented: the first one for each side. Only hashes
// are kept.
type Use struct {
	For string `json:"for"`
	// Until it need be remembered: afterwards the PASSporT is stale anyway.
	Until time.Time `json:"until"`
}

// Config of a [Verifier]. The first three are needed.
type Config struct {
	// Roots that certificates must go back to.
	Roots *x509.CertPool
	// Fetch gets what is at an https address: certificates in PEM, or one in DER. It bounds
	// time and size, and goes nowhere that it should not.
	Fetch func(ctx context.Context, url string) ([]byte, error)
	Uses  Uses
	// Freshness is how far a PASSporT's time may be from now; 1 minute (RFC 8224 6.2).
	Freshness time.Duration
	// Now is the clock; time.Now.
	Now func() time.Time
}

// Verifier verifies the PASSporTs of calls. Its methods may be called from several
// goroutines, and several verifiers may share one table.
type Verifier struct {
	Config
	certificates *cache
}

// New returns a verifier.
func New(c Config) (*Verifier, error) {
	if c.Roots == nil || c.Fetch == nil || c.Uses == nil {
		return nil, errors.New("passport: the verifier needs roots, a fetcher and a table")
	}
	if c.Freshness < 0 {
		return nil, errors.New("passport: freshness is negative")
	}
	if c.Freshness == 0 {
		c.Freshness = time.Minute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Verifier{Config: c, certificates: &cache{fetch: c.Fetch, now: c.Now, entries: map[string]entry{}}}, nil
}

// Presented is a report's PASSporTs and what the report says of the call.
type Presented struct {
	Tenant wire.TenantID
	// For names the call by its reference, or the reporter and its leg where there is none:
	// presented again for the same, it is a repetition.
	For string
	// Identities are the Identity headers of the call, in any order.
	Identities []string
	// Own and Other number of the reported leg, and whether it dialled; the direction may be
	// missing, but not beside a compact form.
	Own, Other tel.Number
	Direction  tel.Direction
	// Date of the SIP request, which a compact form does not repeat.
	Date time.Time
}

// Verify returns nil if the PASSporTs together prove the call: one of the caller's
// provider, and where it was diverted one of each diversion, so that they lead from the
// number first called to the one that answers. The package's errors; or the store's.
func (v *Verifier) Verify(ctx context.Context, p Presented) error {
	chain, own, err := v.check(p)
	if err != nil {
		return err
	}
	for _, t := range chain {
		certs, err := v.certificates.get(ctx, t.URL)
		if err != nil {
			return err
		}
		key, err := accept(certs, v.Roots, t.speaker(), v.Now())
		if err != nil {
			return err
		}
		if !t.signedBy(key) {
			return ErrSignature
		}
	}
	for _, t := range chain {
		if err := v.use(ctx, p, t, own); err != nil {
			return err
		}
	}
	return nil
}

// speaker is the number whose provider signs.
func (t Token) speaker() tel.Number {
	if !t.Div.IsZero() {
		return t.Div
	}
	return t.Orig
}

// check does all that needs no certificate. The chain it returns begins with the caller's;
// own says which side of it reports: "orig" or "dest".
func (v *Verifier) check(p Presented) (chain []Token, own string, err error) {
	if len(p.Identities) == 0 || len(p.Identities) > MaxChain {
		return nil, "", form("a call has 1 to %d of them", MaxChain)
	}
	if p.Own.IsZero() || p.Other.IsZero() {
		return nil, "", fmt.Errorf("%w: the report must name both numbers", ErrNumbers)
	}
	own, orig, dest := "orig", p.Own, p.Other
	tokens, err := parseAll(p.Identities, Call{orig, dest, p.Date})
	if err != nil {
		return nil, "", err
	}
	if p.Direction == tel.Incoming || p.Direction == "" && tokens[0].Orig != orig {
		own, orig, dest = "dest", p.Other, p.Own
		if tokens, err = parseAll(p.Identities, Call{orig, dest, p.Date}); err != nil {
			return nil, "", err
		}
	}
	if chain, err = order(tokens, orig, dest); err != nil {
		return nil, "", err
	}
	if a := chain[0].Attest; chain[0].Kind == Shaken && a != "A" {
		return nil, "", fmt.Errorf("%w: its attestation is %s, not A", ErrAttestation, a)
	}
	// Each diversion takes its time: each PASSporT is fresh when the next is made, and the
	// last one now.
	now := v.Now()
	at := now
	for _, t := range slices.Backward(chain) {
		if at.Sub(t.Issued).Abs() > v.Freshness || t.Issued.Sub(now) > v.Freshness {
			return nil, "", fmt.Errorf("%w: its time is more than %s away", ErrStale, v.Freshness)
		}
		at = t.Issued
	}
	return chain, own, nil
}

// parseAll reads the headers, and what div-o ones hold.
func parseAll(identities []string, c Call) ([]Token, error) {
	var tokens []Token
	for _, s := range identities {
		t, err := Parse(s, c)
		if err != nil {
			return nil, err
		}
		for inner := &t; inner != nil; inner = inner.Inner {
			if !slices.ContainsFunc(tokens, func(o Token) bool { return o.signed == inner.signed }) {
				tokens = append(tokens, *inner)
			}
		}
	}
	if len(tokens) > MaxChain {
		return nil, form("a call has at most %d of them", MaxChain)
	}
	return tokens, nil
}

// order puts the tokens of a call in their order (RFC 8946 5): the one of the caller, then
// of each diversion the one that was diverted from where the one before led to. All name
// the same caller, and the last one the number that was reported. None may be left over.
func order(tokens []Token, orig, dest tel.Number) ([]Token, error) {
	var chain []Token
	rest := slices.Clone(tokens)
	take := func(fits func(Token) bool) bool {
		i := slices.IndexFunc(rest, fits)
		if i < 0 {
			return false
		}
		chain = append(chain, rest[i])
		rest = slices.Delete(rest, i, i+1)
		return true
	}
	for _, t := range tokens {
		if t.Orig != orig {
			return nil, fmt.Errorf("%w: its orig is not the caller that was reported", ErrNumbers)
		}
	}
	if !take(func(t Token) bool { return t.Div.IsZero() }) {
		return nil, form("the caller's own is missing: a diversion alone proves no call")
	}
	for len(rest) > 0 {
		last := chain[len(chain)-1]
		if !take(func(t Token) bool { return !t.Div.IsZero() && slices.Contains(last.Dest, t.Div) }) {
			return nil, fmt.Errorf("%w: the diversions do not follow one another", ErrNumbers)
		}
	}
	if !slices.Contains(chain[len(chain)-1].Dest, dest) {
		return nil, fmt.Errorf("%w: its dest is not the number that was reported", ErrNumbers)
	}
	return chain, nil
}

// use notes that the PASSporT was presented: for one call on each side.
func (v *Verifier) use(ctx context.Context, p Presented, t Token, own string) error {
	// What is signed, not the signature: of that there are two.
	sum := sha256.Sum256([]byte(t.signed))
	key := store.Key(strconv.FormatInt(t.Issued.Unix(), 10), string(p.Tenant), base64.RawURLEncoding.EncodeToString(sum[:]), own)
	last := v.Now()
	if t.Issued.After(last) {
		last = t.Issued
	}
	what := sha256.Sum256([]byte(p.For))
	mine := Use{For: base64.RawURLEncoding.EncodeToString(what[:]), Until: last.Add((MaxChain + 1) * v.Freshness).UTC().Round(0)}
	got, err := store.Change(ctx, v.Uses, key, func(u Use, known bool) (Use, bool, error) {
		if known {
			return u, false, nil
		}
		return mine, true, nil
	})
	if err != nil {
		return fmt.Errorf("passport: note a use: %w", err)
	}
	if got.For != mine.For {
		return ErrReplayed
	}
	return nil
}

// Sweep forgets what need not be remembered any more, and returns how many that were.
func (v *Verifier) Sweep(ctx context.Context) (n int, err error) {
	now := v.Now()
	for item, err := range v.Uses.Scan(ctx, "") {
		if err != nil {
			return n, fmt.Errorf("passport: sweep: %w", err)
		}
		if !now.After(item.Value.Until) {
			continue
		}
		switch err := v.Uses.Delete(ctx, item.Key, item.Rev); {
		case err == nil:
			n++
		case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrConflict): // another node's sweep
		default:
			return n, fmt.Errorf("passport: sweep: %w", err)
		}
	}
	return n, nil
}
