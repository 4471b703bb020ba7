// Package webhook posts events to the endpoints of webhooks over HTTP, with the headers of
// Standard Webhooks. [Poster] makes one attempt, by the one fetcher for addresses that
// others chose; when to make the next is decided by internal/webhook.
package webhook

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/tandem-call/tandem/internal/edge/fetch"
	"github.com/tandem-call/tandem/internal/webhook"
)

// Fetcher is what Poster needs of fetch.Fetcher.
type Fetcher interface {
	Fetch(ctx context.Context, r fetch.Request) (fetch.Response, error)
}

// Poster implements the port of internal/webhook.
type Poster struct {
	Fetcher Fetcher
	// Plain allows http:// addresses, besides https://.
	Plain bool
}

// Post makes one attempt. Its errors show neither address nor body, nor where a name
// leads to.
func (p Poster) Post(ctx context.Context, w webhook.Post) (webhook.Answer, error) {
	res, err := p.Fetcher.Fetch(ctx, fetch.Request{
		URL: w.URL, Method: http.MethodPost, Body: w.Body, HTTPS: !p.Plain,
		Header: http.Header{
			"Content-Type":      {"application/cloudevents+json; charset=utf-8"},
			"Webhook-Id":        {w.ID},
			"Webhook-Timestamp": {strconv.FormatInt(w.Timestamp, 10)},
			"Webhook-Signature": {w.Signature},
		},
	})
	var refused *fetch.Status
	switch {
	case err == nil:
		return webhook.Answer{Status: res.Status}, nil
	case errors.As(err, &refused):
		return webhook.Answer{Status: refused.Code, RetryAfter: refused.RetryAfter}, nil
	case errors.Is(err, fetch.ErrContent):
		// It was a success, with a body that nobody needs.
		return webhook.Answer{Status: http.StatusOK}, nil
	case errors.Is(err, fetch.ErrForbidden):
		return webhook.Answer{}, errors.New("the address leads into a network that is not public, and not in webhooks.networks")
	case errors.Is(err, fetch.ErrURL):
		return webhook.Answer{}, errors.New("the address cannot be used")
	case errors.Is(err, context.DeadlineExceeded):
		return webhook.Answer{}, errors.New("no answer in time")
	}
	return webhook.Answer{}, errors.New("no answer")
}
