package sms

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// WebhookConfig configures a [Webhook].
type WebhookConfig struct {
	URL string
	// Body of a request, in which {to}, {digits} (the number without its plus), {from}, {text} and
	// {report_url} are replaced. If it begins with "{" it is JSON, and each becomes a JSON string,
	// quotes included; otherwise it is a form, and each is percent-encoded. What is then empty is left
	// out. Empty: DefaultBody.
	Body string
	// Token is sent as "Authorization: Bearer …", or as the whole header if there is a space in
	// it ("App 0123"); empty: no such header.
	Token string
	// Username and Password are for HTTP basic authentication, where there is no Token.
	Username, Password string
	// From is the sender that the message should show; empty: left out.
	From string
	// Timeout of a request; zero means 10 s.
	Timeout time.Duration
}

// DefaultBody of a request.
const DefaultBody = `{"to":{to},"text":{text},"from":{from},"report_url":{report_url}}`

// Webhook sends by a POST to an address of the operator's, or of a provider whose interface takes
// one message in one request. Any 2xx answer means that the message was taken.
type Webhook struct {
	cfg    WebhookConfig
	url    string
	client *http.Client
}

// NewWebhook returns a sender. ErrConfig.
func NewWebhook(cfg WebhookConfig) (*Webhook, error) {
	u, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	client, err := newClient(cfg.Timeout)
	if err != nil {
		return nil, err
	}
	cfg.Body = cmp.Or(strings.TrimSpace(cfg.Body), DefaultBody)
	w := &Webhook{cfg, u.String(), client}
	if !strings.Contains(cfg.Body, "{text}") || !strings.Contains(cfg.Body, "{to}") && !strings.Contains(cfg.Body, "{digits}") {
		return nil, fmt.Errorf("%w: the body of a webhook needs {text}, and {to} or {digits}", ErrConfig)
	}
	if _, err := w.body(Message{Text: `"&`}); err != nil {
		return nil, fmt.Errorf("%w: the body of a webhook is neither JSON nor a form: %s", ErrConfig, cfg.Body)
	}
	return w, nil
}

func (w *Webhook) json() bool { return strings.HasPrefix(w.cfg.Body, "{") }

// body fills the template in.
func (w *Webhook) body(m Message) (string, error) {
	encode := url.QueryEscape
	if w.json() {
		encode = func(s string) string {
			b, err := json.Marshal(s)
			if err != nil {
				panic(err) // never: a string can be encoded
			}
			return string(b)
		}
	}
	to := m.To.String()
	filled := strings.NewReplacer(
		"{to}", encode(to), "{digits}", encode(strings.TrimPrefix(to, "+")), "{from}", encode(cmp.Or(m.From, w.cfg.From)),
		"{text}", encode(m.Text), "{report_url}", encode(m.Report),
	).Replace(w.cfg.Body)
	if w.json() {
		var v any
		if err := json.Unmarshal([]byte(filled), &v); err != nil {
			return "", err
		}
		b, err := json.Marshal(withoutEmpty(v))
		return string(b), err
	}
	if _, err := url.ParseQuery(filled); err != nil {
		return "", err
	}
	fields := slices.DeleteFunc(strings.Split(filled, "&"), func(f string) bool { return strings.HasSuffix(f, "=") })
	return strings.Join(fields, "&"), nil
}

// withoutEmpty leaves out the members of objects that are empty strings.
func withoutEmpty(v any) any {
	switch v := v.(type) {
	case map[string]any:
		maps.DeleteFunc(v, func(_ string, e any) bool { return e == "" })
		for k := range v {
			v[k] = withoutEmpty(v[k])
		}
	case []any:
		for i := range v {
			v[i] = withoutEmpty(v[i])
		}
	}
	return v
}

// SendCode sends the text. ErrRejected, ErrUnavailable.
func (w *Webhook) SendCode(ctx context.Context, to tel.Number, _, text string) error {
	return w.SendText(ctx, to, text)
}

// SendText sends a text from the configured sender. ErrRejected, ErrUnavailable.
func (w *Webhook) SendText(ctx context.Context, to tel.Number, text string) error {
	return w.Send(ctx, Message{To: to, Text: text})
}

// Send sends a message and returns when the other side has taken it. ErrRejected,
// ErrUnavailable; after the latter the message may have been taken all the same.
func (w *Webhook) Send(ctx context.Context, m Message) error {
	body, err := w.body(m)
	if err != nil {
		return fmt.Errorf("%w: the body of a webhook", ErrConfig)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: the request cannot be made", ErrConfig)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if w.json() {
		req.Header.Set("Content-Type", "application/json")
	}
	switch {
	case strings.Contains(w.cfg.Token, " "):
		req.Header.Set("Authorization", w.cfg.Token)
	case w.cfg.Token != "":
		req.Header.Set("Authorization", "Bearer "+w.cfg.Token)
	case w.cfg.Username != "":
		req.SetBasicAuth(w.cfg.Username, w.cfg.Password)
	}
	status, line, err := do(w.client, req)
	if err != nil {
		return err
	}
	if status < 200 || status > 299 {
		return fault(status, line)
	}
	return nil
}
