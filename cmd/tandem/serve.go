package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/tandem-call/tandem/internal/edge/transport/tlscert"
	"github.com/tandem-call/tandem/internal/server"
)

type serveCommand struct {
	Config string `short:"c" env:"TANDEM_CONFIG" type:"existingfile" placeholder:"FILE" help:"Configuration file; tandem.example.yaml is its manual."`
	Data   string `placeholder:"DIR" help:"Directory of everything that lasts (default: data)."`
	Listen string `placeholder:"HOST:PORT" help:"Address to listen on (default: 127.0.0.1:8080)."`
	NATS   string `name:"nats" placeholder:"URL" help:"Keep the data in this NATS JetStream cluster instead of --data, for several nodes: see docs/operations.md."`
	Check  bool   `help:"Check the configuration and stop."`
}

// Help is shown by --help.
func (serveCommand) Help() string {
	return `Without a configuration file the server keeps everything in ./data, listens on this
machine only, and prints one-time codes instead of sending them: right for a first look
and for development. Every setting, with its default and its meaning, is in
tandem.example.yaml; each is also an environment variable (TANDEM_TLS_MODE).

SIGTERM and Ctrl-C drain: devices are told to come back, what was taken is stored.`
}

func (c *serveCommand) load() (server.Config, error) {
	cfg, err := server.Load(c.Config, os.Environ())
	if err != nil {
		return cfg, err
	}
	if c.Data != "" {
		cfg.Data = c.Data
	}
	if c.Listen != "" {
		cfg.Listen = c.Listen
	}
	if c.NATS != "" {
		cfg.Engine.NATS = c.NATS
	}
	return cfg, cfg.Validate()
}

func (c *serveCommand) Run(ctx context.Context) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if c.Check {
		fmt.Println("the configuration is good")
		return nil
	}
	s, err := server.New(ctx, cfg, server.Options{
		Version: version, Logger: logger(cfg.Log),
		Show: func(line string) { fmt.Println(line) },
	})
	if err != nil {
		return err
	}
	fmt.Print(greeting(cfg, s))
	return s.Run(ctx)
}

func logger(l server.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		level = slog.LevelInfo // Validate has refused others
	}
	o := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}

// greeting says where the server is and what to do next.
func greeting(cfg server.Config, s *server.Server) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Tandem %s is at %s\n", version, cfg.URL())
	where := "data in " + cfg.Data
	if cfg.Engine.NATS != "" {
		where = "data in the cluster at " + cfg.Engine.NATS
	}
	fmt.Fprintf(&b, "%s; what is acknowledged is kept by: %s\n", where, s.Durability())
	if cfg.Engine.Durability == "relaxed" {
		fmt.Fprintln(&b, "WARNING: engine.durability is relaxed: a power cut loses what was acknowledged last")
	}
	if cfg.TLS.Mode == tlscert.Proxy && len(cfg.TrustedProxies) == 0 {
		fmt.Fprintln(&b, "WARNING: tls.mode is proxy and trusted_proxies is empty: all devices count as one address, and share its limits")
	}
	if cfg.Codes.Sender == "dev" {
		fmt.Fprintln(&b, "development: one-time codes are printed here, and only this machine can connect")
	}
	if term.IsTerminal(int(os.Stdout.Fd())) || cfg.Codes.Sender == "dev" {
		self := os.Args[0]
		fmt.Fprintf(&b, `
Next: open %[2]s in a browser and press "Try it". Or, in another terminal:
  %[1]s demo                                             a guided first call, with a server of its own
  %[1]s device enrol --server %[2]s --as alice --number +442079460001
  %[1]s device --as alice --detect baresip               beside a real softphone
The API is described at %[2]s/openapi.json. Ctrl-C stops.

`, self, cfg.URL())
	}
	return b.String()
}
