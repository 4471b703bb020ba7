package sms

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/tandem-call/tandem/tel"
)

// KannelConfig configures a [Kannel].
type KannelConfig struct {
	// URL of sendsms, "http://gateway.example:13013/cgi-bin/sendsms". A URL without a path
	// gets /cgi-bin/sendsms.
	URL string
	// Username and Password of a sendsms-user group.
	Username, Password string
	// From is the sender that the message shows; empty: the gateway's own.
	From string
	// SMSC to send through; empty: the gateway chooses.
	SMSC string
	// Timeout of a request; zero means 10 s.
	Timeout time.Duration
}

// Kannel sends through a Kannel gateway's sendsms interface (Kannel user's guide, "Using
// the SMS gateway through HTTP").
type Kannel struct {
	cfg    KannelConfig
	url    *url.URL
	client *http.Client
}

// NewKannel returns a sender. ErrConfig.
func NewKannel(cfg KannelConfig) (*Kannel, error) {
	u, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	if cfg.Username == "" || cfg.Password == "" {
		return nil, fmt.Errorf("%w: kannel needs a user name and a password", ErrConfig)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/cgi-bin/sendsms"
	}
	client, err := newClient(cfg.Timeout)
	if err != nil {
		return nil, err
	}
	return &Kannel{cfg, u, client}, nil
}

// SendCode sends the text. ErrRejected, ErrUnavailable.
func (k *Kannel) SendCode(ctx context.Context, to tel.Number, _, text string) error {
	return k.SendText(ctx, to, text)
}

// SendText sends a text from the configured sender. ErrRejected, ErrUnavailable.
func (k *Kannel) SendText(ctx context.Context, to tel.Number, text string) error {
	return k.Send(ctx, Message{To: to, Text: text})
}

// Send sends a message and returns when the gateway has taken it. ErrRejected,
// ErrUnavailable; after the latter the message may have been taken all the same.
func (k *Kannel) Send(ctx context.Context, m Message) error {
	q := k.url.Query()
	q.Set("username", k.cfg.Username)
	q.Set("password", k.cfg.Password)
	q.Set("to", m.To.String())
	q.Set("text", m.Text)
	q.Set("charset", "UTF-8")
	q.Set("coding", "0")
	if !isGSM(m.Text) {
		q.Set("coding", "2") // UCS-2
	}
	if from := cmp.Or(m.From, k.cfg.From); from != "" {
		q.Set("from", from)
	}
	if m.Report != "" {
		q.Set("dlr-mask", "3") // delivered, or not
		q.Set("dlr-url", m.Report+"&status=%d")
	}
	if k.cfg.SMSC != "" {
		q.Set("smsc", k.cfg.SMSC)
	}
	u := *k.url
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("%w: the request cannot be made", ErrConfig)
	}
	status, line, err := do(k.client, req)
	if err != nil {
		return err
	}
	// 202 "0: Accepted for delivery" or "3: Queued for later delivery".
	if status == http.StatusAccepted && (strings.HasPrefix(line, "0:") || strings.HasPrefix(line, "3:")) {
		return nil
	}
	return fault(status, line)
}

// gsmExtension are the characters of the alphabet that take the place of two.
const gsmExtension = "^{}\\[~]|€"

// Segments is how many messages a text takes (3GPP TS 23.038, TS 23.040 9.2.3.24.1): 160
// characters of the alphabet, or 70 of UTF-16, fit in one; in several, each has 153 or 67.
func Segments(text string) int {
	n, one, each := 0, 160, 153
	if isGSM(text) {
		for _, r := range text {
			if n++; strings.ContainsRune(gsmExtension, r) {
				n++
			}
		}
	} else {
		n, one, each = len(utf16.Encode([]rune(text))), 70, 67
	}
	if n <= one {
		return 1
	}
	return (n + each - 1) / each
}

// gsm is the default alphabet of text messages and its extension table (3GPP TS 23.038
// 6.2.1).
const gsm = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà^{}\\[~]|€"

// isGSM reports whether the alphabet has every character of the text, so that it goes at 160
// characters to a message rather than 70.
func isGSM(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return !strings.ContainsRune(gsm, r) })
}
