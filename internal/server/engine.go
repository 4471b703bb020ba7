package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/push/sms"
	"github.com/tandem-call/tandem/internal/edge/store/natsstore"
	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/store"
)

// StoreDir is where the embedded engine keeps its data, in the data directory.
const StoreDir = "store"

func openEngine(ctx context.Context, cfg Config, log *slog.Logger) (store.Engine, error) {
	if cfg.Engine.NATS != "" {
		e, err := natsstore.Open(ctx, natsstore.Options{URL: cfg.Engine.NATS, Replicas: cfg.Engine.Replicas, Logger: log})
		if err != nil {
			return nil, fmt.Errorf("server: cluster engine: %w", err)
		}
		return e, nil
	}
	e, err := pebblestore.Open(pebblestore.Options{
		Dir: filepath.Join(cfg.Data, StoreDir), Log: log, Headroom: int64(cfg.Engine.HeadroomMiB) << 20,
		Relaxed: cfg.Engine.Durability == "relaxed",
	})
	switch {
	case errors.Is(err, store.ErrLocked):
		return nil, fmt.Errorf("server: another server is running on %s; stop it, or name another directory with --data: %w", cfg.Data, err)
	case errors.Is(err, store.ErrDamaged):
		return nil, fmt.Errorf("server: %w; look with `tandem store verify --data %s`, then restore a backup or accept the loss with `tandem store repair --accept-loss`", err, cfg.Data)
	case err != nil:
		return nil, fmt.Errorf("server: engine: %w", err)
	}
	return e, nil
}

// codeSender returns what carries one-time codes, and what devices are told of it.
func codeSender(cfg Config, show func(string)) (device.Sender, string, error) {
	c := cfg.Codes
	var s device.Sender
	var err error
	via := "sms"
	switch c.Sender {
	case "kannel":
		s, err = sms.NewKannel(sms.KannelConfig{URL: c.URL, Username: c.Username, Password: c.Password, From: c.From})
	case "webhook":
		s, err = sms.NewWebhook(sms.WebhookConfig{URL: c.URL, Bearer: c.Token, From: c.From})
	default:
		via = "server"
		s, err = sms.NewDev(show, cfg.Listen)
	}
	if err != nil {
		return nil, "", fmt.Errorf("server: codes: %w", err)
	}
	return s, via, nil
}
