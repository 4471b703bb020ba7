package passport_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/passport"
	"github.com/tandem-call/tandem/internal/passport/passporttest"
	"github.com/tandem-call/tandem/tel"
)

// The example of RFC 8225, Appendix A. It serves for its form: neither of the keys printed
// beside it verifies its signature, by openssl's judgement too.
const rfc8225 = "eyJhbGciOiJFUzI1NiIsInR5cCI6InBhc3Nwb3J0IiwieDV1IjoiaHR0cHM6Ly9j" +
	"ZXJ0LmV4YW1wbGUub3JnL3Bhc3Nwb3J0LmNlciJ9.eyJkZXN0Ijp7InVyaSI6WyJza" +
	"XA6YWxpY2VAZXhhbXBsZS5jb20iXX0sImlhdCI6MTQ3MTM3NTQxOCwib3JpZyI6eyJ" +
	"0biI6IjEyMTU1NTUxMjEyIn19.VLBCIVDCaeK6M4hLJb6SHQvacAQVvoiiEOWQ_iUk" +
	"qk79UD81fHQ0E1b3_GluIkba7UWYRM47ZbNFdOJquE35cw"

func TestExampleOfRFC8225(t *testing.T) {
	token, err := passport.Parse("Identity: "+rfc8225+";info=<https://cert.example.org/passport.cer>;alg=ES256", passport.Call{})
	if err != nil {
		t.Fatal(err)
	}
	if token.Kind != passport.Base || token.URL != "https://cert.example.org/passport.cer" || token.Orig != number(alice) ||
		len(token.Dest) != 0 || !token.Issued.Equal(time.Unix(1471375418, 0)) {
		t.Errorf("read as %+v", token)
	}
}

// TestExampleOfRFC8588 has the header and payload of RFC 8588, Section 4.
func TestExampleOfRFC8588(t *testing.T) {
	w := newWorld(t)
	token, err := passport.Parse(must(w.provider.SignRaw(
		`{"alg":"ES256","typ":"passport","ppt":"shaken","x5u":"https://cert.example.org/passport.cer"}`,
		`{"attest":"A","dest":{"tn":["12155550131"]},"iat":1443208345,"orig":{"tn":"12155550121"},"origid":"123e4567-e89b-12d3-a456-426655440000"}`)), passport.Call{})
	if err != nil || token.Kind != passport.Shaken || token.Attest != "A" || token.OrigID == "" || token.Orig != number("12155550121") || token.Dest[0] != number("12155550131") {
		t.Errorf("read as %+v, %v", token, err)
	}
}

// TestExampleOfRFC7515 is the ES256 signature of RFC 7515, Appendix A.3.
func TestExampleOfRFC7515(t *testing.T) {
	b64 := base64.RawURLEncoding.DecodeString
	key := must(ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4},
		must(b64("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU")), must(b64("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")))))
	const signed = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	signature := must(b64("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"))
	if !passport.SignedBy(passport.Raw(signed, signature), key) {
		t.Error("it does not verify")
	}
	signature[63] ^= 1
	if passport.SignedBy(passport.Raw(signed, signature), key) {
		t.Error("changed, it verifies")
	}
}

func TestHeader(t *testing.T) {
	const info = "https://cert.example.org/passport.cer"
	for s, ok := range map[string]bool{
		rfc8225:                          true,
		" " + rfc8225 + " ":              true,
		"identity : " + rfc8225:          false, // no space is left there by elements that copy it
		"Identity:" + rfc8225:            true,
		"y: " + rfc8225:                  true, // RFC 8224 4: the short name
		rfc8225 + ";info=<" + info + ">": true,
		rfc8225 + " ; info = <" + info + "> ; alg=ES256":     true,
		rfc8225 + ";INFO=<" + info + ">":                     true,
		rfc8225 + `;alg="ES256"`:                             true,
		rfc8225 + ";x=1;alg=ES256":                           true,
		rfc8225 + ";info=" + info:                            false,
		rfc8225 + ";info=<" + info:                           false,
		rfc8225 + ";info=<https://elsewhere.example/>":       false,
		rfc8225 + ";info=<" + info + ";x=1>":                 false, // a semicolon within belongs to the address
		rfc8225 + ";info=<" + info + ">;info=<" + info + ">": false,
		rfc8225 + ";alg=ES384":                               false,
		rfc8225 + ";alg=":                                    false,
		rfc8225 + ";ppt=shaken":                              false,
		rfc8225 + ";ppt=":                                    true,
		rfc8225 + "\x00":                                     false,
		rfc8225 + "\r\nX: y":                                 false,
		rfc8225 + ";x=ü":                                     false,
		rfc8225 + strings.Repeat(";", 4096):                  false,
		rfc8225 + strings.Repeat(";", 100):                   true,
		"":                                                   false,
		".":                                                  false,
		"..":                                                 false,
		"...":                                                false,
		rfc8225 + ".x":                                       false,
		strings.Replace(rfc8225, "eyJ", "eyI", 1):            false,
	} {
		if _, err := passport.Parse(s, passport.Call{}); (err == nil) != ok || err != nil && !errors.Is(err, passport.ErrForm) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestClaims(t *testing.T) {
	w := newWorld(t)
	read := func(payload string) error {
		_, err := passport.Parse(must(w.provider.SignRaw(`{"alg":"ES256","typ":"passport","x5u":"https://a.example/"}`, payload)), passport.Call{})
		return err
	}
	const good = `{"dest":{"tn":["12155551213"]},"iat":1471375418,"orig":{"tn":"12155551212"}}`
	if err := read(good); err != nil {
		t.Fatal(err)
	}
	for _, ok := range []string{
		strings.Replace(good, `}}`, `},"mky":[{"alg":"sha-256"}]}`, 1), // other claims are passed over
		strings.Replace(good, `["12155551213"]`, `["12155551213","442079460003"]`, 1),
		strings.Replace(good, `"tn":[`, `"uri":["sip:a@b.example"],"tn":[`, 1),
		" " + good + "\n",
	} {
		if err := read(ok); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	swap := func(old, by string) string { return strings.Replace(good, old, by, 1) }
	for _, bad := range []string{
		`null`, `[]`, `"x"`, `{}`, `{`, good + good, good + `x`, good[:len(good)-1],
		swap(`"iat":1471375418,`, ``), swap(`1471375418`, `"1471375418"`), swap(`1471375418`, `1471375418.5`), swap(`1471375418`, `1e9`),
		swap(`1471375418`, `0`), swap(`1471375418`, `-1`), swap(`1471375418`, `99999999999999999999`), swap(`1471375418`, `null`), swap(`1471375418`, `9223372036854775807`),
		swap(`"orig":{"tn":"12155551212"}`, `"x":1`), swap(`{"tn":"12155551212"}`, `"12155551212"`), swap(`{"tn":"12155551212"}`, `null`),
		swap(`{"tn":"12155551212"}`, `{"uri":"sip:a@b.example"}`), swap(`{"tn":"12155551212"}`, `{"tn":["12155551212"]}`),
		swap(`"orig"`, `"ORIG"`), swap(`"dest"`, `"Dest"`), swap(`"tn":"`, `"TN":"`),
		swap(`"orig":`, `"orig":{"tn":"12155551299"},"orig":`), swap(`"orig":`, `"\u006frig":{"tn":"12155551299"},"orig":`),
		swap(`"tn":"12155551212"`, `"tn":"12155551299","tn":"12155551212"`), swap(`"iat":`, `"iat":1,"iat":`),
		swap(`"12155551212"`, `"+12155551212"`), swap(`"12155551212"`, `"1 215 555 1212"`), swap(`"12155551212"`, `"1-215-555-1212"`),
		swap(`"12155551212"`, `""`), swap(`"12155551212"`, `"0012155551212"`), swap(`"12155551212"`, `"2155551212"`), swap(`"12155551212"`, `"١٢١٥٥٥٥١٢١٢"`),
		swap(`"12155551212"`, `"4402079460003"`), swap(`"12155551212"`, `"1215555121200000"`), swap(`"12155551212"`, `12155551212`),
		swap(`["12155551213"]`, `[]`), swap(`["12155551213"]`, `"12155551213"`), swap(`["12155551213"]`, `null`), swap(`["12155551213"]`, `["12155551213",7]`), swap(`["12155551213"]`, `["12155551213","x"]`),
		swap(`{"tn":["12155551213"]}`, `{}`),
	} {
		if err := read(bad); !errors.Is(err, passport.ErrForm) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestDepth(t *testing.T) {
	w := newWorld(t)
	inner := must(w.provider.Sign(passport.Shaken, "https://a.example", passporttest.Shaken(alice, bob, w.now)))
	for depth := 2; depth <= 5; depth++ {
		c := passporttest.Diversion(alice, bob, carol, w.now)
		c.Opt = inner
		inner = must(w.provider.Sign(passport.DivO, "https://a.example", c))
		if _, err := passport.Parse(inner, passport.Call{}); (err == nil) != (depth <= passport.MaxChain && len(inner) <= passport.MaxHeader) {
			t.Errorf("%d deep, %d bytes: %v", depth, len(inner), err)
		}
	}
}

func TestTNAuthList(t *testing.T) {
	full := passport.TNAuthList{
		Codes: []string{"709J"}, Ranges: []passport.Range{{Start: "12155551200", Count: 100}}, Numbers: []string{"442079460003", "*12#"},
	}
	if got := must(passport.ParseTNAuthList(must(passporttest.Marshal(full)))); !reflect.DeepEqual(got, full) {
		t.Errorf("read as %+v", got)
	}
	// As certificates of real providers have it.
	real := []byte{0x30, 0x08, 0xa0, 0x06, 0x16, 0x04, '7', '0', '9', 'J'}
	if got := must(passport.ParseTNAuthList(real)); len(got.Codes) != 1 || got.Codes[0] != "709J" {
		t.Errorf("read as %+v", got)
	}
	// A range may be extended (RFC 8226 9: "...").
	extended := []byte{0x30, 0x13, 0xa1, 0x11, 0x30, 0x0f, 0x16, 0x05, '1', '2', '3', '4', '5', 0x02, 0x01, 0x0a, 0x80, 0x03, 'n', 'e', 'w'}
	if got := must(passport.ParseTNAuthList(extended)); got.Ranges[0] != (passport.Range{Start: "12345", Count: 10}) {
		t.Errorf("read as %+v", got)
	}
	for name, der := range map[string][]byte{
		"empty":           {},
		"no entries":      {0x30, 0},
		"not a sequence":  {0x31, 0x08, 0xa0, 0x06, 0x16, 0x04, '7', '0', '9', 'J'},
		"something after": append(append([]byte{}, real...), 5, 0),
		"cut off":         real[:9],
		"implicit tag":    {0x30, 0x06, 0x80, 0x04, '7', '0', '9', 'J'},
		"another tag":     {0x30, 0x08, 0xa3, 0x06, 0x16, 0x04, '7', '0', '9', 'J'},
		"universal":       {0x30, 0x06, 0x16, 0x04, '7', '0', '9', 'J'},
		"UTF8String":      {0x30, 0x08, 0xa0, 0x06, 0x0c, 0x04, '7', '0', '9', 'J'},
		"two in one":      {0x30, 0x0a, 0xa0, 0x08, 0x16, 0x02, '7', '0', 0x16, 0x02, '9', 'J'},
		"empty code":      {0x30, 0x04, 0xa0, 0x02, 0x16, 0x00},
		"letters":         {0x30, 0x06, 0xa2, 0x04, 0x16, 0x02, '1', 'a'},
		"a range of one":  must(passporttest.Marshal(passport.TNAuthList{Ranges: []passport.Range{{Start: "1", Count: 1}}})),
		"a long number":   must(passporttest.Marshal(passport.TNAuthList{Numbers: []string{"1234567890123456"}})),
		"half a range":    {0x30, 0x07, 0xa1, 0x05, 0x30, 0x03, 0x16, 0x01, '1'},
	} {
		if got, err := passport.ParseTNAuthList(der); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
	if full.Covers(number(alice)) != true || (passport.TNAuthList{}).Covers(number(alice)) || full.Covers(tel.Number{}) {
		t.Error("who is covered")
	}
}

func FuzzParse(f *testing.F) {
	now := time.Unix(1471375418, 0)
	ca := must(passporttest.NewAuthority(now))
	for _, kind := range []passport.Kind{passport.Shaken, passport.Div, passport.DivO} {
		c := passporttest.Diversion(alice, bob, carol, now)
		c.Attest, c.OrigID, c.Opt = "A", "x", rfc8225
		f.Add(passporttest.Identity(must(ca.Sign(kind, certURL, c)), kind, certURL))
	}
	f.Add(rfc8225)
	f.Add("Identity: " + rfc8225 + ";info=<https://cert.example.org/passport.cer>;alg=ES256")
	f.Add(".." + rfc8225[len(rfc8225)-86:] + ";info=<https://a.example>")
	call := passport.Call{Orig: number(alice), Dest: number(bob), Date: now}
	f.Fuzz(func(t *testing.T, s string) {
		token, err := passport.Parse(s, call)
		if err != nil {
			if !errors.Is(err, passport.ErrForm) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		signed, signature := passport.Signed(token)
		if token.Orig.IsZero() || token.Issued.IsZero() || !strings.HasPrefix(token.URL, "https://") || strings.Count(signed, ".") != 1 || len(signature) != 64 {
			t.Errorf("%q was read as %+v", s, token)
		}
		if diverted := token.Kind == passport.Div || token.Kind == passport.DivO; diverted == token.Div.IsZero() {
			t.Errorf("%q was read as %+v", s, token)
		}
	})
}

func FuzzTNAuthList(f *testing.F) {
	f.Add([]byte{0x30, 0x08, 0xa0, 0x06, 0x16, 0x04, '7', '0', '9', 'J'})
	f.Add(must(passporttest.Marshal(passport.TNAuthList{Ranges: []passport.Range{{Start: alice, Count: 100}}, Numbers: []string{bob}})))
	f.Fuzz(func(t *testing.T, der []byte) {
		l, err := passport.ParseTNAuthList(der)
		if err != nil {
			return
		}
		if again, err := passport.ParseTNAuthList(must(passporttest.Marshal(l))); err != nil || !reflect.DeepEqual(again, l) {
			// Entries may stand in another order; written again, they no longer do.
			t.Errorf("%x: %+v is read again as %+v, %v", der, l, again, err)
		}
		l.Covers(number(alice))
	})
}
