package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tandem-call/tandem/internal/signed"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

// MaxKept is how long an answer of a provider's server can serve other calls.
const MaxKept = 7 * 24 * time.Hour

// Question is a request to a provider's server, signed as Standard Webhooks says.
type Question struct {
	URL string
	// ID, Timestamp (Unix seconds) and Signature are the three headers.
	ID        string
	Timestamp int64
	Signature string
	// Body in JSON: wire.OverlayQuestion.
	Body []byte
}

// Kept is the last answer of a provider's server that may serve other calls: table
// "overlay-answers", key store.Key(tenant, name).
type Kept struct {
	Version int                `json:"version"`
	Until   time.Time          `json:"until"`
	Answer  wire.OverlaySource `json:"answer"`
}

// source asks the provider's server for what an edition needs of it. When it does not answer in
// time, or with something unusable, the last answer that it let us keep counts, and without one
// what is in the store, if that is enough.
func (s *Service) source(ctx context.Context, x Stored, e Edition, q wire.OverlayQuestion, values Values) (overlay.Overlay, error) {
	if e.URL == "" {
		return Fill(e.OverlayDraft, values)
	}
	o, err := s.ask(ctx, x, e, q, values)
	if err == nil {
		return o, nil
	}
	s.cfg.Log.Warn("a provider's server gave no overlay; what is kept is used", "tenant", x.Tenant, "overlay", x.Name, "err", err)
	k, _, getErr := s.kept.Get(ctx, key(x.Tenant, x.Name))
	switch {
	case getErr == nil && k.Version == e.Version && s.cfg.Now().Before(k.Until):
		if o, err := made(e, k.Answer, values); err == nil {
			return o, nil
		}
	case getErr != nil && !errors.Is(getErr, store.ErrNotFound):
		return o, fmt.Errorf("overlay: read an answer: %w", getErr)
	}
	if len(e.Document) > 0 {
		if o, err := Fill(e.OverlayDraft, values); err == nil {
			return o, nil
		}
	}
	return o, err
}

func (s *Service) ask(ctx context.Context, x Stored, e Edition, q wire.OverlayQuestion, values Values) (overlay.Overlay, error) {
	q.Overlay, q.Version, q.Time, q.Values = x.Name, e.Version, s.cfg.Now(), values
	body, err := encode(q)
	if err != nil {
		return overlay.Overlay{}, err
	}
	id, at := wire.NewID("ovl_"), s.cfg.Now().Unix()
	server := serverOf(x.Tenant, e.URL)
	if !s.patience.begin(server) {
		return overlay.Overlay{}, fmt.Errorf("%w: it did not answer lately, and is being asked", ErrSource)
	}
	said, err := s.cfg.Ask(ctx, Question{URL: e.URL, ID: id, Timestamp: at, Signature: signed.Sign(x.Key, id, at, body), Body: body})
	s.patience.end(server, err == nil)
	if err != nil {
		return overlay.Overlay{}, fmt.Errorf("%w: %w", ErrSource, err)
	}
	var answer wire.OverlaySource
	if err := wire.Unmarshal(said, &answer); err != nil {
		return overlay.Overlay{}, fmt.Errorf("%w: its answer: %w", ErrSource, err)
	}
	o, err := made(e, answer, values)
	if err != nil {
		return o, err
	}
	if answer.KeepSeconds > 0 {
		k := Kept{e.Version, s.cfg.Now().Add(min(MaxKept, time.Duration(min(answer.KeepSeconds, int(MaxKept/time.Second)))*time.Second)), answer}
		if _, err := store.Change(ctx, s.kept, key(x.Tenant, x.Name), func(Kept, bool) (Kept, bool, error) { return k, true, nil }); err != nil {
			s.cfg.Log.Warn("a provider's answer was not kept", "overlay", x.Name, "err", err)
		}
	}
	return o, nil
}

// sweepEvery is how often answers are looked through.
const sweepEvery = time.Hour

// sweep removes answers whose time is over.
func (s *Service) sweep(ctx context.Context) error {
	for item, err := range s.kept.Scan(ctx, "") {
		if err != nil {
			return fmt.Errorf("overlay: sweep: %w", err)
		}
		if s.cfg.Now().Before(item.Value.Until) {
			continue
		}
		err := s.kept.Delete(ctx, item.Key, item.Rev)
		if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) { // conflict: a new answer came
			return fmt.Errorf("overlay: sweep: %w", err)
		}
	}
	return nil
}

// made makes the overlay of what a provider's server answered: the whole document, or values.
func made(e Edition, a wire.OverlaySource, values Values) (overlay.Overlay, error) {
	if len(a.Document) > 0 {
		o, err := overlay.Decode(a.Document)
		if err != nil {
			err = fmt.Errorf("%w: its document: %w", ErrSource, err)
		}
		return o, err
	}
	if len(e.Document) == 0 {
		return overlay.Overlay{}, fmt.Errorf("%w: it answered without a document, and none is stored", ErrSource)
	}
	all := Values{}
	for id, v := range values {
		all[id] = v
	}
	for id, v := range a.Values {
		if !slices.ContainsFunc(e.Parameters, func(p wire.OverlayParameter) bool { return p.ID == id && p.From == wire.FromService }) {
			return overlay.Overlay{}, fmt.Errorf("%w: it answered for %q, which is no parameter of the service's", ErrSource, id)
		}
		all[id] = v
	}
	o, err := Fill(e.OverlayDraft, all)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrSource, err)
	}
	return o, err
}

// take notes what a message of the customer's says, under the names that a parameter's of has.
func take(said Values, e wire.Envelope) {
	switch e.Kind {
	case wire.KindPlace:
		var p wire.PlaceMessage
		if json.Unmarshal(e.Body, &p) == nil {
			said["place"] = []string{p.URI}
		}
	case wire.KindOverlayResult:
		var r wire.OverlayResult
		if json.Unmarshal(e.Body, &r) != nil || r.Outcome != overlay.Done {
			return
		}
		for field, v := range r.Answers {
			said[r.Region+"."+field] = v
		}
		for _, v := range []string{r.Value, r.Address} {
			if v != "" {
				said[r.Region] = []string{v}
			}
		}
	}
}
