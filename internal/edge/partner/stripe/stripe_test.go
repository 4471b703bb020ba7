package stripe

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85/webhook"

	"github.com/tandem-call/tandem/internal/payment"
	"github.com/tandem-call/tandem/internal/testport"
	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

func order() payment.Order {
	return payment.Order{
		Session: "s_1", Payment: "pay_1", Attempt: 1, Item: "2 tickets", Amount: overlay.Amount{Minor: 1250, Currency: "EUR"},
		Back: "https://tandem.example/paid.html", Until: time.Now().Add(payment.OpenFor),
	}
}

// start builds a program, and starts it until the test ends.
func start(t *testing.T, build []string, args ...string) *exec.Cmd {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "peer")
	if out, err := exec.Command("go", append([]string{"build", "-o", bin}, build...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(bin, args...)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed: always an error
	})
	return cmd
}

// TestStripeMock: Stripe's own stripe-mock checks our requests against Stripe's description of its API. It keeps nothing.
func TestStripeMock(t *testing.T) {
	port, err := testport.Free(1)
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
	cmd := start(t, []string{"-modfile=../../../../tools/go.mod", "github.com/stripe/stripe-mock"}, "-http-addr", addr)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	gateway := New(Config{URL: "http://" + addr})
	c, err := gateway.Open(t.Context(), "sk_test_123", order())
	if err != nil || c.ID == "" {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := gateway.Look(t.Context(), "sk_test_123", c.ID); err != nil {
		t.Error(err)
	}
	if _, err := gateway.Expire(t.Context(), "sk_test_123", c.ID); err != nil {
		t.Error(err)
	}
	if _, err := gateway.Open(t.Context(), "no key", order()); !errors.Is(err, payment.ErrRefused) {
		t.Errorf("a wrong key: %v", err)
	}
}

// TestPaymentServer: checkouts that are paid, given up and paid by transfer, at a payment server that knows nothing of this code.
func TestPaymentServer(t *testing.T) {
	notices := make(chan [2]string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body := new(strings.Builder)
		_, _ = bufio.NewReader(r.Body).WriteTo(body)
		notices <- [2]string{r.Header.Get("Stripe-Signature"), body.String()}
	}))
	defer hook.Close()
	cmd := start(t, []string{"../../../testpeer/paymentserver"}, "-hook", hook.URL, "-secret", "whsec_x")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	gateway := New(Config{URL: strings.TrimPrefix(strings.TrimSpace(line), "payment server at ")})
	const key = "sk_test_tandem"
	open := func() payment.Checkout {
		t.Helper()
		o := order()
		o.Attempt = int(time.Now().UnixNano())
		c, err := gateway.Open(t.Context(), key, o)
		if err != nil || c.State != wire.PaymentOpen || c.URL == "" {
			t.Fatalf("%+v, %v", c, err)
		}
		return c
	}
	press := func(c payment.Checkout, what string) {
		t.Helper()
		hc := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		res, err := hc.Post(c.URL, "application/x-www-form-urlencoded", strings.NewReader("do="+what))
		if err != nil || res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), "https://tandem.example/paid.html?") {
			t.Fatalf("%s: %v, %v", what, res, err)
		}
		_ = res.Body.Close()
	}
	is := func(c payment.Checkout, want wire.PaymentState) {
		t.Helper()
		if got, err := gateway.Look(t.Context(), key, c.ID); err != nil || got.State != want || (want == wire.PaymentOpen) != (got.Reference == "") {
			t.Errorf("%+v, %v, want %s", got, err, want)
		}
	}
	notice := func(c payment.Checkout) {
		t.Helper()
		n := <-notices
		got, err := gateway.Notice("whsec_x", n[0], []byte(n[1]))
		if want := (payment.Notice{Session: "s_1", Payment: "pay_1", Checkout: c.ID}); err != nil || got != want {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
		if _, err := gateway.Notice("whsec_y", n[0], []byte(n[1])); !errors.Is(err, payment.ErrSignature) {
			t.Errorf("another's secret: %v", err)
		}
		if _, err := gateway.Notice("whsec_x", n[0], []byte(n[1]+" ")); !errors.Is(err, payment.ErrSignature) {
			t.Errorf("another body: %v", err)
		}
	}

	c := open()
	press(c, "back")
	is(c, wire.PaymentOpen)
	press(c, "pay")
	is(c, wire.PaymentPaid)
	notice(c)
	if got, err := gateway.Expire(t.Context(), key, c.ID); err != nil || got.State != wire.PaymentPaid {
		t.Errorf("what was paid is expired: %+v, %v", got, err)
	}

	c = open()
	if got, err := gateway.Expire(t.Context(), key, c.ID); err != nil || got.State != wire.PaymentCancelled {
		t.Errorf("%+v, %v", got, err)
	}
	notice(c)

	c = open()
	press(c, "transfer")
	is(c, wire.PaymentProcessing)
	notice(c)
	press(c, "bounce")
	notice(c)
	is(c, wire.PaymentFailed)

	o := order()
	first, err := gateway.Open(t.Context(), key, o)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := gateway.Open(t.Context(), key, o); err != nil || again.ID != first.ID {
		t.Errorf("the same order made two checkouts: %v", err)
	}
	for name, want := range map[string]error{"sk_wrong": payment.ErrRefused, key: nil} {
		if _, err := gateway.Look(t.Context(), name, first.ID); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := gateway.Look(t.Context(), key, first.ID); !errors.Is(err, payment.ErrGateway) {
		t.Errorf("a dead payment server: %v", err)
	}
}

// TestErrors: what the payment server says, sorted; its texts, which may repeat what was sent, are left out.
func TestErrors(t *testing.T) {
	for status, want := range map[int]error{400: payment.ErrRefused, 401: payment.ErrRefused, 404: payment.ErrRefused, 409: payment.ErrGateway, 429: payment.ErrGateway, 500: payment.ErrGateway, 302: payment.ErrGateway} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, `{"error":{"type":"invalid_request_error","code":"parameter_invalid","param":"currency","message":"2 tickets"}}`)
		}))
		_, err := New(Config{URL: s.URL}).Open(t.Context(), "sk", order())
		if !errors.Is(err, want) || strings.Contains(err.Error(), "tickets") {
			t.Errorf("%d: %v, want %v", status, err, want)
		}
		s.Close()
	}
}

func TestNoticesOfOtherThings(t *testing.T) {
	gateway := New(Config{})
	for name, body := range map[string]string{
		"another kind":     `{"id":"evt_1","object":"event","type":"charge.refunded","data":{"object":{"id":"ch_1"}}}`,
		"another checkout": `{"id":"evt_1","object":"event","type":"checkout.session.completed","data":{"object":{"id":"cs_1"}}}`,
		"no object":        `{"id":"evt_1","object":"event","type":"checkout.session.completed"}`,
	} {
		signed := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(body), Secret: "whsec"})
		if n, err := gateway.Notice("whsec", signed.Header, []byte(body)); err != nil || n.Payment != "" {
			t.Errorf("%s: %+v, %v", name, n, err)
		}
		old := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(body), Secret: "whsec", Timestamp: time.Now().Add(-10 * time.Minute)})
		if _, err := gateway.Notice("whsec", old.Header, []byte(body)); !errors.Is(err, payment.ErrSignature) {
			t.Errorf("%s, ten minutes old: %v", name, err)
		}
	}
}

func TestMinor(t *testing.T) {
	for in, want := range map[overlay.Amount]int64{
		{Minor: 1250, Currency: "EUR"}: 1250, {Minor: 500, Currency: "JPY"}: 500, {Minor: 500, Currency: "ISK"}: 50000, {Minor: 1250, Currency: "KWD"}: 1250, {Minor: 1255, Currency: "KWD"}: 0,
	} {
		got, err := minor(in)
		if got != want || (err != nil) != (want == 0) {
			t.Errorf("%v: %d, %v, want %d", in, got, err, want)
		}
	}
}
