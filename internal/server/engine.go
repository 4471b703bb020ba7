package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/push/sms"
	"github.com/tandem-call/tandem/internal/edge/store/natsstore"
	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/internal/store"
)

// StoreDir is where the embedded engine keeps its data, in the data directory.
const StoreDir = "store"

// callTables are what the first call of a deployment should not have to wait for.
var callTables = []string{"calls", "calls-by-party", "sessions", "session-devices", "session-alarms"}

func openEngine(ctx context.Context, cfg Config, log *slog.Logger) (store.Portable, error) {
	if cfg.Engine.NATS != "" {
		lock, err := lockData(cfg.Data)
		if err != nil {
			return nil, err
		}
		e, err := natsstore.Open(ctx, natsstore.Options{
			URL: cfg.Engine.NATS, Replicas: cfg.Engine.Replicas, Credentials: cfg.Engine.Credentials, Prefix: cfg.Engine.Prefix, Logger: log,
			Tables: callTables,
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("server: cluster engine: %w", err), lock.Close())
		}
		return clusterEngine{e, lock}, nil
	}
	e, err := pebblestore.Open(pebblestore.Options{
		Dir: filepath.Join(cfg.Data, StoreDir), Log: log, Headroom: int64(cfg.Engine.HeadroomMiB) << 20,
		Relaxed: cfg.Engine.Durability == "relaxed",
	})
	switch {
	case errors.Is(err, store.ErrLocked):
		return nil, inUse(cfg.Data, err)
	case errors.Is(err, store.ErrDamaged):
		return nil, fmt.Errorf("server: %w; look with `tandem store verify --data %s`, then restore a backup or accept the loss with `tandem store repair --accept-loss`", err, cfg.Data)
	case err != nil:
		return nil, fmt.Errorf("server: engine: %w", err)
	}
	return e, nil
}

func inUse(data string, err error) error {
	return fmt.Errorf("server: another server is running on %s; stop it, or name another directory with --data: %w", data, err)
}

// clusterEngine holds the lock of the node's own directory while it is open.
type clusterEngine struct {
	store.Portable
	lock *os.File
}

func (e clusterEngine) Close() error { return errors.Join(e.Portable.Close(), e.lock.Close()) }

// lockData keeps other servers off a data directory that has no embedded engine in it: the
// operator's socket and the files are there. Closing the file, or the end of the process,
// gives the lock up.
func lockData(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("server: data directory: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = inUse(dir, store.ErrLocked)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// textSender carries one-time codes and invitations.
type textSender interface {
	device.Sender
	sms.Sender
}

// codeSender returns what carries one-time codes, and what devices are told of it.
func codeSender(cfg Config, show func(string)) (textSender, string, error) {
	c := cfg.Codes
	var s textSender
	var err error
	via := "sms"
	switch c.Sender {
	case "kannel":
		s, err = sms.NewKannel(sms.KannelConfig{URL: c.URL, Username: c.Username, Password: c.Password, From: c.From})
	case "webhook":
		s, err = sms.NewWebhook(sms.WebhookConfig{URL: c.URL, Body: c.Body, Token: c.Token, Username: c.Username, Password: c.Password, From: c.From})
	default:
		via = "server"
		s, err = sms.NewDev(show, cfg.Listen)
	}
	if err != nil {
		return nil, "", fmt.Errorf("server: codes: %w", err)
	}
	return s, via, nil
}
