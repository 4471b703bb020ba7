package webpush

import (
	"crypto/ecdh"
	"encoding/base64"
	"errors"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/internal/edge/fetch"
	"github.com/tandem-call/tandem/internal/edge/push/webpush/webpushtest"
	"github.com/tandem-call/tandem/internal/notify"
	"github.com/tandem-call/tandem/wire"
)

func b64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := decode(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRFC8291 is the example of appendix A.
func TestRFC8291(t *testing.T) {
	s, err := Parse(`{"endpoint":"https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV","keys":{`+
		`"p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4","auth":"BTBZMqHH6r4Tts7J_aSIgg"}}`, false)
	if err != nil {
		t.Fatal(err)
	}
	private, err := ecdh.P256().NewPrivateKey(b64(t, "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := encrypt(s, []byte("When I grow up, I want to be a watermelon"), private, b64(t, "DGv6ra1nlYgDCS1FRnbzlw"))
	if err != nil {
		t.Fatal(err)
	}
	const want = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
	if s := base64.RawURLEncoding.EncodeToString(got); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

// world is a pusher and a push service on the loopback interface.
type world struct {
	*webpushtest.Service
	server *httptest.Server
	pusher *Pusher
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Service: &webpushtest.Service{}}
	w.server = httptest.NewServer(w.Service)
	t.Cleanup(w.server.Close)
	w.URL = w.server.URL
	out, err := fetch.New(fetch.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Redirects: -1})
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if w.pusher, err = New(Config{Fetcher: out, Key: key, Subject: "mailto:ops@example.com", Plain: true}); err != nil {
		t.Fatal(err)
	}
	return w
}

func push(app string) notify.Push {
	return notify.Push{App: app, ID: "psh_ABCDEFGHIJKLMNOPQRSTUVWXYZ", Kind: wire.PushInvite, TTL: 10 * time.Minute, Urgent: true}
}

func TestPush(t *testing.T) {
	w := newWorld(t)
	b := w.Subscribe(w.pusher.PublicKey())
	if err := w.pusher.Push(t.Context(), push(b.JSON)); err != nil {
		t.Fatal(err)
	}
	m := <-b.Got
	if string(m.Payload) != `{"push":"psh_ABCDEFGHIJKLMNOPQRSTUVWXYZ"}` || m.TTL != 600 || m.Urgency != "high" || m.Topic != "psh_ABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		t.Errorf("%+v %s", m, m.Payload)
	}
}

func TestOutcomes(t *testing.T) {
	w := newWorld(t)
	later := func(after time.Duration) func(error) bool {
		return func(err error) bool {
			var l *notify.Later
			return errors.As(err, &l) && l.After == after && !l.Everyone && !errors.Is(err, notify.ErrGone) && !errors.Is(err, notify.ErrRefused)
		}
	}
	is := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
	for _, c := range []struct {
		name   string
		answer webpushtest.Refusal
		want   func(error) bool
	}{
		{"gone", webpushtest.Refusal{Status: 410}, is(notify.ErrGone)},
		{"not found", webpushtest.Refusal{Status: 404}, is(notify.ErrGone)},
		{"too many", webpushtest.Refusal{Status: 429, RetryAfter: "7"}, later(7 * time.Second)},
		{"too many, for days", webpushtest.Refusal{Status: 429, RetryAfter: "1000000"}, later(time.Hour)},
		{"out of order", webpushtest.Refusal{Status: 503}, later(0)},
		{"too large", webpushtest.Refusal{Status: 413}, is(notify.ErrRefused)},
		{"redirected", webpushtest.Refusal{Status: 307}, is(notify.ErrRefused)},
		{"forbidden", webpushtest.Refusal{Status: 403}, is(notify.ErrRefused)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := w.Subscribe(w.pusher.PublicKey())
			w.Refuse(b, c.answer)
			if err := w.pusher.Push(t.Context(), push(b.JSON)); !c.want(err) {
				t.Errorf("%v", err)
			}
			if err := w.pusher.Push(t.Context(), push(b.JSON)); err != nil {
				t.Errorf("the next one: %v", err)
			}
		})
	}
	other := w.Subscribe("BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8")
	if err := w.pusher.Push(t.Context(), push(other.JSON)); !errors.Is(err, notify.ErrRefused) {
		t.Errorf("a subscription for another sender: %v", err)
	}
	w.server.Close()
	if err := w.pusher.Push(t.Context(), push(other.JSON)); err == nil || errors.Is(err, notify.ErrGone) || errors.Is(err, notify.ErrRefused) {
		t.Errorf("no answer: %v", err)
	}
}

// TestInside: a subscription cannot lead into the operator's network.
func TestInside(t *testing.T) {
	w := newWorld(t)
	out, err := fetch.New(fetch.Config{Redirects: -1})
	if err != nil {
		t.Fatal(err)
	}
	w.pusher.c.Fetcher = out
	b := w.Subscribe(w.pusher.PublicKey())
	if err := w.pusher.Push(t.Context(), push(b.JSON)); !errors.Is(err, notify.ErrGone) || w.Requests() != 0 {
		t.Errorf("%v, %d requests", err, w.Requests())
	}
}

func TestParse(t *testing.T) {
	b := (&webpushtest.Service{URL: "https://push.example"}).Subscribe("")
	if _, err := Parse(b.JSON, false); err != nil {
		t.Error(err)
	}
	for name, app := range map[string]string{
		"not JSON":     "https://push.example/1",
		"no keys":      `{"endpoint":"https://push.example/1"}`,
		"plain":        `{"endpoint":"http://push.example/1","keys":{"p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4","auth":"BTBZMqHH6r4Tts7J_aSIgg"}}`,
		"not a point":  `{"endpoint":"https://push.example/1","keys":{"p256dh":"BAVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4","auth":"BTBZMqHH6r4Tts7J_aSIgg"}}`,
		"short secret": `{"endpoint":"https://push.example/1","keys":{"p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4","auth":"BTBZ"}}`,
	} {
		if _, err := Parse(app, false); !errors.Is(err, ErrSubscription) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add((&webpushtest.Service{URL: "https://push.example"}).Subscribe("").JSON)
	f.Fuzz(func(t *testing.T, app string) {
		s, err := Parse(app, false)
		if err != nil {
			return
		}
		if _, err := Encrypt(s, []byte("x")); err != nil {
			t.Errorf("what was parsed cannot be encrypted for: %v", err)
		}
	})
}

// TestTenThousand: all arrive, and the service sees one token.
func TestTenThousand(t *testing.T) {
	w := newWorld(t)
	b := w.Subscribe(w.pusher.PublicKey())
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(64)
	n := 10_000
	for range n {
		g.Go(func() error { return w.pusher.Push(ctx, push(b.JSON)) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(b.Got) != n {
		t.Errorf("%d arrived", len(b.Got))
	}
	w.pusher.mu.Lock()
	defer w.pusher.mu.Unlock()
	if len(w.pusher.tokens) != 1 {
		t.Errorf("%d tokens were signed", len(w.pusher.tokens))
	}
}

var _ notify.Pusher = (*Pusher)(nil)
