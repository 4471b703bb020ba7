package passport_test

import (
	"context"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/passport"
	"github.com/tandem-call/tandem/internal/passport/passporttest"
)

func TestVerify(t *testing.T) {
	w := newWorld(t)
	w.want(nil, dialled(alice, bob, w.shaken(alice, bob)))
	w.want(nil, answered(bob, alice, w.shaken(alice, bob)))
	w.now = w.now.Add(time.Second)
	p := answered(bob, alice, w.shaken(alice, bob, func(c *passporttest.Claims) { c.Dest.TN = []string{carol, bob} }))
	p.Direction = ""
	w.want(nil, p)
	base := passporttest.Claims{Dest: passporttest.Destination{TN: []string{bob}}, Iat: w.now.Unix(), Orig: passporttest.Origin{TN: alice}}
	w.want(nil, dialled(alice, bob, must(w.provider.Sign(passport.Base, certURL, base))))
	if w.fetched != 1 {
		t.Errorf("the certificate was fetched %d times", w.fetched)
	}
}

func TestNumbers(t *testing.T) {
	w := newWorld(t)
	for name, p := range map[string]passport.Presented{
		"another caller":             dialled(carol, bob, w.shaken(alice, bob)),
		"another number called":      dialled(alice, carol, w.shaken(alice, bob)),
		"the wrong way round":        dialled(bob, alice, w.shaken(alice, bob)),
		"answered by the caller":     answered(alice, bob, w.shaken(alice, bob)),
		"the report names one only":  {Tenant: "t", For: "x", Own: number(alice), Identities: []string{w.shaken(alice, bob)}},
		"the report names the other": {Tenant: "t", For: "x", Other: number(alice), Identities: []string{w.shaken(alice, bob)}},
	} {
		w.run(name, passport.ErrNumbers, p)
	}
	if w.fetched != 0 {
		t.Error("a certificate was fetched for what is refused anyway")
	}
}

func TestAttestation(t *testing.T) {
	w := newWorld(t)
	for _, a := range []string{"B", "C"} {
		w.want(passport.ErrAttestation, dialled(alice, bob, w.shaken(alice, bob, func(c *passporttest.Claims) { c.Attest = a })))
	}
	for _, a := range []string{"", "a", "D", "AA"} {
		w.want(passport.ErrForm, dialled(alice, bob, w.shaken(alice, bob, func(c *passporttest.Claims) { c.Attest = a })))
	}
	w.want(passport.ErrForm, dialled(alice, bob, w.shaken(alice, bob, func(c *passporttest.Claims) { c.OrigID = "" })))
}

func TestFreshness(t *testing.T) {
	for age, want := range map[time.Duration]error{
		0: nil, time.Minute: nil, 61 * time.Second: passport.ErrStale, time.Hour: passport.ErrStale,
		-time.Minute: nil, -61 * time.Second: passport.ErrStale, -time.Hour: passport.ErrStale,
	} {
		w := newWorld(t)
		w.want(want, dialled(alice, bob, w.shaken(alice, bob, func(c *passporttest.Claims) { c.Iat -= int64(age / time.Second) })))
	}
}

func TestReplay(t *testing.T) {
	w := newWorld(t)
	identity := w.shaken(alice, bob)
	first := dialled(alice, bob, identity)
	w.want(nil, first)
	w.want(nil, first) // a repetition of the report
	again := first
	again.For = "element e1 call 2"
	w.want(passport.ErrReplayed, again)
	again.For = "device mallory"
	w.want(passport.ErrReplayed, again)
	w.verifier = w.newVerifier() // another node, or after a restart
	w.want(passport.ErrReplayed, again)

	// The other side presents the same one once, too.
	other := answered(bob, alice, identity)
	other.For = "element e2"
	w.want(nil, other)
	other.For = "element e3"
	w.want(passport.ErrReplayed, other)

	// A signature has a twin, R and -S: the same PASSporT.
	twin := dialled(alice, bob, withTwin(identity))
	twin.For = "element e4"
	w.want(passport.ErrReplayed, twin)

	// Another tenant is another world.
	elsewhere := again
	elsewhere.Tenant = "u"
	w.want(nil, elsewhere)

	for after, want := range map[time.Duration]int{time.Minute: 0, 6 * time.Minute: 3} {
		now := w.now
		w.now = now.Add(after + time.Second)
		w.want(passport.ErrStale, again)
		if n, err := w.verifier.Sweep(t.Context()); err != nil || n != want {
			t.Errorf("after %s %d were swept, want %d; %v", after, n, want, err)
		}
		w.now = now
	}
}

// withTwin replaces the signature by the other one that is valid: S by N - S.
func withTwin(identity string) string {
	jws, params, _ := strings.Cut(identity, ";")
	i := strings.LastIndexByte(jws, '.')
	sig := must(base64.RawURLEncoding.DecodeString(jws[i+1:]))
	new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(sig[32:])).FillBytes(sig[32:])
	return jws[:i+1] + base64.RawURLEncoding.EncodeToString(sig) + ";" + params
}

// TestTampering: whatever is changed, it is refused.
func TestTampering(t *testing.T) {
	w := newWorld(t)
	good := w.shaken(alice, bob)
	jws, _, _ := strings.Cut(good, ";")
	parts := strings.Split(jws, ".")
	payload := string(must(base64.RawURLEncoding.DecodeString(parts[1])))
	join := func(h, p, s string) string { return h + "." + p + "." + s }
	b64 := base64.RawURLEncoding.EncodeToString

	other := w.publish("https://cert.example.org/other.pem", &passport.TNAuthList{Codes: []string{"9999"}})
	tests := map[string]struct {
		identity string
		want     error
	}{
		"nothing":          {jws, nil},
		"white space":      {join(parts[0], b64([]byte(strings.Replace(payload, `":`, `": `, 1))), parts[2]), passport.ErrSignature},
		"another time":     {join(parts[0], b64([]byte(strings.Replace(payload, `"iat":`, `"iat": `, 1))), parts[2]), passport.ErrSignature},
		"another origid":   {join(parts[0], b64([]byte(strings.Replace(payload, "123e4567", "123e4568", 1))), parts[2]), passport.ErrSignature},
		"zero signature":   {join(parts[0], parts[1], b64(make([]byte, 64))), passport.ErrSignature},
		"short signature":  {join(parts[0], parts[1], b64(make([]byte, 63))), passport.ErrForm},
		"empty signature":  {join(parts[0], parts[1], ""), passport.ErrForm},
		"DER signature":    {join(parts[0], parts[1], b64(append([]byte{0x30, 0x44}, make([]byte, 68)...))), passport.ErrForm},
		"padding":          {join(parts[0], parts[1]+"=", parts[2]), passport.ErrForm},
		"a spare bit set":  {join(parts[0], parts[1], parts[2][:len(parts[2])-1]+"B"), passport.ErrForm},
		"standard base64":  {join(parts[0], parts[1], "+/"+parts[2][2:]), passport.ErrForm},
		"another's key":    {must(other.Sign(passport.Shaken, certURL, passporttest.Shaken(alice, bob, w.now))), passport.ErrSignature},
		"an unknown place": {must(w.provider.Sign(passport.Shaken, "https://cert.example.org/none", passporttest.Shaken(alice, bob, w.now))), passport.ErrFetch},
	}
	for i := range len(parts[2]) - 1 {
		flipped := []byte(parts[2])
		flipped[i] = map[bool]byte{true: 'B', false: 'A'}[flipped[i] == 'A']
		tests["signature "+string(rune('a'+i/26))+string(rune('a'+i%26))] = struct {
			identity string
			want     error
		}{join(parts[0], parts[1], string(flipped)), passport.ErrSignature}
	}
	for _, name := range sortedKeys(tests) {
		w.run(name, tests[name].want, dialled(alice, bob, tests[name].identity))
	}
}

func TestAlgorithm(t *testing.T) {
	w := newWorld(t)
	claims := `{"attest":"A","dest":{"tn":["` + bob + `"]},"iat":` + itoa(w.now.Unix()) + `,"orig":{"tn":"` + alice + `"},"origid":"x"}`
	head := func(rest string) string {
		return `{"alg":"ES256","ppt":"shaken","typ":"passport","x5u":"` + certURL + `"` + rest + `}`
	}
	w.want(nil, dialled(alice, bob, must(w.provider.SignRaw(head(``), claims))))
	w.now = w.now.Add(time.Second)
	for name, header := range map[string]string{
		"none":             strings.Replace(head(``), "ES256", "none", 1),
		"no alg":           strings.Replace(head(``), `"alg":"ES256",`, ``, 1),
		"case":             strings.Replace(head(``), "ES256", "es256", 1),
		"HMAC":             strings.Replace(head(``), "ES256", "HS256", 1),
		"RSA":              strings.Replace(head(``), "ES256", "RS256", 1),
		"another curve":    strings.Replace(head(``), "ES256", "ES384", 1),
		"alg twice":        head(`,"alg":"none"`),
		"alg twice, equal": head(`,"alg":"ES256"`),
		"typ":              strings.Replace(head(``), `"passport"`, `"JWT"`, 1),
		"no typ":           strings.Replace(head(``), `"typ":"passport",`, ``, 1),
		"crit":             head(`,"crit":["b64"]`),
		"ppt":              strings.Replace(head(``), `"shaken"`, `"rph"`, 1),
		"empty ppt":        strings.Replace(head(``), `"shaken"`, `""`, 1),
		"ppt is a list":    strings.Replace(head(``), `"shaken"`, `["shaken"]`, 1),
		"http":             strings.Replace(head(``), "https://", "http://", 1),
		"file":             strings.Replace(head(``), "https://", "file://", 1),
		"no x5u":           strings.Replace(head(``), `,"x5u":"`+certURL+`"`, ``, 1),
		"PPT":              strings.Replace(head(``), `"ppt"`, `"PPT"`, 1),
		"a key of its own": strings.Replace(head(`,"jwk":{}`), `"x5u"`, `"x5c"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			err := w.verify(dialled(alice, bob, must(w.provider.SignRaw(header, claims))))
			if name == "PPT" { // then it is a base PASSporT, which needs no attestation
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			if !errors.Is(err, passport.ErrForm) {
				t.Errorf("got %v", err)
			}
		})
	}

	// Key confusion: an HMAC with the public certificate as its key.
	signed := base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(head(``), "ES256", "HS256", 1))) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	mac := hmac.New(sha256.New, w.provider.PEM())
	mac.Write([]byte(signed))
	w.want(passport.ErrForm, dialled(alice, bob, signed+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil))))
}

func itoa(n int64) string { return big.NewInt(n).String() }

func TestCertificates(t *testing.T) {
	w := newWorld(t)
	n := 0
	present := func(s *passporttest.Signer) passport.Presented {
		n++
		url := "https://cert.example.org/" + itoa(int64(n))
		if w.at[url] == nil {
			w.at[url] = s.PEM()
		}
		return dialled(alice, bob, must(s.Sign(passport.Shaken, url, passporttest.Shaken(alice, bob, w.now))))
	}
	issue := func(l *passport.TNAuthList, change ...func(*x509.Certificate)) *passporttest.Signer {
		return must(w.ca.Issue(l, change...))
	}
	codes := &passport.TNAuthList{Codes: []string{"709J"}}
	foreign := must(passporttest.NewAuthority(w.now))

	delegate := func(parent, own passport.TNAuthList) *passporttest.Signer {
		between := issue(&parent, func(c *x509.Certificate) {
			c.IsCA, c.KeyUsage, c.Subject.CommonName = true, x509.KeyUsageCertSign, "delegating"
		})
		return must(between.Issue(&own))
	}
	one := passport.TNAuthList{Numbers: []string{alice}}
	for name, tt := range map[string]struct {
		signer *passporttest.Signer
		want   error
	}{
		"a service provider":     {issue(codes), nil},
		"the number":             {issue(&one), nil},
		"one of several":         {issue(&passport.TNAuthList{Numbers: []string{carol, alice}}), nil},
		"a range":                {issue(&passport.TNAuthList{Ranges: []passport.Range{{Start: "12155551200", Count: 100}}}), nil},
		"the range's last":       {issue(&passport.TNAuthList{Ranges: []passport.Range{{Start: "12155551210", Count: 3}}}), nil},
		"beyond the range":       {issue(&passport.TNAuthList{Ranges: []passport.Range{{Start: "12155551210", Count: 2}}}), passport.ErrCertificate},
		"below the range":        {issue(&passport.TNAuthList{Ranges: []passport.Range{{Start: "12155551213", Count: 100}}}), passport.ErrCertificate},
		"a shorter range":        {issue(&passport.TNAuthList{Ranges: []passport.Range{{Start: "1", Count: 1 << 40}}}), passport.ErrCertificate},
		"another number":         {issue(&passport.TNAuthList{Numbers: []string{bob}}), passport.ErrCertificate},
		"the number called":      {issue(&passport.TNAuthList{Numbers: []string{bob}, Ranges: []passport.Range{{Start: bob, Count: 2}}}), passport.ErrCertificate},
		"no TNAuthList":          {issue(nil), passport.ErrCertificate},
		"an unreadable one":      {issue(nil, extension([]byte{0x30, 0})), passport.ErrCertificate},
		"marked critical":        {issue(nil, critical(must(passporttest.Marshal(one)))), nil},
		"another critical one":   {issue(codes, unknownCritical), passport.ErrCertificate},
		"another root":           {must(foreign.Issue(codes)), passport.ErrCertificate},
		"expired":                {issue(codes, func(c *x509.Certificate) { c.NotAfter = w.now.Add(-time.Second) }), passport.ErrCertificate},
		"not yet valid":          {issue(codes, func(c *x509.Certificate) { c.NotBefore = w.now.Add(time.Second) }), passport.ErrCertificate},
		"not for signatures":     {issue(codes, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), passport.ErrCertificate},
		"of no stated use":       {issue(codes, func(c *x509.Certificate) { c.KeyUsage = 0 }), passport.ErrCertificate},
		"an authority":           {issue(codes, func(c *x509.Certificate) { c.IsCA = true }), passport.ErrCertificate},
		"of another key":         {&passporttest.Signer{Key: issue(codes).Key, Chain: issue(codes).Chain}, passport.ErrSignature},
		"a delegate":             {delegate(one, one), nil},
		"of a provider":          {delegate(*codes, one), nil},
		"a delegate of another":  {delegate(passport.TNAuthList{Numbers: []string{bob}}, one), passport.ErrCertificate},
		"who takes all":          {delegate(passport.TNAuthList{Numbers: []string{bob}}, *codes), passport.ErrCertificate},
		"signed by a mere owner": {must(issue(codes).Issue(codes)), passport.ErrCertificate},
	} {
		w.run(name, tt.want, present(tt.signer))
	}

	for name, content := range map[string]string{
		"nothing": "", "a page": "<html>no</html>", "a broken certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"a key only": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "very many": strings.Repeat(string(issue(codes).PEM()), 5),
	} {
		w.at["https://cert.example.org/"+itoa(int64(n+1))] = []byte(content)
		w.run(name, passport.ErrCertificate, present(issue(codes)))
	}
	s := issue(codes)
	w.at["https://cert.example.org/"+itoa(int64(n+1))] = s.Chain[0].Raw
	w.run("DER", nil, present(s))
}

var tnAuthList = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 26}

func extension(value []byte) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{{Id: tnAuthList, Value: value}} }
}

func critical(value []byte) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: tnAuthList, Critical: true, Value: value}}
	}
}

func unknownCritical(c *x509.Certificate) {
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})
}

func TestDiversions(t *testing.T) {
	w := newWorld(t)
	toBob, toCarol, toDave := w.shaken(alice, bob), w.div(alice, bob, carol), w.div(alice, carol, dave)
	nested := func(kind passport.Kind, from, to, inner string) string {
		jws, _, _ := strings.Cut(inner, ";")
		c := passporttest.Diversion(alice, from, to, w.now)
		c.Opt = jws
		return must(w.provider.Sign(kind, certURL, c))
	}
	for name, tt := range map[string]struct {
		want error
		own  string
		ids  []string
	}{
		"once":                       {nil, carol, []string{toBob, toCarol}},
		"twice, in any order":        {nil, dave, []string{toDave, toBob, toCarol}},
		"before the diversion":       {passport.ErrNumbers, bob, []string{toBob, toCarol}},
		"without the caller's":       {passport.ErrForm, carol, []string{toCarol}},
		"a link is missing":          {passport.ErrNumbers, dave, []string{toBob, toDave}},
		"another caller's diversion": {passport.ErrNumbers, carol, []string{toBob, w.div(dave, bob, carol)}},
		"two of the caller's":        {passport.ErrNumbers, bob, []string{toBob, w.shaken(alice, bob, func(c *passporttest.Claims) { c.OrigID = "y" })}},
		"one within another":         {nil, carol, []string{nested(passport.DivO, bob, carol, toBob)}},
		"two deep":                   {nil, dave, []string{nested(passport.DivO, carol, dave, nested(passport.DivO, bob, carol, toBob))}},
		"the same twice":             {nil, carol, []string{toBob, nested(passport.DivO, bob, carol, toBob), toBob}},
		"another's within":           {passport.ErrNumbers, carol, []string{nested(passport.DivO, bob, carol, w.shaken(dave, bob))}},
		"nothing within":             {passport.ErrForm, carol, []string{nested(passport.DivO, bob, carol, "")}},
		"div says nothing of from":   {passport.ErrForm, carol, []string{must(w.provider.Sign(passport.Div, certURL, passporttest.Shaken(alice, carol, w.now)))}},
		"too many":                   {passport.ErrForm, carol, []string{toBob, toBob, toBob, toBob, toCarol}},
		"none":                       {passport.ErrForm, carol, nil},
	} {
		w.run(name, tt.want, answered(tt.own, alice, tt.ids...))
	}

	// A diversion is signed for the number that diverts, and by nobody else.
	const url = "https://cert.example.org/bob.pem"
	ofBob := w.publish(url, &passport.TNAuthList{Numbers: []string{bob}})
	link := func(from string) string {
		return must(ofBob.Sign(passport.Div, url, passporttest.Diversion(alice, from, dave, w.now)))
	}
	w.want(nil, answered(dave, alice, toBob, link(bob)))
	w.want(passport.ErrCertificate, answered(dave, alice, w.shaken(alice, carol), link(carol)))

	// It takes its time: each link is fresh when the next is made.
	first := w.shaken(alice, bob)
	w.now = w.now.Add(50 * time.Second)
	second := w.div(alice, bob, carol)
	w.now = w.now.Add(50 * time.Second)
	w.want(nil, answered(carol, alice, first, second))
	w.now = w.now.Add(11 * time.Second)
	w.want(passport.ErrStale, answered(carol, alice, first, second))
}

func TestCompactForm(t *testing.T) {
	w := newWorld(t)
	full := must(w.provider.SignRaw(`{"alg":"ES256","typ":"passport","x5u":"`+certURL+`"}`,
		`{"dest":{"tn":["`+bob+`"]},"iat":`+itoa(w.now.Unix())+`,"orig":{"tn":"`+alice+`"}}`))
	compact := ".." + full[strings.LastIndexByte(full, '.')+1:] + ";info=<" + certURL + ">;alg=ES256"
	p := answered(bob, alice, compact)
	p.Date = w.now.Add(300 * time.Millisecond) // a Date header has whole seconds
	w.want(nil, p)
	late := p
	late.Date = w.now.Add(time.Second)
	w.want(passport.ErrSignature, late)
	other := p
	other.Own = number(carol)
	w.want(passport.ErrSignature, other)
	undated := p
	undated.Date = time.Time{}
	w.want(passport.ErrForm, undated)
	p.Identities = []string{compact + ";ppt=shaken"}
	w.want(passport.ErrForm, p)
	p.Identities = []string{strings.Replace(compact, ";info=<"+certURL+">", "", 1)}
	w.want(passport.ErrForm, p)
}

func TestCertificatesAreKept(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			p := dialled(alice, bob, w.shaken(alice, bob, func(c *passporttest.Claims) { c.OrigID = itoa(int64(i)) }))
			if err := w.verify(p); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if w.fetched != 1 {
		t.Errorf("fetched %d times at once", w.fetched)
	}
	w.now = w.now.Add(time.Hour)
	w.want(nil, dialled(alice, bob, w.shaken(alice, bob)))
	if w.fetched != 2 {
		t.Errorf("fetched %d times in an hour", w.fetched)
	}

	// What is not there is not asked for each time.
	const none = "https://cert.example.org/none"
	gone := func() string {
		return must(w.provider.Sign(passport.Shaken, none, passporttest.Shaken(alice, bob, w.now)))
	}
	w.want(passport.ErrFetch, dialled(alice, bob, gone()))
	w.want(passport.ErrFetch, dialled(alice, bob, gone()))
	if w.fetched != 3 {
		t.Errorf("fetched %d times, where there is nothing", w.fetched)
	}
	w.at[none] = w.provider.PEM()
	w.now = w.now.Add(30 * time.Second)
	w.want(nil, dialled(alice, bob, gone()))

	// Many addresses do not fill the memory: what was kept goes.
	for i := range 1100 {
		url := "https://cert.example.org/many/" + itoa(int64(i))
		w.want(passport.ErrFetch, dialled(alice, bob, must(w.provider.Sign(passport.Shaken, url, passporttest.Shaken(alice, bob, w.now)))))
	}
	if n := passport.Cached(w.verifier); n > 1024 {
		t.Errorf("%d are kept", n)
	}
}

func TestNew(t *testing.T) {
	w := newWorld(t)
	fetch := func(context.Context, string) ([]byte, error) { return nil, nil }
	for name, c := range map[string]passport.Config{
		"no roots": {Fetch: fetch, Uses: w.uses}, "no fetcher": {Roots: w.ca.Roots(), Uses: w.uses}, "no table": {Roots: w.ca.Roots(), Fetch: fetch},
		"negative": {Roots: w.ca.Roots(), Fetch: fetch, Uses: w.uses, Freshness: -1},
	} {
		if _, err := passport.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := passport.New(passport.Config{Roots: w.ca.Roots(), Fetch: fetch, Uses: w.uses}); err != nil {
		t.Error(err)
	}
}
