package sms_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/internal/edge/push/sms"
)

// TestWebhookForms: the requests that large providers document (their message interfaces: Twilio
// Messages, Vonage SMS, Sinch batches, Infobip SMS 2), field by field.
func TestWebhookForms(t *testing.T) {
	text := `Größe "10" & more`
	for name, c := range map[string]struct {
		cfg                     sms.WebhookConfig
		body, kind, credentials string
	}{
		"default": {
			cfg:  sms.WebhookConfig{},
			body: `{"to":"+442079460001","text":"Größe \"10\" \u0026 more","from":"Tandem","report_url":"https://t.example/r?a=1\u0026id=2"}`,
			kind: "application/json",
		},
		"twilio": {
			cfg:  sms.WebhookConfig{Body: "To={to}&From={from}&Body={text}&StatusCallback={report_url}", Username: "AC1", Password: "p:w"},
			body: "To=%2B442079460001&From=Tandem&Body=Gr%C3%B6%C3%9Fe+%2210%22+%26+more&StatusCallback=https%3A%2F%2Ft.example%2Fr%3Fa%3D1%26id%3D2",
			kind: "application/x-www-form-urlencoded", credentials: "Basic " + base64.StdEncoding.EncodeToString([]byte("AC1:p:w")),
		},
		"vonage": {
			cfg:  sms.WebhookConfig{Body: "api_key=k&api_secret=s&to={digits}&from={from}&text={text}&type=unicode&callback={report_url}"},
			body: "api_key=k&api_secret=s&to=442079460001&from=Tandem&text=Gr%C3%B6%C3%9Fe+%2210%22+%26+more&type=unicode&callback=https%3A%2F%2Ft.example%2Fr%3Fa%3D1%26id%3D2",
			kind: "application/x-www-form-urlencoded",
		},
		"sinch": {
			cfg:  sms.WebhookConfig{Body: `{"from":{from},"to":[{to}],"body":{text},"delivery_report":"per_recipient","callback_url":{report_url}}`, Token: "t0ken"},
			body: `{"from":"Tandem","to":["+442079460001"],"body":"Größe \"10\" \u0026 more","delivery_report":"per_recipient","callback_url":"https://t.example/r?a=1\u0026id=2"}`,
			kind: "application/json", credentials: "Bearer t0ken",
		},
		"infobip": {
			cfg:  sms.WebhookConfig{Body: `{"messages":[{"from":{from},"destinations":[{"to":{digits}}],"text":{text},"notifyUrl":{report_url}}]}`, Token: "App 0123"},
			body: `{"messages":[{"from":"Tandem","destinations":[{"to":"442079460001"}],"text":"Größe \"10\" \u0026 more","notifyUrl":"https://t.example/r?a=1\u0026id=2"}]}`,
			kind: "application/json", credentials: "App 0123",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got, kind, credentials string
			provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				got, kind, credentials = string(b), r.Header.Get("Content-Type"), r.Header.Get("Authorization")
				w.WriteHeader(http.StatusCreated)
			}))
			defer provider.Close()
			c.cfg.URL, c.cfg.From = provider.URL, "Tandem"
			w, err := sms.NewWebhook(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Send(t.Context(), sms.Message{To: number(t), Text: text, Report: "https://t.example/r?a=1&id=2"}); err != nil {
				t.Fatal(err)
			}
			if !sameBody(t, got, c.body) || kind != c.kind || credentials != c.credentials {
				t.Errorf("%s\n%s %s", got, kind, credentials)
			}
		})
	}
	// Without a sender and a report, their fields are left out.
	g := &gateway{status: 200}
	w, err := sms.NewWebhook(sms.WebhookConfig{URL: g.start(t), Body: "To={to}&From={from}&Body={text}&StatusCallback={report_url}"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.SendText(t.Context(), number(t), "x"); err != nil || string(g.body) != "To=%2B442079460001&Body=x" {
		t.Errorf("%s %v", g.body, err)
	}
	for _, body := range []string{`{"to":{to}}`, `text={text}`, `{"to":{to},"text":{text}`, `{"to":"{to}","text":{text}}`, "to={to}&text={text}&%zz"} {
		if _, err := sms.NewWebhook(sms.WebhookConfig{URL: "https://sms.example", Body: body}); !errors.Is(err, sms.ErrConfig) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func sameBody(t *testing.T, got, want string) bool {
	t.Helper()
	if !strings.HasPrefix(want, "{") {
		return got == want
	}
	var g, w any
	if err := errors.Join(json.Unmarshal([]byte(got), &g), json.Unmarshal([]byte(want), &w)); err != nil {
		t.Error(err)
	}
	return reflect.DeepEqual(g, w)
}

// TestTold: what gateways and providers post, in the forms that they document.
func TestTold(t *testing.T) {
	const form, jsn = "application/x-www-form-urlencoded", "application/json; charset=utf-8"
	for name, c := range map[string]struct {
		kind, body string
		want       sms.Outcome
	}{
		"twilio delivered":   {form, "MessageSid=SM1&MessageStatus=delivered&To=%2B44&AccountSid=AC1", sms.Delivered},
		"twilio undelivered": {form, "MessageStatus=undelivered&ErrorCode=30005", sms.Failed},
		"twilio sent":        {form, "MessageStatus=sent", ""},
		"vonage":             {jsn, `{"msisdn":"44","status":"delivered","err-code":"0"}`, sms.Delivered},
		"vonage expired":     {form, "status=expired", sms.Failed},
		"sinch":              {jsn, `{"type":"recipient_delivery_report_sms","code":0,"status":"Delivered"}`, sms.Delivered},
		"infobip":            {jsn, `{"results":[{"messageId":"1","status":{"groupId":5,"groupName":"REJECTED","name":"REJECTED_NETWORK"}}]}`, sms.Failed},
		"smpp":               {jsn, `{"status":"UNDELIV"}`, sms.Failed},
		"number":             {jsn, `{"status":1}`, sms.Delivered},
		"nothing":            {jsn, `[]`, ""},
	} {
		if got, err := sms.ReadReport(c.kind, []byte(c.body)); got != c.want || err != nil {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	for name, c := range map[string]struct{ kind, body, from, text string }{
		"twilio":      {form, "From=%2B442079460001&Body=STOP&To=%2B44", "+442079460001", "STOP"},
		"vonage":      {jsn, `{"msisdn":"442079460001","to":"44123","text":"Stop"}`, "+442079460001", "Stop"},
		"sinch":       {jsn, `{"from":"442079460001","to":"44123","body":"stop","type":"mo_text"}`, "+442079460001", "stop"},
		"messagebird": {form, "originator=442079460001&recipient=44123&payload=STOP", "+442079460001", "STOP"},
		"infobip":     {jsn, `{"results":[{"from":"442079460001","to":"44123","text":"STOP all","messageCount":1}]}`, "+442079460001", "STOP all"},
		"national":    {form, "from=02079460001&text=x", "02079460001", "x"},
	} {
		if from, text, err := sms.ReadAnswer(c.kind, []byte(c.body)); from != c.from || text != c.text || err != nil {
			t.Errorf("%s: %q %q %v", name, from, text, err)
		}
	}
	for _, c := range []struct {
		kind, body string
		err        error
	}{
		{"text/plain", "STOP", sms.ErrMediaType}, {"", "a=b", sms.ErrMediaType},
		{jsn, "{", sms.ErrTold}, {form, "%zz", sms.ErrTold}, {form, "text=STOP", sms.ErrTold},
	} {
		if _, _, err := sms.ReadAnswer(c.kind, []byte(c.body)); !errors.Is(err, c.err) {
			t.Errorf("%q: %v", c.body, err)
		}
	}
}

// FuzzTold: whatever is posted, nothing breaks.
func FuzzTold(f *testing.F) {
	f.Add("application/json", []byte(`{"results":[{"from":"44","text":"STOP"}]}`))
	f.Add("application/x-www-form-urlencoded", []byte("From=%2B44&Body=STOP"))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		if from, _, err := sms.ReadAnswer(kind, body); err == nil && from == "" {
			t.Error("from nobody")
		}
		if o, err := sms.ReadReport(kind, body); err != nil && o != "" {
			t.Error("an outcome, and an error")
		}
	})
}
