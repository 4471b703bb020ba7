package sms

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/tandem-call/tandem/tel"
)

// WebhookConfig configures a [Webhook].
type WebhookConfig struct {
	URL string
	// Bearer is sent as "Authorization: Bearer …"; empty: no such header.
	Bearer string
	// From is the sender that the message should show; empty: left out.
	From string
	// Timeout of a request; zero means 10 s.
	Timeout time.Duration
}

// Webhook sends by a POST of {"to":"+44…","text":"…","from":"…","report_url":"…"} to an address of the
// operator's. Any 2xx answer means that the message was taken.
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
	return &Webhook{cfg, u.String(), client}, nil
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
	body, err := json.Marshal(struct {
		To     tel.Number `json:"to"`
		Text   string     `json:"text"`
		From   string     `json:"from,omitempty"`
		Report string     `json:"report_url,omitempty"`
	}{m.To, m.Text, cmp.Or(m.From, w.cfg.From), m.Report})
	if err != nil {
		return fmt.Errorf("sms: write message: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: the request cannot be made", ErrConfig)
	}
	req.Header.Set("Content-Type", "application/json")
	if w.cfg.Bearer != "" {
		req.Header.Set("Authorization", "Bearer "+w.cfg.Bearer)
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
