package sms_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/push/sms"
	"github.com/tandem-call/tandem/tel"
)

// Each sender carries the codes of an enrolment.
var (
	_ device.Sender = (*sms.Dev)(nil)
	_ device.Sender = (*sms.Kannel)(nil)
	_ device.Sender = (*sms.Webhook)(nil)
)

const password = "p&ss=w rd"

func number(t testing.TB) tel.Number {
	t.Helper()
	n, err := tel.ParseNumber("+442079460001", "")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// gateway answers every request with a status and a text, and keeps the last one.
type gateway struct {
	status int
	text   string
	header http.Header // of the answer
	got    *http.Request
	query  url.Values
	body   []byte
}

func (g *gateway) start(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.got, g.query = r, r.URL.Query()
		var err error
		if g.body, err = io.ReadAll(r.Body); err != nil {
			t.Error(err)
		}
		for k, v := range g.header {
			w.Header()[k] = v
		}
		w.WriteHeader(g.status)
		io.WriteString(w, g.text)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestKannelRequest(t *testing.T) {
	for name, c := range map[string]struct{ text, coding string }{
		"GSM alphabet":        {"123456 is your code. Größe, €5 {a}", "0"},
		"another":             {"123456 — ваш код", "2"},
		"character to escape": {"a&b=c d+e%f?g#h", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gateway{status: 202, text: "0: Accepted for delivery"}
			k, err := sms.NewKannel(sms.KannelConfig{URL: g.start(t), Username: "tester", Password: password, From: "Tandem", SMSC: "FAKE"})
			if err != nil {
				t.Fatal(err)
			}
			if err := k.SendCode(t.Context(), number(t), "123456", c.text); err != nil {
				t.Fatal(err)
			}
			want := url.Values{
				"username": {"tester"}, "password": {password}, "to": {"+442079460001"}, "from": {"Tandem"},
				"text": {c.text}, "charset": {"UTF-8"}, "coding": {c.coding}, "smsc": {"FAKE"},
			}
			if g.got.Method != http.MethodGet || g.got.URL.Path != "/cgi-bin/sendsms" || g.query.Encode() != want.Encode() {
				t.Errorf("%s %s with %v", g.got.Method, g.got.URL.Path, g.query)
			}
		})
	}
}

func TestKannelAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		text   string
		err    error
	}{
		"accepted":       {202, "0: Accepted for delivery", nil},
		"queued":         {202, "3: Queued for later delivery\n", nil},
		"another 202":    {202, "something else", sms.ErrRejected},
		"200":            {200, "Sent.", sms.ErrRejected},
		"wrong password": {403, "Authorization failed for sendsms", sms.ErrRejected},
		"bad request":    {400, "Empty receiver number not allowed, rejected", sms.ErrRejected},
		"not found":      {404, "", sms.ErrRejected},
		"temporary":      {503, "Temporal failure, try again later.", sms.ErrUnavailable},
		"too many":       {429, "slow down", sms.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gateway{status: c.status, text: c.text}
			k, err := sms.NewKannel(sms.KannelConfig{URL: g.start(t), Username: "tester", Password: password})
			if err != nil {
				t.Fatal(err)
			}
			if err := k.SendText(t.Context(), number(t), "123456"); !errors.Is(err, c.err) {
				t.Errorf("got %v, want %v", err, c.err)
			}
		})
	}
}

// The password, the number and the code stay out of errors, which are logged.
func TestErrorsTellNoSecrets(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	echo := &gateway{status: 400, text: "cannot send 123456 to +442079460001\x1b[31m\nmore"}
	elsewhere := &gateway{status: 202, text: "0: Accepted for delivery"}
	redirect := &gateway{status: 307, header: http.Header{"Location": {elsewhere.start(t)}}}
	for name, u := range map[string]string{"unreachable": gone.URL, "echo": echo.start(t), "redirect": redirect.start(t)} {
		t.Run(name, func(t *testing.T) {
			k, err := sms.NewKannel(sms.KannelConfig{URL: u, Username: "tester", Password: password})
			if err != nil {
				t.Fatal(err)
			}
			w, err := sms.NewWebhook(sms.WebhookConfig{URL: u + "/?key=" + url.QueryEscape(password), Token: "s3cret"})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []device.Sender{k, w} {
				err := s.SendCode(t.Context(), number(t), "123456", "123456 is your code")
				if err == nil {
					t.Fatalf("%T: no error", s)
				}
				for _, secret := range []string{password, url.QueryEscape(password), "s3cret", "123456", "2079460001", "\x1b", "more"} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("%T: %q is in: %v", s, secret, err)
					}
				}
			}
		})
	}
	if elsewhere.got != nil {
		t.Error("the credentials were carried to another server")
	}
}

func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer s.Close()
	defer close(release)
	k, err := sms.NewKannel(sms.KannelConfig{URL: s.URL, Username: "tester", Password: password, Timeout: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.SendText(t.Context(), number(t), "x"); !errors.Is(err, sms.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.SendText(ctx, number(t), "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestWebhook(t *testing.T) {
	g := &gateway{status: 204}
	w, err := sms.NewWebhook(sms.WebhookConfig{URL: g.start(t) + "/send", Token: "s3cret", From: "Tandem"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.SendCode(t.Context(), number(t), "123456", "123456 — code"); err != nil {
		t.Fatal(err)
	}
	var body map[string]string
	if err := json.Unmarshal(g.body, &body); err != nil {
		t.Fatal(err)
	}
	if body["to"] != "+442079460001" || body["text"] != "123456 — code" || body["from"] != "Tandem" || len(body) != 3 {
		t.Errorf("body %s", g.body)
	}
	if h := g.got.Header; h.Get("Authorization") != "Bearer s3cret" || h.Get("Content-Type") != "application/json" || g.got.URL.Path != "/send" {
		t.Errorf("%s with %v", g.got.URL, h)
	}
	for status, want := range map[int]error{401: sms.ErrRejected, 302: sms.ErrRejected, 500: sms.ErrUnavailable} {
		g.status = status
		if err := w.SendText(t.Context(), number(t), "x"); !errors.Is(err, want) {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestDev(t *testing.T) {
	var lines []string
	show := func(s string) { lines = append(lines, s) }
	for _, listen := range [][]string{{"127.0.0.1:8080"}, {"[::1]:8080", "localhost:1"}, {"127.8.9.1:0"}, {"[::ffff:127.0.0.1]:80"}} {
		d, err := sms.NewDev(show, listen...)
		if err != nil {
			t.Errorf("%v: %v", listen, err)
			continue
		}
		if err := d.SendCode(t.Context(), number(t), "123456", "text"); err != nil {
			t.Error(err)
		}
	}
	if len(lines) != 4 || !strings.Contains(lines[0], "123456") || !strings.Contains(lines[0], "+442079460001") {
		t.Errorf("shown: %q", lines)
	}
	for _, listen := range [][]string{nil, {":8080"}, {"0.0.0.0:8080"}, {"[::]:8080"}, {"127.0.0.1:80", "192.0.2.1:80"}, {"tandem.example:443"}, {"localhost.example:1"}, {"127.0.0.1"}, {""}} {
		if _, err := sms.NewDev(show, listen...); !errors.Is(err, sms.ErrConfig) {
			t.Errorf("%v: %v", listen, err)
		}
	}
	if _, err := sms.NewDev(nil, "127.0.0.1:1"); !errors.Is(err, sms.ErrConfig) {
		t.Error("shows codes nowhere")
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := sms.KannelConfig{URL: "http://127.0.0.1:13013/cgi-bin/sendsms", Username: "u", Password: "p"}
	for name, change := range map[string]func(*sms.KannelConfig){
		"no URL":           func(c *sms.KannelConfig) { c.URL = "" },
		"no host":          func(c *sms.KannelConfig) { c.URL = "http:///x" },
		"another scheme":   func(c *sms.KannelConfig) { c.URL = "ftp://127.0.0.1/" },
		"password in URL":  func(c *sms.KannelConfig) { c.URL = "http://u:s3cret@127.0.0.1/" },
		"broken URL":       func(c *sms.KannelConfig) { c.URL = "http://127.0.0.1/%zz?password=s3cret" },
		"no user":          func(c *sms.KannelConfig) { c.Username = "" },
		"no password":      func(c *sms.KannelConfig) { c.Password = "" },
		"negative timeout": func(c *sms.KannelConfig) { c.Timeout = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			_, err := sms.NewKannel(c)
			if !errors.Is(err, sms.ErrConfig) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := sms.NewKannel(good); err != nil {
		t.Error(err)
	}
}
