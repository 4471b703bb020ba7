package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/wire"
)

// Settings are a provider's own: table "agent-settings", key store.Key(tenant).
type Settings struct {
	wire.AgentSettings
}

// Defaults are the settings where none were made; English, since they are the provider's to
// write.
var Defaults = wire.AgentSettings{
	Reasons: []string{"break", "lunch", "meeting", "training"},
	WrapUpCodes: []wire.WrapUpCode{
		{Code: "solved", Text: "Solved"}, {Code: "follow-up", Text: "To be followed up"}, {Code: "sold", Text: "Sold"}, {Code: "other", Text: "Other"},
	},
	RetentionDays: 30,
}

// Settings returns the tenant's.
func (s *Service) Settings(ctx context.Context, tenant wire.TenantID) (wire.AgentSettings, error) {
	x, _, err := s.settings.Get(ctx, store.Key(string(tenant)))
	if errors.Is(err, store.ErrNotFound) {
		return Defaults, nil
	}
	if err != nil {
		return x.AgentSettings, fmt.Errorf("agent: settings: %w", err)
	}
	return x.AgentSettings, nil
}

// SetSettings changes them; they also hold for the conversations that are kept already. ErrRequest.
func (s *Service) SetSettings(ctx context.Context, tenant wire.TenantID, q wire.AgentSettings) error {
	if err := checkSettings(q); err != nil {
		return err
	}
	_, err := store.Change(ctx, s.settings, store.Key(string(tenant)), func(Settings, bool) (Settings, bool, error) { return Settings{q}, true, nil })
	if err != nil {
		return fmt.Errorf("agent: settings: %w", err)
	}
	return nil
}

func checkSettings(q wire.AgentSettings) error {
	if len(q.Reasons) > 64 || len(q.WrapUpCodes) > 200 || q.RetentionDays < 1 || q.RetentionDays > 3650 {
		return fmt.Errorf("%w: at most 64 reasons and 200 wrap-up codes; 1 to 3650 days", ErrRequest)
	}
	for i, r := range q.Reasons {
		if r == "" || !line(r, 64) || slices.Contains(q.Reasons[:i], r) {
			return fmt.Errorf("%w: a reason has 1 to 64 bytes of text on one line, and stands there once", ErrRequest)
		}
	}
	for i, c := range q.WrapUpCodes {
		again := slices.ContainsFunc(q.WrapUpCodes[:i], func(x wire.WrapUpCode) bool { return x.Code == c.Code })
		if !wire.ValidID(c.Code) || len(c.Code) > 32 || c.Text == "" || !line(c.Text, 128) || again {
			return fmt.Errorf("%w: a wrap-up code has 1 to 32 letters, digits, hyphens and underscores and a text, and stands there once", ErrRequest)
		}
	}
	return nil
}
