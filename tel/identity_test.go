package tel_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tandem-call/tandem/tel"
)

func TestParseIdentity(t *testing.T) {
	for _, tt := range []struct{ name, in, region, want string }{
		{"number", "+44 20 7946 0001", "", "tel:+442079460001"},
		{"national number", "020 7946 0001", "GB", "tel:+442079460001"},
		{"tel URI", "tel:+44-20-7946-0001;ext=5", "", "tel:+442079460001"},

		{"SIP", "sip:alice@example.com", "", "sip:alice@example.com"},
		{"SIP scheme and host in upper case", "SIP:Alice@EXAMPLE.com", "", "sip:Alice@example.com"},
		{"SIPS is another scheme", "sips:alice@example.com", "", "sips:alice@example.com"},
		{"SIP escapes of plain characters", "sip:%61lice%2Dx@example.com", "", "sip:alice-x@example.com"},
		{"SIP escapes of reserved characters stay", "sip:a%3ab%40c@example.com", "", "sip:a%3Ab%40c@example.com"},
		{"SIP torture: escaped null (RFC 4475 3.1.1.4)", "sip:null-%00-null@example.com", "", "sip:null-%00-null@example.com"},
		{"SIP torture: semicolon in the user part (RFC 4475 3.1.1.9)", "sip:user;par=u%40example.net@example.com", "", "sip:user;par=u%40example.net@example.com"},
		{"SIP question mark in the user part", "sip:what?@example.com", "", "sip:what?@example.com"},
		{"SIP password dropped", "sip:alice:secret@example.com", "", "sip:alice@example.com"},
		{"SIP parameters and headers dropped", "sip:alice@example.com;transport=tcp;lr?subject=hi&to=bob", "", "sip:alice@example.com"},
		{"SIP default port", "sip:alice@example.com:5060", "", "sip:alice@example.com"},
		{"SIP default port with zeros", "sip:alice@example.com:05060", "", "sip:alice@example.com"},
		{"SIPS default port", "sips:alice@example.com:5061", "", "sips:alice@example.com"},
		{"SIP over TLS default port", "sip:alice@example.com:5061;transport=TLS", "", "sip:alice@example.com"},
		{"SIP over TLS, port of UDP", "sip:alice@example.com:5060;transport=tls", "", "sip:alice@example.com"},
		{"SIP other port", "sip:alice@example.com:5061", "", "sip:alice@example.com:5061"},
		{"SIPS other port", "sips:alice@example.com:5060", "", "sips:alice@example.com:5060"},
		{"SIP IPv4", "sip:alice@192.0.2.1:5060", "", "sip:alice@192.0.2.1"},
		{"SIP IPv6", "sip:alice@[2001:DB8:0:0::1]:5060", "", "sip:alice@[2001:db8::1]"},
		{"SIP IPv6 with port", "sip:alice@[2001:db8::1]:5070;lr", "", "sip:alice@[2001:db8::1]:5070"},
		{"SIP host with a dot at the end", "sip:alice@example.com.", "", "sip:alice@example.com"},
		{"SIP international host", "sip:alice@bücher.example", "", "sip:alice@xn--bcher-kva.example"},
		{"SIP number by user=phone", "sip:+44-20-7946-0001@gw.example.com;user=phone", "", "tel:+442079460001"},
		{"SIP number by user=phone in upper case", "sip:+442079460001@gw;USER=Phone", "", "tel:+442079460001"},
		{"SIP number with parameters (RFC 3261 19.1.6)", "sip:+358-9-123-4567;postd=pp22@foo.example;user=phone", "", "tel:+35891234567"},
		{"SIP local number with context", "sip:863-1234;phone-context=+1-914@gw.example;user=phone", "", "tel:+19148631234"},
		{"SIP local number remains a user", "sip:7042@pbx.example;user=phone", "", "sip:7042@pbx.example"},
		{"SIP number is never guessed", "sip:+442079460001@gw.example.com", "", "sip:+442079460001@gw.example.com"},

		{"e-mail", "Alice@Example.COM", "", "mailto:Alice@example.com"},
		{"e-mail URI", "mailto:alice@example.com?subject=hi", "", "mailto:alice@example.com"},
		{"e-mail escapes", "mailto:alice%2Btag@example.com", "", "mailto:alice+tag@example.com"},
		{"e-mail characters that mailto escapes", "a?b/c@example.com", "", "mailto:a%3Fb%2Fc@example.com"},
		{"e-mail per cent without a scheme", "a%41@example.com", "", "mailto:a%2541@example.com"},
		{"e-mail of other letters", "élise@bücher.example", "", "mailto:%C3%A9lise@xn--bcher-kva.example"},
		{"e-mail of other letters, decomposed", "e\u0301lise@example.com", "", "mailto:%C3%A9lise@example.com"},

		{"user", "user:Alice", "", "user:alice"},
		{"social", "acct:Alice@Social.Example", "", "acct:Alice@social.example"},
		{"social with an at sign (RFC 7565 4)", "acct:juliet%40capulet.example@shoppingsite.example", "", "acct:juliet%40capulet.example@shoppingsite.example"},
		{"social escapes", "ACCT:%61lice%2b@social.example", "", "acct:alice%2B@social.example"},
		{"allocated keeps its case", "ID:01J8xY", "", "id:01J8xY"},
		{"surrounding space", " user:alice\r\n", "", "user:alice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := tel.ParseIdentity(tt.in, tt.region)
			if err != nil || id.String() != tt.want {
				t.Fatalf("ParseIdentity(%q, %q) = %q, %v; want %q", tt.in, tt.region, id, err, tt.want)
			}
			if again := identity(t, id.String()); again != id {
				t.Errorf("%q reads as %q", id, again)
			}
		})
	}
}

func TestParseIdentityRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		err      error
	}{
		{"empty", " ", tel.ErrIdentity},
		{"endless", "user:" + strings.Repeat("a", 600), tel.ErrIdentity},
		{"unknown scheme", "https://example.com/alice", tel.ErrIdentity},
		{"name-addr", `"Alice" <sip:alice@example.com>`, tel.ErrIdentity},
		{"no country code", "020 7946 0001", tel.ErrNumber},
		{"words", "alice", tel.ErrNumber},
		{"SIP without user", "sip:example.com", tel.ErrIdentity},
		{"SIP with empty user", "sip:@example.com", tel.ErrIdentity},
		{"SIP with password only", "sip::secret@example.com", tel.ErrIdentity},
		{"SIP without host", "sip:alice@", tel.ErrIdentity},
		{"SIP broken escape", "sip:al%6@example.com", tel.ErrIdentity},
		{"SIP escape cut short", "sip:alice%@example.com", tel.ErrIdentity},
		{"SIP raw brackets in user", "sip:a[b]@example.com", tel.ErrIdentity},
		{"SIP space", "sip:alice smith@example.com", tel.ErrIdentity},
		{"SIP second at sign", "sip:alice@home@example.com", tel.ErrIdentity},
		{"SIP bad host", "sip:alice@exa_mple.com", tel.ErrIdentity},
		{"SIP host with two dots", "sip:alice@example..com", tel.ErrIdentity},
		{"SIP label with a dash in front", "sip:alice@-example.com", tel.ErrIdentity},
		{"SIP IPv4 with leading zeros", "sip:alice@192.0.2.010", tel.ErrIdentity},
		{"SIP IPv4 cut short", "sip:alice@192.0.2", tel.ErrIdentity},
		{"SIP bad IPv6", "sip:alice@[2001:db8::g]", tel.ErrIdentity},
		{"SIP IPv6 with zone", "sip:alice@[fe80::1%25eth0]", tel.ErrIdentity},
		{"SIP IPv6 without brackets", "sip:alice@2001:db8::1", tel.ErrIdentity},
		{"SIP IPv4 in brackets", "sip:alice@[192.0.2.1]", tel.ErrIdentity},
		{"SIP port zero", "sip:alice@example.com:0", tel.ErrIdentity},
		{"SIP port too large", "sip:alice@example.com:65536", tel.ErrIdentity},
		{"SIP port empty", "sip:alice@example.com:", tel.ErrIdentity},
		{"SIP port of letters", "sip:alice@example.com:sip", tel.ErrIdentity},
		{"SIP port with sign", "sip:alice@example.com:+5060", tel.ErrIdentity},
		{"SIP user twice", "sip:+442079460001@gw;user=ip;user=phone", tel.ErrIdentity},
		{"SIP markup in a parameter", "sip:alice@example.com;a=<b>", tel.ErrIdentity},
		{"SIP header injection", "sip:alice@example.com\r\nTo: bob", tel.ErrIdentity},
		{"SIP number that cannot be", "sip:+999123@gw.example;user=phone", tel.ErrNumber},
		{"e-mail with a name", "Alice <alice@example.com>", tel.ErrIdentity},
		{"e-mail quoted", `"a b"@example.com`, tel.ErrIdentity},
		{"e-mail with two at signs", "a@b@example.com", tel.ErrIdentity},
		{"e-mail dot in front", ".alice@example.com", tel.ErrIdentity},
		{"e-mail two addresses", "mailto:a@example.com,b@example.com", tel.ErrIdentity},
		{"e-mail without host", "mailto:alice", tel.ErrIdentity},
		{"e-mail to an address literal", "alice@[192.0.2.1]", tel.ErrIdentity},
		{"e-mail broken escape", "mailto:a%zz@example.com", tel.ErrIdentity},
		{"e-mail escaped line end", "mailto:a%0Ab@example.com", tel.ErrIdentity},
		{"e-mail not UTF-8", "mailto:%FF@example.com", tel.ErrIdentity},
		{"social without host", "acct:alice", tel.ErrIdentity},
		{"social with port", "acct:alice@social.example:80", tel.ErrIdentity},
		{"social raw letters", "acct:élise@social.example", tel.ErrIdentity},
		{"user empty", "user:", tel.ErrIdentity},
		{"user with a slash", "user:../alice", tel.ErrIdentity},
		{"id too long", "id:" + strings.Repeat("a", 129), tel.ErrIdentity},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := tel.ParseIdentity(tt.in, "")
			if !errors.Is(err, tt.err) || !id.IsZero() {
				t.Fatalf("ParseIdentity(%q) = %q, %v; want %v", tt.in, id, err, tt.err)
			}
			safe(t, tt.in, err)
		})
	}
}

func TestIdentityKinds(t *testing.T) {
	for _, tt := range []struct {
		in   string
		kind tel.Kind
		mask string
	}{
		{"+442079460001", tel.KindNumber, "+44…01"},
		{"sip:alice@example.com", tel.KindSIP, "sip:a…"},
		{"sips:alice@example.com", tel.KindSIP, "sips:a…"},
		{"alice@example.com", tel.KindEmail, "mailto:a…"},
		{"user:alice", tel.KindUser, "user:a…"},
		{"acct:alice@social.example", tel.KindSocial, "acct:a…"},
		{"id:01J8", tel.KindAllocated, "id:0…"},
		{"", "", "withheld"},
	} {
		t.Run(string(tt.kind), func(t *testing.T) {
			var id tel.Identity
			if tt.in != "" {
				id = identity(t, tt.in)
			}
			if id.Kind() != tt.kind || id.Mask() != tt.mask || id.LogValue().String() != tt.mask {
				t.Errorf("%q: kind %q, mask %q, logged %q", tt.in, id.Kind(), id.Mask(), id.LogValue())
			}
			n, ok := id.Number()
			if ok != (tt.kind == tel.KindNumber) || n.Identity() != id && ok || !ok && !n.IsZero() {
				t.Errorf("%q: Number() = %q, %v", tt.in, n, ok)
			}
		})
	}
}

func TestIdentityJSON(t *testing.T) {
	var d tel.PartyDetails
	in := `{"own":"sip:alice@EXAMPLE.com:5060","other":"+44 20 7946 0001","state":"active"}`
	if err := json.Unmarshal([]byte(in), &d); err != nil {
		t.Fatal(err)
	}
	want := tel.PartyDetails{Own: identity(t, "sip:alice@example.com"), Other: identity(t, "tel:+442079460001"), State: tel.Active}
	if d != want {
		t.Errorf("decoded %+v", d)
	}
	out, err := json.Marshal(d)
	if err != nil || string(out) != `{"own":"sip:alice@example.com","other":"tel:+442079460001","state":"active"}` {
		t.Errorf("encoded %s, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"own":"nobody"}`), &d); !errors.Is(err, tel.ErrNumber) || d.Own != want.Own {
		t.Errorf("bad identity: %v, own now %q", err, d.Own)
	}
}

func TestSIPNumber(t *testing.T) {
	for _, tt := range []struct {
		name, in, region, want string
		err                    error
	}{
		{"global", "sip:+442079460001@gw.example.com", "", "+442079460001", nil},
		{"national", "sip:02079460001@gw.example.com", "GB", "+442079460001", nil},
		{"parameters", "sip:+442079460001;rn=1@gw.example.com;lr", "", "+442079460001", nil},
		{"context", "sip:863-1234;phone-context=+1-914@gw.example.com", "", "+19148631234", nil},
		{"escaped plus", "sip:%2B442079460001@gw.example.com", "", "+442079460001", nil},
		{"national without region", "sip:02079460001@gw.example.com", "", "", tel.ErrNumber},
		{"a name", "sip:alice@gw.example.com", "GB", "", tel.ErrNumber},
		{"no SIP address", "tel:+442079460001", "", "", tel.ErrIdentity},
		{"broken", "sip:+44207946%0@gw.example.com", "", "", tel.ErrIdentity},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := tel.SIPNumber(tt.in, tt.region)
			if !errors.Is(err, tt.err) || n.String() != tt.want {
				t.Errorf("SIPNumber(%q, %q) = %q, %v; want %q, %v", tt.in, tt.region, n, err, tt.want, tt.err)
			}
		})
	}
}

// identities draws texts of identities in many of the forms they may take.
func identities() *rapid.Generator[string] {
	host := rapid.OneOf(rapid.StringMatching(`[a-zA-Z][a-zA-Z0-9]{0,5}(\.[a-zA-Z]{2,4})?\.?`), rapid.StringMatching(`\[[0-9a-f]{1,4}::[0-9A-F]{1,4}\]`))
	return rapid.Custom(func(t *rapid.T) string {
		return rapid.OneOf(
			rapid.StringMatching(`(tel:)?\+[1-9][0-9-]{5,16}`),
			rapid.StringMatching(`[sS][iI][pP][sS]?:([a-zA-Z+;?/=&$,.!~*'()_-]|%[0-9a-fA-F]{2}){1,10}(:[a-z0-9]{1,4})?@`),
			rapid.StringMatching(`acct:([a-zA-Z!$&'()*+,;=._~-]|%[0-9a-fA-F]{2}){1,10}@`),
			rapid.StringMatching(`(mailto:)?[a-zA-Z!#$%&'*+/=?^_{|}~éß-]{1,10}(\.[a-z]{1,3})?@`),
			rapid.StringMatching(`(user|id|USER|ID):[a-zA-Z0-9._-]{1,20}`),
		).Draw(t, "name") + rapid.OneOf(rapid.Just(""), host).Draw(t, "host") +
			rapid.StringMatching(`(:506[01])?(;(transport=tls|user=phone|lr))?(\?a=b)?`).Draw(t, "rest")
	})
}

// What parses has one form, which reads as itself, from text and from JSON.
func TestIdentityIsCanonical(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		raw := identities().Draw(rt, "raw")
		id, err := tel.ParseIdentity(raw, "")
		if err != nil {
			return
		}
		again, err := tel.ParseIdentity(id.String(), "")
		if err != nil || again != id {
			rt.Fatalf("%q gives %q, which reads as %q, %v", raw, id, again, err)
		}
		b, err := json.Marshal(id)
		if err != nil {
			rt.Fatal(err)
		}
		var decoded tel.Identity
		if err := json.Unmarshal(b, &decoded); err != nil || decoded != id {
			rt.Fatalf("%q decodes from %s as %q, %v", id, b, decoded, err)
		}
	})
}

// A mask shows the scheme and at most one character, or four digits: whole classes of
// identities have one mask.
func TestMaskHides(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		id, err := tel.ParseIdentity(identities().Draw(rt, "raw"), "")
		if err != nil {
			return
		}
		mask := id.Mask()
		if n, ok := id.Number(); ok {
			if s := n.String(); mask != s[:3]+"…" && mask != s[:3]+"…"+s[len(s)-2:] {
				rt.Fatalf("mask %q of %q", mask, id)
			}
			return
		}
		scheme, rest, _ := strings.Cut(id.String(), ":")
		if mask != scheme+":"+rest[:1]+"…" {
			rt.Fatalf("mask %q of %q", mask, id)
		}
	})
}

func TestLogsAreMasked(t *testing.T) {
	var b bytes.Buffer
	d := tel.PartyDetails{
		Own: identity(t, "+442079460001"), Other: identity(t, "sip:alice@example.com"), Extension: "4711",
		ConferenceID: "98765", State: tel.Active, Ref: tel.Ref{CallID: "f81d4fae@10.0.0.1"},
	}
	slog.New(slog.NewJSONHandler(&b, nil)).Info("report", "details", d, "own", d.Own)
	for _, secret := range []string{"7946", "lice", "4711", "98765", "f81d"} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("the log shows %s: %s", secret, &b)
		}
	}
	if !strings.Contains(b.String(), "+44…01") {
		t.Errorf("the log does not show the mask: %s", &b)
	}
}

func FuzzParseIdentity(f *testing.F) {
	for _, s := range []string{"+442079460001", "tel:7042;phone-context=example.com", "sip:a%3ab@[2001:db8::1]:5060;user=phone?x=y",
		"sips:+442079460001@gw;user=phone", "mailto:a%3Fb@bücher.example", "é@example.com", "acct:a%40b@c", "user:Alice", "id:x",
		`"Alice" <sip:a@b>`, "sip:%", "a@b@c", "\xff:\x00"} {
		f.Add(s, "")
	}
	f.Add("020 7946 0001", "GB")
	f.Fuzz(func(t *testing.T, raw, region string) {
		id, err := tel.ParseIdentity(raw, region)
		if err != nil {
			if !errors.Is(err, tel.ErrIdentity) && !errors.Is(err, tel.ErrNumber) || !id.IsZero() {
				t.Fatalf("ParseIdentity(%q) = %q, %v", raw, id, err)
			}
			safe(t, raw, err)
			return
		}
		if again, err := tel.ParseIdentity(id.String(), ""); err != nil || again != id {
			t.Fatalf("%q gives %q, which reads as %q, %v", raw, id, again, err)
		}
		if id.Kind() == "" || id.IsZero() {
			t.Fatalf("%q gives %q of no kind", raw, id)
		}
		for _, r := range id.String() {
			if r <= ' ' || r >= 0x7f {
				t.Fatalf("%q gives %q, which holds %+q", raw, id, r)
			}
		}
	})
}

func BenchmarkParseIdentity(b *testing.B) {
	for _, s := range []string{"tel:+442079460001", "sip:alice@example.com"} {
		b.Run(s, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tel.ParseIdentity(s, ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func identity(t testing.TB, s string) tel.Identity {
	t.Helper()
	id, err := tel.ParseIdentity(s, "")
	if err != nil {
		t.Fatal(err)
	}
	return id
}
