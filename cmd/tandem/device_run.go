package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/edge/telephony/baresip"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

type deviceRun struct {
	account
	Detect      string   `placeholder:"PHONE[:ADDR]" help:"Telephone to listen to: baresip, or baresip:HOST:PORT of its ctrl_tcp."`
	SIPUsers    bool     `name:"sip-users" help:"Keep SIP addresses as they are; otherwise sip:+44…@host means the number."`
	Inbox       string   `placeholder:"DIR" help:"Where received files go (default: beside the device's key)."`
	Accept      bool     `help:"Accept invitations unasked; otherwise they are shown and asked for."`
	ReportsFrom string   `name:"reports-from" placeholder:"ADDR" help:"Take reports of a network element at this address (host:port), and forward them."`
	ReportsKey  string   `name:"reports-key" type:"existingfile" placeholder:"FILE" help:"Key that the element must send as bearer token; needed beyond this machine."`
	Near        bool     `help:"Say regularly that this device is here, for temporary couplings, and come back when its telephone is."`
	Link        []string `placeholder:"NETWORK,..." help:"With --near: the networks on which the other device is looked for, by the names of their interfaces; none: nowhere (default: all)."`
	CanPlace    bool     `name:"can-place" help:"Say, when it is asked, that this device can tell where it is (with tandem place share)."`
	At          string   `placeholder:"GEO" help:"Where this device is, for good; it is shared as your rules say (tandem place rule). Implies --can-place."`
	Maps        string   `enum:"map,picture,link,none" default:"none" help:"What it says that it can show of a place: map, picture, link, none."`
	PIDFLO      bool     `name:"pidf-lo" help:"Say that it wants places as PIDF-LO too."`
	SSE         bool     `name:"sse" help:"Use server-sent events instead of WebSocket."`
	JSON        bool     `name:"json" help:"Print what happens as JSON, one object a line."`
	Verbose     bool     `short:"v" help:"Tell more."`
}

func (c *deviceRun) Run(ctx context.Context) error {
	if c.Near && !slices.Equal(c.Link, []string{"none"}) {
		id, err := c.identity()
		if err != nil {
			return err
		}
		near, end := context.WithCancel(ctx)
		var answering sync.WaitGroup
		defer answering.Wait()
		defer end()
		answering.Go(func() { answerNear(near, id, c.Link, slog.New(slog.NewTextHandler(os.Stderr, nil))) })
	}
	for {
		err := c.run(ctx)
		var p *wire.Problem
		if !c.Near || !errors.As(err, &p) || p.Code != wire.CodeRevoked && p.Code != wire.CodeBindingExpired {
			return err
		}
		api, id, idErr := c.api()
		if idErr != nil {
			return idErr
		}
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		log.Warn("this device is away from its telephone; it waits until they meet")
		if !awaitNear(ctx, api, id, log) {
			return err
		}
	}
}

// run is the device until it is cut off, or ctx ends.
func (c *deviceRun) run(ctx context.Context) error {
	id, err := c.identity()
	if err != nil {
		return err
	}
	hc, err := httpClient(c.CA)
	if err != nil {
		return err
	}
	path, err := c.file()
	if err != nil {
		return err
	}
	if c.Inbox == "" {
		c.Inbox = filepath.Join(filepath.Dir(path), "inbox")
	}
	level := slog.LevelWarn
	if c.Verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	var detector *baresip.Detector
	if c.Detect != "" {
		phone, addr, _ := strings.Cut(c.Detect, ":")
		if phone != "baresip" {
			return fmt.Errorf("--detect %s: this version knows baresip only", phone)
		}
		if addr != "" {
			if _, _, err := net.SplitHostPort(addr); err != nil {
				return fmt.Errorf("--detect %s: %w", c.Detect, err)
			}
		}
		detector = baresip.New(baresip.Config{Addr: addr, SIPUsers: c.SIPUsers, Logger: log})
	}
	before, err := recall(filepath.Join(filepath.Dir(path), memoryFile))
	if err != nil {
		log.Warn(err.Error())
	}
	group, ctx := errgroup.WithContext(ctx)
	book, err := c.profileBook()
	if err != nil {
		return err
	}
	can := wire.PlaceAbility{Provide: c.CanPlace || c.At != "", Show: wire.PlaceShow(c.Maps), PIDFLO: c.PIDFLO}
	s := &screen{book: book, can: can, json: c.JSON, me: id, inbox: c.Inbox, accept: c.Accept, memory: before, group: group, ctx: ctx, done: map[wire.FileID]bool{}}
	cfg := client.Config{Identity: id, HTTP: hc, Client: "tandem/" + version, Logger: log, Events: s.events(), From: before.positions()}
	if c.SSE {
		cfg.Transport = client.SSE
	}
	d, err := client.Connect(cfg)
	if err != nil {
		return err
	}
	if c.At != "" {
		where, err := at(c.At)
		if err != nil {
			return err
		}
		s.at = &where
	}
	s.device = d
	group.Go(func() error { return before.Run(ctx, log) })
	group.Go(func() error { return d.Run(ctx) })
	if c.Near {
		group.Go(func() error { stayNear(ctx, d.API(), id, c.Link, log); return nil })
	}
	if c.ReportsFrom != "" {
		l, key, err := listenForReports(c.ReportsFrom, c.ReportsKey)
		if err != nil {
			return err
		}
		s.say("listening", map[string]any{"address": l.Addr().String()}, "taking a network element's reports at %s", l.Addr())
		group.Go(func() error { return forwarder{d, id, key, s.forwarded}.Run(ctx, l, log) })
	}
	for _, f := range before.files() {
		s.fetch(f)
	}
	if detector != nil {
		changes := make(chan tel.PartyDetails, 16)
		group.Go(func() error {
			defer close(changes)
			return detector.Run(ctx, func(p tel.PartyDetails) {
				p.Own = tel.Identity{} // the server fills in the number that this device has proved
				select {
				case changes <- p:
				case <-ctx.Done():
				}
			})
		})
		group.Go(func() error {
			d.ReportCalls(ctx, changes, 0, s.reported)
			return nil
		})
	}
	err = group.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, before.save())
}
