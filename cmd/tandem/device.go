package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/edge/telephony/baresip"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

type deviceCommand struct {
	Run    deviceRun    `cmd:"" default:"withargs" help:"Run beside a telephone: report its calls, receive what the other side sends."`
	Enrol  deviceEnrol  `cmd:"" help:"Prove this device's number with a one-time code."`
	Guest  deviceGuest  `cmd:"" help:"Open a link that came by text message, and be a guest in the session."`
	Link   deviceLink   `cmd:"" help:"Say that this device was installed by way of a link."`
	Set    deviceSet    `cmd:"" help:"Change this device's settings."`
	Show   deviceShow   `cmd:"" help:"Show what the server knows of this device."`
	Remove deviceRemove `cmd:"" help:"Forget this device, here and on the server."`

	Couple    deviceCouple    `cmd:"" help:"Carry data for a telephone, on the word of somebody who has proved its number."`
	Couplings deviceCouplings `cmd:"" help:"List, make and end couplings with this device's telephone."`
}

// account is embedded in every command that acts as a device.
type account struct {
	As   string `required:"" env:"TANDEM_AS" placeholder:"NAME" help:"Which of this machine's devices to be."`
	Home string `env:"TANDEM_HOME" placeholder:"DIR" help:"Where devices are kept (default: ~/.config/tandem)."`
	CA   string `name:"ca" env:"TANDEM_CA" type:"existingfile" placeholder:"FILE" help:"Certificate of the server's local authority."`
}

func (a account) file() (string, error) {
	if a.As != filepath.Base(a.As) || strings.HasPrefix(a.As, ".") {
		return "", fmt.Errorf("--as %q: a name without slashes, please", a.As)
	}
	dir := a.Home
	if dir == "" {
		base, err := os.UserConfigDir()
		if err != nil {
			return "", fmt.Errorf("no home directory; use --home: %w", err)
		}
		dir = filepath.Join(base, "tandem")
	}
	return filepath.Join(dir, a.As, "device.json"), nil
}

// identity loads the device; its absence is explained.
func (a account) identity() (*client.Identity, error) {
	path, err := a.file()
	if err != nil {
		return nil, err
	}
	id, err := client.Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no device %q on this machine yet; first: tandem device enrol --as %s --number +44…", a.As, a.As)
	}
	return id, err
}

func (a account) api() (*client.API, *client.Identity, error) {
	id, err := a.identity()
	if err != nil {
		return nil, nil, err
	}
	hc, err := httpClient(a.CA)
	if err != nil {
		return nil, nil, err
	}
	return client.NewAPI(id, hc), id, nil
}

type deviceEnrol struct {
	account
	Server string `default:"http://127.0.0.1:8080" env:"TANDEM_SERVER" placeholder:"URL" help:"The server's address (default: ${default})."`
	Number string `required:"" placeholder:"NUMBER" help:"Telephone number, in international form or with --region."`
	Region string `placeholder:"GB" help:"Region of a national number."`
	Name   string `placeholder:"NAME" help:"Name that the other party sees (default: --as)."`
	Code   string `placeholder:"DIGITS" help:"The code, if it is already known; otherwise it is asked for."`
	App    string `name:"app" placeholder:"PLATFORM:ID" help:"Application to wake by push, e.g. fcm:TOKEN."`
}

func (c *deviceEnrol) Run(ctx context.Context) error {
	path, err := c.file()
	if err != nil {
		return err
	}
	hc, err := httpClient(c.CA)
	if err != nil {
		return err
	}
	id, err := client.Load(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if id, err = client.NewIdentity(c.Server); err != nil {
			return err
		}
	case err != nil:
		return err
	case id.Server != c.Server:
		return fmt.Errorf("%q is enrolled at %s; remove it first, or use another name", c.As, id.Server)
	}
	e := client.Enrolling{Number: c.Number, Region: c.Region, Name: c.Name, Client: "tandem/" + version, HTTP: hc}
	if e.Name == "" {
		e.Name = c.As
	}
	if e.App, err = parseApp(c.App); err != nil {
		return err
	}
	given := c.Code
	info, err := client.Enrol(ctx, id, e, func(ctx context.Context, begun wire.Enrolment, last error) (string, error) {
		if given != "" {
			defer func() { given = "" }()
			return given, nil
		}
		if c.Code != "" {
			return "", last
		}
		if last != nil {
			fmt.Fprintln(os.Stderr, explain(last))
		}
		where := "sent to " + c.Number
		if begun.Via == "server" {
			where = "printed by the server (a development server sends no text messages)"
		}
		fmt.Fprintf(os.Stderr, "A code was %s. Code: ", where)
		line, err := readLine(ctx)
		if err != nil {
			return "", fmt.Errorf("no code was typed: %w", err)
		}
		return line, nil
	})
	if err != nil {
		return err
	}
	if err := id.Save(path); err != nil {
		return err
	}
	fmt.Printf("enrolled: device %s for %s, until %s\nkey and id are in %s\n", info.ID, id.Number, info.Bindings[len(info.Bindings)-1].Expires.Format("2 January 2006"), path)
	return nil
}

// parseApp reads PLATFORM:ID; nil for nothing.
func parseApp(s string) (*wire.App, error) {
	if s == "" {
		return nil, nil
	}
	platform, token, ok := strings.Cut(s, ":")
	if !ok {
		return nil, fmt.Errorf("--app %q: write PLATFORM:ID", s)
	}
	return &wire.App{Platform: platform, ID: token}, nil
}

// readLine reads one line from standard input, and gives up when ctx ends.
func readLine(ctx context.Context) (string, error) {
	type result struct {
		line string
		err  error
	}
	read := make(chan result, 1)
	go func() { // ends with the line or the program: a terminal cannot be interrupted
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if line != "" {
			err = nil
		}
		read <- result{strings.TrimSpace(line), err}
	}()
	select {
	case r := <-read:
		return r.line, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

type deviceShow struct{ account }

func (c *deviceShow) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	var info wire.DeviceInfo
	if err := api.Call(ctx, http.MethodGet, "/v1/device", nil, &info); err != nil {
		return err
	}
	var calls wire.CallList
	if err := api.Call(ctx, http.MethodGet, "/v1/calls", nil, &calls); err != nil {
		return err
	}
	fmt.Printf("device:   %s (%s)\n", info.ID, info.Name)
	for _, p := range info.Party {
		fmt.Printf("party:    %s, proved by %s\n", p.Identity, p.Proof)
	}
	for _, b := range info.Bindings {
		fmt.Printf("number:   %s, proved %s, until %s\n", b.Number, b.Proved.Format(time.DateOnly), b.Expires.Format(time.DateOnly))
	}
	for _, call := range calls.Calls {
		fmt.Printf("call:     %s %s %s since %s, session %s\n", call.Direction, orNone(call.Other.String()), call.State, call.Since.Format(time.TimeOnly), orNone(string(call.Session)))
	}
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

type deviceRemove struct{ account }

func (c *deviceRemove) Run(ctx context.Context) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	if err := api.Call(ctx, http.MethodDelete, "/v1/device", nil, nil); err != nil {
		return err
	}
	path, err := c.file()
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	for _, name := range []string{memoryFile, syncFile} {
		if err := os.Remove(filepath.Join(filepath.Dir(path), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(filepath.Dir(path), profilesDir)); err != nil {
		return err
	}
	fmt.Println("removed")
	return nil
}

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

// screen shows what happens to a device, a line each.
type screen struct {
	json   bool
	me     *client.Identity
	inbox  string
	accept bool
	memory *memory
	book   *client.Book
	can    wire.PlaceAbility
	at     *wire.PlaceShare // where it is, if that is known for good
	device *client.Device
	group  *errgroup.Group
	ctx    context.Context

	mu    sync.Mutex
	done  map[wire.FileID]bool // files fetched or being fetched
	names map[wire.SessionID]wire.SessionState
}

func (s *screen) say(event string, fields map[string]any, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.json {
		fields["event"], fields["time"] = event, time.Now().UTC()
		_ = json.NewEncoder(os.Stdout).Encode(fields) // nobody reads any more
		return
	}
	fmt.Printf("%s  %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

func (s *screen) events() client.Events {
	return client.Events{
		Connected: func(w wire.Welcome) {
			s.say("connected", map[string]any{"device": w.Device}, "connected as %s (%s)", s.me.Name, s.me.Number)
		},
		Disconnected: func(err error) {
			s.say("disconnected", map[string]any{"error": fmt.Sprint(err)}, "connection lost (%v); coming back", err)
		},
		Session:   s.session,
		Available: s.available,
		Message: func(e wire.Envelope) {
			s.message(e)
			s.memory.shown(e)
		},
		Signal: s.signal,
		Lost: func(id wire.SessionID) {
			s.say("lost", map[string]any{"session": id}, "some messages of the session are no longer to be had")
		},
		Notice: func(n wire.Notice) {
			text := fmt.Sprintf("notice: %s %s", n.Code, printable(n.Name))
			switch n.Code {
			case wire.NoticeCoupled:
				text = fmt.Sprintf("%q carries data for your telephone from now on; if that was not you: tandem device couplings remove", n.Name)
			case wire.NoticeUncoupled:
				text = fmt.Sprintf("%q carries data for your telephone no more", n.Name)
			case wire.NoticeApart:
				text = fmt.Sprintf("%q is no longer near", n.Name)
			case wire.NoticeNewDevice:
				text = fmt.Sprintf("a further device, %q, has proved your number; if that was not you, tell your operator", n.Name)
			}
			s.say("notice", map[string]any{"code": n.Code, "name": n.Name, "at": n.At}, "%s", text)
		},
		Rewind: func(id wire.SessionID, seq uint64) {
			s.memory.rewound(id, seq)
			s.say("rewind", map[string]any{"session": id, "seq": seq}, "the server was restarted: messages after number %d were never stored", seq)
		},
		Invite: s.invite,
		Withdrawn: func(w wire.Withdrawn) {
			s.say("withdrawn", map[string]any{"invitation": w.Invitation, "reason": w.Reason}, "the invitation is no longer open (%s)", w.Reason)
		},
		Words: func(w wire.Words) {
			if w.Read != "" {
				s.say("words", map[string]any{"invitation": w.Invitation, "read": w.Read},
					"the other side of your call would share data with you. If you want that:\n  tandem session accept --as %s %s\nand say to them: %q", s.me.Name, w.Invitation, w.Read)
				return
			}
			s.say("words", map[string]any{"invitation": w.Invitation, "tries": w.TriesLeft},
				"the other side reads two words to you; type them:  tandem session words --as %s %s WORD WORD", s.me.Name, w.Invitation)
		},
	}
}

func (s *screen) reported(r client.Reported) {
	if r.Err != nil {
		s.say("report-failed", map[string]any{"state": r.Details.State, "error": r.Err.Error()}, "the report of the call was refused: %s", explain(r.Err))
		return
	}
	s.say("reported", map[string]any{"state": r.Details.State, "other": r.Details.Other, "session": r.Ack.Session, "took_ms": r.Took.Milliseconds()},
		"call %s: %s %s (reported in %s)", r.Details.State, r.Details.Direction, orWithheld(r.Details.Other), r.Took.Round(100*time.Microsecond))
}

func (s *screen) forwarded(r wire.Report, ack wire.Ack, err error) {
	if err != nil {
		s.say("report-failed", map[string]any{"state": r.State, "error": err.Error()}, "the element's report was refused: %s", explain(err))
		return
	}
	s.say("forwarded", map[string]any{"state": r.State, "other": r.Other, "session": ack.Session}, "the network says: call %s, %s", r.State, orWithheld(r.Other))
}

func (s *screen) available(a wire.Available) {
	with := make([]string, len(a.With))
	for i, id := range a.With {
		with[i] = id.String()
	}
	fields := map[string]any{"session": a.Session, "phase": a.Phase, "with": a.With}
	if a.Phase == wire.Closed {
		s.say("available", fields, "the session %s is closed", a.Session)
		return
	}
	s.say("available", fields, "a session with %s is there (%s); to join:  tandem session join --as %s %s", strings.Join(with, ", "), a.Phase, s.me.Name, a.Session)
}

func orWithheld(id tel.Identity) string {
	if id.IsZero() {
		return "withheld number"
	}
	return id.String()
}

func (s *screen) session(st wire.SessionState) {
	s.mu.Lock()
	if s.names == nil {
		s.names = map[wire.SessionID]wire.SessionState{}
	}
	before := s.names[st.ID]
	s.names[st.ID] = st
	s.mu.Unlock()
	if st.Phase == wire.InCall && s.at != nil && len(before.Members) != len(st.Members) {
		s.followRules(st.ID)
	}
	fields := map[string]any{"session": st.ID, "phase": st.Phase, "members": st.Members, "you": st.You, "until": st.Until}
	switch st.Phase {
	case wire.InCall:
		s.say("session", fields, "session %s is open with %s", st.ID, others(st))
	case wire.AfterCall:
		s.say("session", fields, "the call is over; the session stays open until %s", st.Until.Local().Format(time.TimeOnly))
	case wire.Closed:
		s.memory.over(st.ID)
		s.say("session", fields, "the session is closed (%s)", st.Reason)
	}
}

// others names the members that are not of one's own side.
func others(st wire.SessionState) string {
	own := -1
	for _, m := range st.Members {
		if m.ID == st.You {
			own = m.Side
		}
	}
	var names []string
	for _, m := range st.Members {
		if m.Side != own && !m.Left {
			names = append(names, label(m))
		}
	}
	return strings.Join(names, ", ")
}

func label(m wire.Member) string {
	switch {
	case m.Name != "" && !m.Identity.IsZero():
		return fmt.Sprintf("%s (%s)", m.Name, m.Identity)
	case m.Name != "":
		return m.Name
	}
	return orWithheld(m.Identity)
}

func (s *screen) message(e wire.Envelope) {
	s.mu.Lock()
	st := s.names[e.Session]
	s.mu.Unlock()
	if e.From == "" || e.From == st.You && e.Kind != wire.KindFile {
		return
	}
	from := string(e.From)
	for _, m := range st.Members {
		if m.ID == e.From {
			from = label(m)
		}
	}
	fields := map[string]any{"session": e.Session, "seq": e.Seq, "from": e.From, "kind": e.Kind, "body": e.Body}
	switch e.Kind {
	case wire.KindText:
		var t wire.Text
		if json.Unmarshal(e.Body, &t) == nil {
			s.say("message", fields, "%s: %s", from, printable(t.Text))
			return
		}
	case wire.KindLink:
		var l wire.Link
		if json.Unmarshal(e.Body, &l) == nil {
			s.say("message", fields, "%s: %s %s", from, printable(l.Name), printable(l.URL))
			return
		}
	case wire.KindPlace, wire.KindPlaceAsk, wire.KindPlaceStopped:
		s.place(e, from)
		return
	case wire.KindProfile:
		var m wire.ProfileMessage
		if json.Unmarshal(e.Body, &m) == nil {
			s.profile(e.Session, from, m)
			return
		}
	case wire.KindFile:
		var f wire.File
		if json.Unmarshal(e.Body, &f) == nil {
			if e.From != st.You {
				s.say("message", fields, "%s sends %s (%s, %s)", from, printable(f.Name), f.Type, bytesText(f.Size))
				s.fetch(f)
			}
			return
		}
	}
	s.say("message", fields, "%s: %s %s", from, e.Kind, printable(string(e.Body)))
}

// profile keeps what is new of the other side's profile, and shows it.
func (s *screen) profile(session wire.SessionID, from string, m wire.ProfileMessage) {
	if m.Withdrawn {
		s.say("profile", map[string]any{"session": session, "owner": m.Owner, "withdrawn": true}, "%s takes back what it had sent of itself", from)
	}
	s.group.Go(func() error {
		r, err := s.book.Receive(s.ctx, s.device.API(), session, m)
		switch {
		case s.ctx.Err() != nil || m.Withdrawn && err == nil:
			return nil
		case err != nil:
			s.say("profile-failed", map[string]any{"owner": m.Owner, "error": err.Error()}, "the profile of %s is not complete: %s", from, explain(err))
			return nil
		}
		lines := ""
		for _, f := range r.Fields {
			lines += "\n  " + fieldLine(f)
		}
		how := ""
		if m.Contact == "" && m.Keep == wire.KeepAsk {
			how = fmt.Sprintf("\n  to keep it:  tandem contact keep --as %s %s", s.me.Name, m.Owner)
		}
		s.say("profile", map[string]any{
			"session": session, "owner": m.Owner, "fields": r.Fields, "new": len(m.Fields), "show": m.Show, "keep": m.Keep, "contact": m.Contact, "pictures": r.Pictures,
		}, "%s lets you know:%s%s", from, lines, how)
		return nil
	})
}

// printable keeps control characters of the other side's off the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '·'
		}
		return r
	}, s)
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1<<10:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d bytes", n)
}

// fetch downloads an offered file, beside everything else.
func (s *screen) fetch(f wire.File) {
	s.mu.Lock()
	known := s.done[f.ID]
	s.done[f.ID] = true
	s.mu.Unlock()
	if known {
		return
	}
	s.memory.wanted(f)
	s.group.Go(func() error {
		start := time.Now()
		path, err := s.device.API().Download(s.ctx, f, s.inbox, nil)
		if p := (*wire.Problem)(nil); err == nil || errors.As(err, &p) && !wire.Catalogue[p.Code].Retry {
			s.memory.settled(f.ID)
		}
		if err != nil && s.ctx.Err() != nil {
			return nil // the next run goes on
		}
		if err != nil {
			s.mu.Lock()
			delete(s.done, f.ID)
			s.mu.Unlock()
			s.say("file-failed", map[string]any{"file": f.ID, "error": err.Error()}, "%s could not be fetched: %s", printable(f.Name), explain(err))
			return nil
		}
		s.say("file", map[string]any{"file": f.ID, "path": path, "sha256": f.SHA256}, "%s is here: %s (%s)", printable(f.Name), path, time.Since(start).Round(time.Millisecond))
		return nil
	})
}

func (s *screen) invite(i wire.Invite) {
	who := orWithheld(i.Claimant)
	s.say("invite", map[string]any{"invitation": i.ID, "claimant": i.Claimant, "until": i.Until}, "start a data session with %s, whom you are speaking to?", who)
	if !s.accept {
		s.say("invite-how", map[string]any{"invitation": i.ID}, "  yes:  tandem session accept --as %s %s\n%14s no:   tandem session decline --as %s %s", s.me.Name, i.ID, "", s.me.Name, i.ID)
		return
	}
	s.group.Go(func() error {
		if err := s.device.Answer(s.ctx, i.ID, true); err != nil {
			s.say("invite-failed", map[string]any{"invitation": i.ID, "error": err.Error()}, "the invitation could not be accepted: %s", explain(err))
		}
		return nil
	})
}
