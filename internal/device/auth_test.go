package device_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"pgregory.net/rapid"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

func TestHello(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	d := w.enrol(p, number(t, alice))
	nonce := w.auth.Nonce()
	got, err := w.auth.VerifyHello(t.Context(), "", nonce, w.sign(p, jwt.MapClaims{"nonce": nonce}))
	if err != nil || got.ID != d.ID || got.Principal != number(t, alice).Identity() {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestHelloRefuses(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	w.enrol(p, number(t, alice))
	other := newPhone(t)
	w.enrol(other, number(t, bob))
	now := w.clock()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }

	for name, c := range map[string]jwt.MapClaims{
		"another nonce":            {"nonce": w.auth.Nonce()},
		"no nonce":                 {"nonce": nil},
		"no audience":              {"aud": nil},
		"another audience":         {"aud": "tandem-device"},
		"no iat":                   {"iat": nil},
		"no exp":                   {"exp": nil},
		"expired":                  {"iat": at(-4 * time.Minute), "exp": at(-61 * time.Second)},
		"made in the future":       {"iat": at(61 * time.Second)},
		"not yet valid":            {"nbf": at(61 * time.Second)},
		"valid for too long":       {"exp": at(301 * time.Second)},
		"exp before iat":           {"iat": at(0), "exp": at(-30 * time.Second)},
		"no device":                {"sub": nil},
		"unknown device":           {"sub": "dev_nobody"},
		"another device":           {"sub": string(other.id)},
		"another tenant":           {"tenant": "other"},
		"device id of odd letters": {"sub": "../" + string(p.id)},
	} {
		t.Run(name, func(t *testing.T) {
			nonce := w.auth.Nonce()
			claims := jwt.MapClaims{"nonce": nonce}
			for k, v := range c {
				claims[k] = v
			}
			_, err := w.auth.VerifyHello(t.Context(), "", nonce, w.sign(p, claims))
			want(t, err, device.ErrAssertion)
		})
	}
}

func TestHelloToleratesSkewedClocks(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	w.enrol(p, number(t, alice))
	for name, skew := range map[string]time.Duration{"slow": -59 * time.Second, "fast": 59 * time.Second} {
		nonce := w.auth.Nonce()
		iat := w.clock().Add(skew)
		_, err := w.auth.VerifyHello(t.Context(), "", nonce, w.sign(p, jwt.MapClaims{"nonce": nonce, "iat": iat.Unix(), "exp": iat.Add(time.Second).Unix()}))
		if err != nil {
			t.Errorf("%s clock: %v", name, err)
		}
	}
}

// The algorithm is ours to choose, not the token's (RFC 8725 3.1).
func TestHelloRefusesOtherAlgorithms(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	d := w.enrol(p, number(t, alice))
	public, err := p.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&p.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(d.Key)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		method jwt.SigningMethod
		key    any
	}{
		"none":                        {jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType},
		"HS256 with the public point": {jwt.SigningMethodHS256, public},
		"HS256 with the public DER":   {jwt.SigningMethodHS256, der},
		"HS256 with the public JWK":   {jwt.SigningMethodHS256, jwk},
		"HS256 with an empty key":     {jwt.SigningMethodHS256, []byte{}},
		"HS256 with the server's":     {jwt.SigningMethodHS256, w.auth.TokenKey()},
		"ES384":                       {jwt.SigningMethodES384, p384},
		"ES256 with another key":      {jwt.SigningMethodES256, newPhone(t).key},
	} {
		t.Run(name, func(t *testing.T) {
			nonce := w.auth.Nonce()
			_, err := w.auth.VerifyHello(t.Context(), "", nonce, w.signWith(c.method, c.key, p, jwt.MapClaims{"nonce": nonce}))
			want(t, err, device.ErrAssertion)
		})
	}
}

func TestHelloRefusesOddForms(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	w.enrol(p, number(t, alice))
	nonce := w.auth.Nonce()
	good := w.sign(p, jwt.MapClaims{"nonce": nonce})
	parts := strings.Split(good, ".")
	crit := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"sub": string(p.id), "aud": "tandem", "nonce": nonce, "iat": w.clock().Unix(), "exp": w.clock().Add(time.Minute).Unix(),
	})
	crit.Header["crit"] = []string{"b64"}
	critical, err := crit.SignedString(p.key)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]string{
		"empty":            "",
		"dots":             "..",
		"no signature":     parts[0] + "." + parts[1] + ".",
		"half a signature": good[:len(good)-43],
		"zero signature":   parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
		"fourth part":      good + ".x",
		"padding":          good + "==",
		"too long":         good + strings.Repeat("A", 5000),
		"critical header":  critical,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.auth.VerifyHello(t.Context(), "", nonce, s)
			want(t, err, device.ErrAssertion)
		})
	}
	// None of these used the nonce up.
	if _, err := w.auth.VerifyHello(t.Context(), "", nonce, good); err != nil {
		t.Error(err)
	}
}

func TestNonces(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	w.enrol(p, number(t, alice))
	hello := func(nonce string) error {
		_, err := w.auth.VerifyHello(t.Context(), "", nonce, w.sign(p, jwt.MapClaims{"nonce": nonce}))
		return err
	}
	want(t, hello(""), device.ErrAssertion)
	want(t, hello("made up"), device.ErrAssertion)
	want(t, hello(newWorld(t).auth.Nonce()), device.ErrAssertion) // another server's

	late := w.auth.Nonce()
	w.pass(time.Minute)
	want(t, hello(late), device.ErrAssertion)

	flipped := []byte(w.auth.Nonce())
	flipped[3] ^= 1
	want(t, hello(string(flipped)), device.ErrAssertion)

	// A nonce of one node is good on another.
	shared := func(cfg *device.Config) { cfg.Shared = true }
	w.restart(shared)
	elsewhere := w.auth.Nonce()
	w.restart(shared)
	if err := hello(elsewhere); err != nil {
		t.Error(err)
	}
}

// A server that has forgotten what it took takes nothing of before.
func TestReplayAfterARestart(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	w.enrol(p, number(t, alice))
	nonce := w.auth.Nonce()
	assertion := w.sign(p, jwt.MapClaims{"nonce": nonce})
	if _, err := w.auth.VerifyHello(t.Context(), "", nonce, assertion); err != nil {
		t.Fatal(err)
	}
	w.restart()
	_, err := w.auth.VerifyHello(t.Context(), "", nonce, assertion)
	want(t, err, device.ErrAssertion)
	nonce = w.auth.Nonce()
	if _, err := w.auth.VerifyHello(t.Context(), "", nonce, w.sign(p, jwt.MapClaims{"nonce": nonce})); err != nil {
		t.Errorf("a fresh one: %v", err)
	}
}

// However the clock runs between them, of two answers to one challenge only one counts.
func TestReplayIsRefused(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	w.enrol(p, number(t, alice))
	rapid.Check(t, func(rt *rapid.T) {
		type used struct{ nonce, assertion string }
		var all []used
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			w.pass(time.Duration(rapid.IntRange(0, 40).Draw(rt, "seconds")) * time.Second)
			if len(all) > 0 && rapid.Bool().Draw(rt, "replay") {
				u := rapid.SampledFrom(all).Draw(rt, "which")
				if _, err := w.auth.VerifyHello(t.Context(), "", u.nonce, u.assertion); !errors.Is(err, device.ErrAssertion) {
					rt.Fatalf("replayed: %v", err)
				}
				continue
			}
			nonce := w.auth.Nonce()
			u := used{nonce, w.sign(p, jwt.MapClaims{"nonce": nonce})}
			if _, err := w.auth.VerifyHello(t.Context(), "", u.nonce, u.assertion); err != nil {
				rt.Fatal(err)
			}
			all = append(all, u)
		}
	})
}

func TestReplayAtOnce(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	w.enrol(p, number(t, alice))
	nonce := w.auth.Nonce()
	assertion := w.sign(p, jwt.MapClaims{"nonce": nonce})
	var in atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := w.auth.VerifyHello(t.Context(), "", nonce, assertion); err == nil {
				in.Add(1)
			}
		})
	}
	all.Wait()
	if in.Load() != 1 {
		t.Errorf("%d of 20 equal answers got in", in.Load())
	}
}

func TestReplayMemoryIsBounded(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	w.enrol(p, number(t, alice))
	auth := device.NewAuthenticator(w.registry, 3)
	hello := func() error {
		nonce := auth.Nonce()
		_, err := auth.VerifyHello(t.Context(), "", nonce, w.sign(p, jwt.MapClaims{"nonce": nonce}))
		return err
	}
	for range 3 {
		if err := hello(); err != nil {
			t.Fatal(err)
		}
	}
	want(t, hello(), device.ErrBusy)
	w.pass(time.Minute)
	if err := hello(); err != nil {
		t.Error(err)
	}
}

// uncertainOnce loses the answer to the next write.
type uncertainOnce struct {
	store.Engine
	lose atomic.Bool
}

func (u *uncertainOnce) Put(ctx context.Context, table, key string, v []byte, at store.Rev) (store.Rev, error) {
	rev, err := u.Engine.Put(ctx, table, key, v, at)
	if err == nil && u.lose.CompareAndSwap(true, false) {
		return 0, store.ErrUncertain
	}
	return rev, err
}

// Nodes that share the devices refuse what another one has taken; a lost answer of the
// store is not taken for a replay.
func TestReplayOnAnotherNode(t *testing.T) {
	w := newWorld(t)
	e := &uncertainOnce{Engine: w.engine}
	shared := func(cfg *device.Config) { cfg.Shared, cfg.Engine = true, e }
	w.restart(shared)
	first := w.auth
	w.restart(shared) // a second node
	p := newPhone(t)
	d := w.enrol(p, number(t, alice))
	for i := range 5 {
		nonce := first.Nonce()
		assertion := w.sign(p, jwt.MapClaims{"nonce": nonce})
		e.lose.Store(i == 2)
		if _, err := first.VerifyHello(t.Context(), "", nonce, assertion); err != nil {
			t.Fatal(err)
		}
		_, err := w.auth.VerifyHello(t.Context(), "", nonce, assertion)
		want(t, err, device.ErrAssertion)
	}
	// At once on both: one gets in.
	nonce := first.Nonce()
	assertion := w.sign(p, jwt.MapClaims{"nonce": nonce})
	var in atomic.Int32
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if _, err := []*device.Authenticator{first, w.auth}[i%2].VerifyHello(t.Context(), "", nonce, assertion); err == nil {
				in.Add(1)
			}
		})
	}
	all.Wait()
	if in.Load() != 1 {
		t.Errorf("%d of 20 equal answers got in", in.Load())
	}
	// What is remembered is bounded, and forgotten.
	for {
		nonce := first.Nonce()
		if _, err := w.auth.VerifyHello(t.Context(), "", nonce, w.sign(p, jwt.MapClaims{"nonce": nonce})); err != nil {
			want(t, err, device.ErrBusy)
			break
		}
	}
	w.pass(2 * time.Minute)
	nonce = first.Nonce()
	if _, err := w.auth.VerifyHello(t.Context(), "", nonce, w.sign(p, jwt.MapClaims{"nonce": nonce})); err != nil {
		t.Error(err)
	}
	if d, err := w.registry.Get(t.Context(), wire.DefaultTenant, d.ID); err != nil || len(d.Answers) != 1 {
		t.Errorf("%d answers are remembered, %v", len(d.Answers), err)
	}
}

func TestRevoked(t *testing.T) {
	w := newWorld(t)
	p, n := newPhone(t), number(t, alice)
	d := w.enrol(p, n)
	token, _, err := w.auth.IssueToken(d)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.registry.Revoke(t.Context(), wire.DefaultTenant, d.ID); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.revoked) != 2 || w.revoked[0] != d.ID {
		t.Errorf("told to close %v", w.revoked)
	}
	nonce := w.auth.Nonce()
	_, err = w.auth.VerifyHello(t.Context(), "", nonce, w.sign(p, jwt.MapClaims{"nonce": nonce}))
	want(t, err, device.ErrRevoked)
	_, err = w.auth.VerifyToken(t.Context(), token)
	want(t, err, device.ErrRevoked)
	_, err = w.registry.Rename(t.Context(), wire.DefaultTenant, d.ID, "Eve")
	want(t, err, device.ErrRevoked)
	if all, err := w.registry.OfParty(t.Context(), wire.DefaultTenant, n.Identity()); err != nil || len(all) != 0 {
		t.Errorf("the party still has %v, %v", ids(all), err)
	}
	// The same key is not let in by a new code; the same phone with a new key is.
	e := w.begin(p, n)
	_, err = w.registry.Confirm(t.Context(), wire.DefaultTenant, e.ID, w.lastCode(), w.sign(p, jwt.MapClaims{"nonce": e.ID}))
	want(t, err, device.ErrRevoked)
	w.enrol(newPhone(t), n)
	want(t, w.registry.Revoke(t.Context(), "other", d.ID), device.ErrNotFound)
}

func TestExpiredBindingIsRefused(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	w.enrol(p, number(t, alice))
	w.pass(180 * 24 * time.Hour)
	nonce := w.auth.Nonce()
	_, err := w.auth.VerifyHello(t.Context(), "", nonce, w.sign(p, jwt.MapClaims{"nonce": nonce}))
	want(t, err, device.ErrBindingExpired)
}

func TestWipeNumber(t *testing.T) {
	w := newWorld(t)
	n := number(t, alice)
	w.link(number(t, bob), n)
	p1, p2 := newPhone(t), newPhone(t)
	d1 := w.enrol(p1, n)
	d2 := w.enrol(p2, n)
	w.enrol(p2, number(t, bob)) // has another number besides
	for range 2 {
		if err := w.registry.WipeNumber(t.Context(), wire.DefaultTenant, n); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.revoked) != 2 {
		t.Errorf("told to close %v", w.revoked)
	}
	if all, err := w.registry.ByNumber(t.Context(), wire.DefaultTenant, n); err != nil || len(all) != 0 {
		t.Errorf("the number still finds %v, %v", ids(all), err)
	}
	got, err := w.registry.Get(t.Context(), wire.DefaultTenant, d1.ID)
	if err != nil {
		t.Fatal(err)
	}
	want(t, got.Check(w.clock()), device.ErrBindingExpired)
	if got, err = w.registry.Get(t.Context(), wire.DefaultTenant, d2.ID); err != nil || got.Check(w.clock()) != nil || len(got.Bindings) != 1 {
		t.Errorf("the other number's binding: %+v, %v", got, err)
	}
	if got.Principal != number(t, bob).Identity() {
		t.Errorf("the other number is still %v's", got.Principal)
	}
	if _, err := w.parties.Get(t.Context(), wire.DefaultTenant, n.Identity()); !errors.Is(err, party.ErrNotFound) {
		t.Errorf("the directory still knows the number: %v", err)
	}
	want(t, w.registry.WipeNumber(t.Context(), wire.DefaultTenant, tel.Number{}), device.ErrRequest)
}

// A code that came before the number was wiped gives it to nobody, whether or not it was used.
func TestWipeNumberEndsEnrolments(t *testing.T) {
	w := newWorld(t)
	n := number(t, alice)
	confirm := func(p *phone, e wire.Enrolment, code string) error {
		_, err := w.registry.Confirm(t.Context(), wire.DefaultTenant, e.ID, code, w.sign(p, jwt.MapClaims{"nonce": e.ID}))
		return err
	}
	proved, pending, other := newPhone(t), newPhone(t), newPhone(t)
	e1 := w.begin(proved, n)
	code1 := w.lastCode()
	want(t, confirm(proved, e1, code1), nil)
	e2 := w.begin(pending, n)
	code2 := w.lastCode()
	e3 := w.begin(other, number(t, bob))
	code3 := w.lastCode()
	if err := w.registry.WipeNumber(t.Context(), wire.DefaultTenant, n); err != nil {
		t.Fatal(err)
	}
	want(t, confirm(proved, e1, code1), device.ErrCodeExpired)
	want(t, confirm(pending, e2, code2), device.ErrCodeExpired)
	if all, err := w.registry.ByNumber(t.Context(), wire.DefaultTenant, n); err != nil || len(all) != 0 {
		t.Errorf("the number finds %v, %v", ids(all), err)
	}
	want(t, confirm(other, e3, code3), nil)
}

func TestEdits(t *testing.T) {
	w := newWorld(t)
	d := w.enrol(newPhone(t), number(t, alice))
	got, err := w.registry.UpdateApp(t.Context(), wire.DefaultTenant, d.ID, &wire.App{Platform: "apns", ID: "token"})
	if err != nil || got.App.ID != "token" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = w.registry.UpdateApp(t.Context(), wire.DefaultTenant, d.ID, nil); err != nil || got.App != nil {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = w.registry.UpdateApp(t.Context(), wire.DefaultTenant, d.ID, &wire.App{Platform: "x", ID: "y"})
	want(t, err, device.ErrRequest)
	if got, err = w.registry.Rename(t.Context(), wire.DefaultTenant, d.ID, "Al"); err != nil || got.Name != "Al" || got.Principal != d.Principal {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = w.registry.Rename(t.Context(), wire.DefaultTenant, "dev_nobody", "Al")
	want(t, err, device.ErrNotFound)
}

// counting counts the writes to an engine.
type counting struct {
	store.Engine
	puts atomic.Int32
}

func (c *counting) Put(ctx context.Context, table, key string, v []byte, at store.Rev) (store.Rev, error) {
	c.puts.Add(1)
	return c.Engine.Put(ctx, table, key, v, at)
}

func TestSeenWritesOnceADay(t *testing.T) {
	w := newWorld(t)
	c := &counting{Engine: w.engine}
	w.restart(func(cfg *device.Config) { cfg.Engine = c })
	d := w.enrol(newPhone(t), number(t, alice))
	before := c.puts.Load()
	for range 47 {
		d, err := w.registry.Get(t.Context(), wire.DefaultTenant, d.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.registry.Seen(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Hour)
	}
	if n := c.puts.Load() - before; n != 2 {
		t.Errorf("%d writes in 47 hours, want 2", n)
	}
}

func TestToken(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	d := w.enrol(p, number(t, alice))
	token, life, err := w.auth.IssueToken(d)
	if err != nil || life != 10*time.Minute {
		t.Fatal(life, err)
	}
	got, err := w.auth.VerifyToken(t.Context(), token)
	if err != nil || got.ID != d.ID || got.Principal != d.Principal {
		t.Errorf("%+v, %v", got, err)
	}

	now := w.clock()
	good := jwt.MapClaims{"iss": "tandem", "aud": "tandem-device", "sub": string(d.ID), "tenant": "default", "exp": now.Add(time.Minute).Unix()}
	for name, c := range map[string]struct {
		method jwt.SigningMethod
		key    any
		change jwt.MapClaims
	}{
		"none":                    {jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil},
		"another key":             {jwt.SigningMethodHS256, make([]byte, 32), nil},
		"HS512":                   {jwt.SigningMethodHS512, w.auth.TokenKey(), nil},
		"signed by the device":    {jwt.SigningMethodES256, p.key, nil},
		"another audience":        {jwt.SigningMethodHS256, w.auth.TokenKey(), jwt.MapClaims{"aud": "tandem"}},
		"another issuer":          {jwt.SigningMethodHS256, w.auth.TokenKey(), jwt.MapClaims{"iss": "x"}},
		"no exp":                  {jwt.SigningMethodHS256, w.auth.TokenKey(), jwt.MapClaims{"exp": nil}},
		"expired":                 {jwt.SigningMethodHS256, w.auth.TokenKey(), jwt.MapClaims{"exp": now.Unix()}},
		"unknown device":          {jwt.SigningMethodHS256, w.auth.TokenKey(), jwt.MapClaims{"sub": "dev_nobody"}},
		"device of another house": {jwt.SigningMethodHS256, w.auth.TokenKey(), jwt.MapClaims{"tenant": "other"}},
	} {
		t.Run(name, func(t *testing.T) {
			claims := jwt.MapClaims{}
			for _, m := range []jwt.MapClaims{good, c.change} {
				for k, v := range m {
					if claims[k] = v; v == nil {
						delete(claims, k)
					}
				}
			}
			s, err := jwt.NewWithClaims(c.method, claims).SignedString(c.key)
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.auth.VerifyToken(t.Context(), s)
			want(t, err, device.ErrToken)
		})
	}
	nonce := w.auth.Nonce()
	_, err = w.auth.VerifyToken(t.Context(), w.sign(p, jwt.MapClaims{"nonce": nonce}))
	want(t, err, device.ErrToken) // an assertion is no token
	_, err = w.auth.VerifyHello(t.Context(), "", nonce, token)
	want(t, err, device.ErrAssertion) // nor a token an assertion
	w.pass(10 * time.Minute)
	_, err = w.auth.VerifyToken(t.Context(), token)
	want(t, err, device.ErrToken)
}

// A fault of the store is not taken for a bad assertion, which would lock devices out.
func TestStoreFaultIsNotTheDevices(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	w.enrol(p, number(t, alice))
	w.restart(func(c *device.Config) { c.Engine = &unreadable{w.engine, "devices"} })
	nonce := w.auth.Nonce()
	_, err := w.auth.VerifyHello(t.Context(), "", nonce, w.sign(p, jwt.MapClaims{"nonce": nonce}))
	if errors.Is(err, device.ErrAssertion) || !errors.Is(err, store.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

type unreadable struct {
	store.Engine
	table string
}

func (u *unreadable) Get(ctx context.Context, table, key string) (store.Record, error) {
	if table == u.table {
		return store.Record{}, store.ErrClosed
	}
	return u.Engine.Get(ctx, table, key)
}

func TestIDsComeFromTheKey(t *testing.T) {
	a, b := newPhone(t).jwk(t), newPhone(t).jwk(t)
	if again := a; device.IDOf("default", a) != device.IDOf("default", again) || device.IDOf("default", a) == device.IDOf("default", b) || device.IDOf("default", a) == device.IDOf("other", a) {
		t.Error("ids do not tell keys and tenants apart")
	}
	// The key of RFC 7517 appendix A.1; its thumbprint was computed with another program.
	k := wire.JWK{KTY: "EC", CRV: "P-256", X: "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", Y: "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}
	if _, err := device.PublicKey(k); err != nil {
		t.Error(err)
	}
	if got := device.Thumbprint(k); got != "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s" {
		t.Errorf("thumbprint %s", got)
	}
}

func FuzzAssertion(f *testing.F) {
	w := newWorld(f)
	p := newPhone(f)
	w.enrol(p, number(f, alice))
	nonce := w.auth.Nonce()
	f.Add(nonce, w.sign(newPhone(f), jwt.MapClaims{"nonce": nonce}))
	f.Add(nonce, "eyJhbGciOiJub25lIn0.e30.")
	f.Add("AAAA", "a.b.c")
	f.Fuzz(func(t *testing.T, nonce, assertion string) {
		if d, err := w.auth.VerifyHello(t.Context(), "", nonce, assertion); err == nil {
			t.Errorf("let %s in", d.ID)
		}
		if d, err := w.auth.VerifyToken(t.Context(), assertion); err == nil {
			t.Errorf("let %s in", d.ID)
		}
	})
}

// A number that lapsed and was proved by somebody else reaches only them, and what the
// former holder's party had stays out of their hands.
func TestRecycledNumberReachesItsNewHolderOnly(t *testing.T) {
	w := newWorld(t)
	n, old := number(t, alice), newPhone(t)
	mail, err := tel.ParseIdentity("mailto:alice@example.com", "")
	if err != nil {
		t.Fatal(err)
	}
	w.enrol(old, n)
	if err := w.parties.Link(t.Context(), wire.DefaultTenant, mail, n.Identity()); err != nil {
		t.Fatal(err)
	}
	w.pass(180 * 24 * time.Hour)
	holder := w.enrol(newPhone(t), n)
	all, err := w.registry.OfParty(t.Context(), wire.DefaultTenant, n.Identity())
	if err != nil || len(all) != 1 || all[0].ID != holder.ID {
		t.Errorf("the number reaches %v, %v", ids(all), err)
	}
	if p, err := w.parties.Principal(t.Context(), wire.DefaultTenant, mail); err != nil || p != mail {
		t.Errorf("the former holder's mail leads to %v, %v", p, err)
	}
	if len(w.alerts) != 0 {
		t.Errorf("the former holder's device was told: %+v", w.alerts)
	}
}

// Who proves its number again too late, with the same key, is the same holder.
func TestLateHolderStays(t *testing.T) {
	w := newWorld(t)
	n, phone := number(t, alice), newPhone(t)
	mail, err := tel.ParseIdentity("mailto:alice@example.com", "")
	if err != nil {
		t.Fatal(err)
	}
	w.enrol(phone, n)
	if err := w.parties.Link(t.Context(), wire.DefaultTenant, mail, n.Identity()); err != nil {
		t.Fatal(err)
	}
	w.pass(181 * 24 * time.Hour)
	w.enrol(phone, n)
	if p, err := w.parties.Principal(t.Context(), wire.DefaultTenant, mail); err != nil || p != n.Identity() {
		t.Errorf("the holder's mail leads to %v, %v", p, err)
	}
}

// What a device signs for a connection serves nowhere else, and needs no store that can be written to.
func TestVerifyConnection(t *testing.T) {
	w := newWorld(t)
	p := newPhone(t)
	d := w.enrol(p, number(t, alice))
	nonce := w.auth.ConnectionNonce()
	assertion := w.sign(p, jwt.MapClaims{"nonce": nonce})
	got, err := w.auth.VerifyConnection(t.Context(), "", nonce, assertion)
	if err != nil || got.ID != d.ID {
		t.Fatalf("%s, %v", got.ID, err)
	}
	_, err = w.auth.VerifyConnection(t.Context(), "", w.auth.ConnectionNonce(), assertion)
	want(t, err, device.ErrAssertion) // at another connection
	_, err = w.auth.VerifyHello(t.Context(), "", nonce, assertion)
	want(t, err, device.ErrAssertion) // for a token
	if err := w.registry.Revoke(t.Context(), wire.DefaultTenant, d.ID); err != nil {
		t.Fatal(err)
	}
	_, err = w.auth.VerifyConnection(t.Context(), "", nonce, assertion)
	want(t, err, device.ErrRevoked)
}
