package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

type demoCommand struct {
	Server string        `placeholder:"URL" help:"Use this running server, and ask for the codes that it prints; otherwise a private one, removed afterwards."`
	Linger time.Duration `default:"3s" help:"How long the private server's session stays after the call (default: ${default})."`
	Keep   bool          `help:"Keep the demo's folder, with the picture as it was received."`
}

// Help is shown by --help.
func (demoCommand) Help() string {
	return `Two devices prove their numbers, both report the same call, and the data session opens
by itself. Text and a picture pass, one side loses its connection and misses nothing, the
call ends, the session lingers and closes. All of it goes through the public interface
of a real server; nothing is pretended but the telephones.`
}

// The numbers are kept free for drama (Ofcom).
const (
	aliceNumber = "+442079460001"
	bobNumber   = "+442079460002"
)

func (c *demoCommand) Run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "tandem-demo-")
	if err != nil {
		return err
	}
	if !c.Keep {
		defer os.RemoveAll(dir)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := &demo{start: time.Now(), dir: dir, codes: make(chan string, 4)}
	group, ctx := errgroup.WithContext(ctx)
	if c.Server != "" {
		d.server, d.ask = c.Server, true
		d.say("server", "using %s", c.Server)
	} else if err := d.serve(ctx, group, c.Linger); err != nil {
		return err
	}
	group.Go(func() error {
		defer cancel()
		if err := d.story(ctx, group); err != nil {
			return fmt.Errorf("the demo stopped: %w", err)
		}
		return nil
	})
	err = group.Wait()
	if err == nil && c.Keep {
		fmt.Println("\nthe demo's folder is", dir)
	}
	return err
}

type demo struct {
	start  time.Time
	dir    string
	server string
	ask    bool // the codes are on the server's terminal
	codes  chan string
}

// say tells one step, with the time since the start.
func (d *demo) say(who, format string, args ...any) {
	fmt.Printf("%8.3fs  %-7s %s\n", time.Since(d.start).Seconds(), who, fmt.Sprintf(format, args...))
}

func title(format string, args ...any) { fmt.Printf("\n%s\n", fmt.Sprintf(format, args...)) }

// serve starts a private server on a free port.
func (d *demo) serve(ctx context.Context, group *errgroup.Group, linger time.Duration) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	cfg := server.Defaults()
	cfg.Data = filepath.Join(d.dir, "data")
	cfg.Listen = l.Addr().String()
	cfg.Sessions.Linger = linger
	cfg.SIP.Mode = server.SIPOff // the telephones are pretended
	begin := time.Now()
	s, err := server.New(ctx, cfg, server.Options{
		Version: version, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Show:     func(line string) { d.codes <- line },
		Listener: l,
	})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	group.Go(func() error { return s.Run(ctx) })
	d.server = cfg.URL()
	d.say("server", "started in %s at %s; acknowledged means: %s", time.Since(begin).Round(time.Millisecond), d.server, s.Durability())
	return nil
}

// actor is one side: a device and what has happened to it.
type actor struct {
	*demo
	name   string
	number string
	id     *client.Identity
	device *client.Device
	stop   context.CancelFunc

	mu     sync.Mutex
	change chan struct{} // closed and renewed at each event
	state  wire.SessionState
	got    []wire.Envelope
	closed bool
}

func (d *demo) story(ctx context.Context, group *errgroup.Group) error {
	alice := &actor{demo: d, name: "alice", number: aliceNumber, change: make(chan struct{})}
	bob := &actor{demo: d, name: "bob", number: bobNumber, change: make(chan struct{})}
	steps := []func(context.Context, *errgroup.Group, *actor, *actor) error{
		d.enrol, d.call, d.talk, d.picture, d.cut, d.hangUp,
	}
	for _, step := range steps {
		if err := step(ctx, group, alice, bob); err != nil {
			return err
		}
	}
	title("That was a data session beside a phone call. Next:")
	fmt.Println("  tandem serve                           a server that stays; its data is in ./data")
	fmt.Println("  tandem device --help                   a device beside a real softphone")
	fmt.Println("  docs/concepts.md                       how it works")
	return nil
}

// enrol: both devices prove their numbers and connect.
func (d *demo) enrol(ctx context.Context, group *errgroup.Group, alice, bob *actor) error {
	title("1. Two devices prove their numbers")
	for _, a := range []*actor{alice, bob} {
		if err := a.prove(ctx); err != nil {
			return err
		}
		if err := a.connect(ctx, group); err != nil {
			return err
		}
	}
	return nil
}

func (a *actor) prove(ctx context.Context) error {
	begin := time.Now()
	id, err := client.NewIdentity(a.server)
	if err != nil {
		return err
	}
	a.say(a.name, "makes a key, and asks for a code to %s", a.number)
	info, err := client.Enrol(ctx, id, client.Enrolling{Number: a.number, Name: strings.ToUpper(a.name[:1]) + a.name[1:], Client: "tandem-demo/" + version}, a.code)
	if err != nil {
		return err
	}
	a.id = id
	a.say(a.name, "is device %s… for %s, proved until %s (%s)", info.ID[:12], a.number, info.Bindings[0].Expires.Format("2 Jan 2006"), time.Since(begin).Round(time.Millisecond))
	return nil
}

// code gets the code: from the private server, or from the person at the terminal.
func (a *actor) code(ctx context.Context, _ wire.Enrolment, last error) (string, error) {
	if last != nil && !a.ask {
		return "", last
	}
	if a.ask {
		fmt.Fprintf(os.Stderr, "           the server has printed a code for %s. Code: ", a.number)
		return readLine(ctx)
	}
	select {
	case line := <-a.codes:
		a.say("server", "%s", strings.TrimSpace(line))
		for _, word := range strings.FieldsFunc(line, func(r rune) bool { return r < '0' || r > '9' }) {
			if len(word) == 6 {
				return word, nil
			}
		}
		return "", fmt.Errorf("no code in %q", line)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// connect runs the device in the background until a.stop.
func (a *actor) connect(ctx context.Context, group *errgroup.Group) error {
	ctx, a.stop = context.WithCancel(ctx)
	ready := make(chan struct{})
	from := map[wire.SessionID]client.Position{}
	if a.device != nil && a.state.ID != "" {
		from[a.state.ID] = a.device.Position(a.state.ID)
	}
	begin := time.Now()
	var once sync.Once
	device, err := client.Connect(client.Config{Identity: a.id, From: from, Events: client.Events{
		Connected: func(wire.Welcome) { once.Do(func() { close(ready) }) },
		Session: func(s wire.SessionState) {
			a.event(func() { a.state, a.closed = s, a.closed || s.Phase == wire.Closed })
		},
		Message: func(e wire.Envelope) {
			if e.From != "" && e.From != a.state.You {
				a.event(func() { a.got = append(a.got, e) })
			}
		},
	}})
	if err != nil {
		return err
	}
	a.device = device
	failed := make(chan error, 1)
	group.Go(func() error {
		failed <- device.Run(ctx)
		return nil
	})
	select {
	case <-ready:
		a.say(a.name, "is connected: signed the server's challenge over a WebSocket (%s)", time.Since(begin).Round(100*time.Microsecond))
		return nil
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *actor) event(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	close(a.change)
	a.change = make(chan struct{})
}

// until waits for a condition, with patience.
func (a *actor) until(ctx context.Context, what string, cond func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		a.mu.Lock()
		ok, change := cond(), a.change
		a.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return fmt.Errorf("%s waited in vain: %s", a.name, what)
		}
	}
}

func (a *actor) report(ctx context.Context, other *actor, dir tel.Direction, s tel.State) error {
	n, err := tel.ParseIdentity(other.number, "")
	if err != nil {
		return err
	}
	d := a.id.Details(n, dir, s)
	d.Ref.Local = "demo-call"
	begin := time.Now()
	if _, err := a.device.Report(ctx, wire.Report{PartyDetails: d}); err != nil {
		return err
	}
	a.say(a.name, "reports: my %s call with %s is %s (stored in %s)", dir, other.number, s, time.Since(begin).Round(100*time.Microsecond))
	return nil
}

// call: both sides report, and the session opens.
func (d *demo) call(ctx context.Context, _ *errgroup.Group, alice, bob *actor) error {
	title("2. Alice calls Bob. Each side tells the server who is on the call")
	if err := alice.report(ctx, bob, tel.Outgoing, tel.Ringing); err != nil {
		return err
	}
	if err := bob.report(ctx, alice, tel.Incoming, tel.Ringing); err != nil {
		return err
	}
	if err := alice.report(ctx, bob, tel.Outgoing, tel.Active); err != nil {
		return err
	}
	begin := time.Now()
	if err := bob.report(ctx, alice, tel.Incoming, tel.Active); err != nil {
		return err
	}
	open := func(a *actor) func() bool { return func() bool { return a.state.Phase == wire.InCall } }
	if err := errors.Join(alice.until(ctx, "the session to open", open(alice)), bob.until(ctx, "the session to open", open(bob))); err != nil {
		return err
	}
	d.say("server", "the two reports speak of the same call: session %s… is open (%s after the second report)", alice.state.ID[:12], time.Since(begin).Round(100*time.Microsecond))
	for _, m := range alice.state.Members {
		d.say("", "  member %s: %s", m.ID, label(m))
	}
	return nil
}

// talk: text both ways.
func (d *demo) talk(ctx context.Context, _ *errgroup.Group, alice, bob *actor) error {
	title("3. Text passes beside the voice")
	lines := []struct {
		from, to *actor
		text     string
	}{
		{alice, bob, "I'm at the corner of Mill Lane, by the red door."},
		{bob, alice, "Send me a picture?"},
	}
	for _, l := range lines {
		had := len(l.to.got)
		begin := time.Now()
		seq, err := l.from.device.Send(ctx, l.from.state.ID, wire.KindText, wire.Text{Text: l.text})
		if err != nil {
			return err
		}
		acked := time.Since(begin)
		if err := l.to.until(ctx, "the message", func() bool { return len(l.to.got) > had }); err != nil {
			return err
		}
		d.say(l.from.name, "“%s”  (number %d; stored in %s)", l.text, seq, acked.Round(100*time.Microsecond))
	}
	return nil
}

// picture: a photo goes, resumable, with progress, and is compared.
func (d *demo) picture(ctx context.Context, _ *errgroup.Group, alice, bob *actor) error {
	title("4. A picture")
	content, err := redDoor()
	if err != nil {
		return err
	}
	had := len(bob.got)
	begin := time.Now()
	err = alice.device.API().Upload(ctx, client.Upload{
		Session: alice.state.ID, Content: bytes.NewReader(content), Size: int64(len(content)), Name: "red-door.png",
		Progress: func(sent, size int64) {
			d.say("alice", "uploads red-door.png: %s %3d %%", bar(sent, size), 100*sent/size)
		},
	})
	if err != nil {
		return err
	}
	d.say("alice", "it is stored (%s in %s)", bytesText(int64(len(content))), time.Since(begin).Round(time.Millisecond))
	if err := bob.until(ctx, "the picture", func() bool { return len(bob.got) > had }); err != nil {
		return err
	}
	f, err := client.FileOf(bob.got[had])
	if err != nil {
		return err
	}
	d.say("bob", "is offered %s: %s, %d × %d", f.Name, f.Type, f.Width, f.Height)
	path, err := bob.device.API().Download(ctx, f, filepath.Join(d.dir, "bob"), nil)
	if err != nil {
		return err
	}
	got, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	same := "it is, byte for byte, what Alice sent"
	if !bytes.Equal(got, content) {
		same = "its pixels are Alice's; the server stripped what cameras add"
	}
	d.say("bob", "has it: %s", same)
	if f.Preview != "" {
		n, err := bob.device.API().Get(ctx, f.Preview, io.Discard)
		if err != nil {
			return err
		}
		d.say("bob", "and a preview of %s", bytesText(n))
	}
	return nil
}

// cut: one side loses its connection and misses nothing.
func (d *demo) cut(ctx context.Context, group *errgroup.Group, alice, bob *actor) error {
	title("5. Bob's connection breaks, and comes back")
	bob.stop()
	d.say("bob", "has lost his connection")
	const n = 3
	for i := range n {
		if _, err := alice.device.Send(ctx, alice.state.ID, wire.KindText, wire.Text{Text: fmt.Sprintf("Are you still there? (%d)", i+1)}); err != nil {
			return err
		}
	}
	d.say("alice", "sends %d messages meanwhile: all stored", n)
	had := len(bob.got)
	if err := bob.connect(ctx, group); err != nil {
		return err
	}
	begin := time.Now()
	if err := bob.until(ctx, "what he missed", func() bool { return len(bob.got) >= had+n }); err != nil {
		return err
	}
	d.say("bob", "has what he missed: %d messages, in order, none twice (%s)", len(bob.got)-had, time.Since(begin).Round(100*time.Microsecond))
	return nil
}

// hangUp: the call ends, the session lingers and closes.
func (d *demo) hangUp(ctx context.Context, _ *errgroup.Group, alice, bob *actor) error {
	title("6. They hang up. The session stays for a while")
	if err := alice.report(ctx, bob, tel.Outgoing, tel.Ended); err != nil {
		return err
	}
	if err := bob.report(ctx, alice, tel.Incoming, tel.Ended); err != nil {
		return err
	}
	after := func(a *actor) func() bool { return func() bool { return a.state.Phase == wire.AfterCall || a.closed } }
	if err := errors.Join(alice.until(ctx, "the end of the call", after(alice)), bob.until(ctx, "the end of the call", after(bob))); err != nil {
		return err
	}
	left := time.Until(bob.state.Until)
	d.say("server", "both devices are told: the call is over, the session is open for another %s", left.Round(100*time.Millisecond))
	had := len(alice.got)
	if _, err := bob.device.Send(ctx, bob.state.ID, wire.KindText, wire.Text{Text: "Found it. Thank you!"}); err != nil {
		return err
	}
	if err := alice.until(ctx, "the last message", func() bool { return len(alice.got) > had }); err != nil {
		return err
	}
	d.say("bob", "“Found it. Thank you!”  (after the call)")
	if left > 30*time.Second {
		d.say("", "(to see it close, come back then; `tandem demo` without --server closes in seconds)")
		return nil
	}
	closed := func(a *actor) func() bool { return func() bool { return a.closed } }
	if err := errors.Join(alice.until(ctx, "the session to close", closed(alice)), bob.until(ctx, "the session to close", closed(bob))); err != nil {
		return err
	}
	d.say("server", "the session is closed (%s)", alice.state.Reason)
	return nil
}

func bar(n, of int64) string {
	const width = 20
	full := int(width * n / max(of, 1))
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}

// redDoor paints the picture: a door in a wall, with grain so that it is as heavy as a photo.
func redDoor() ([]byte, error) {
	const w, h = 800, 600
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	seed := uint32(1)
	for y := range h {
		for x := range w {
			seed = seed*1664525 + 1013904223
			grain := float64(seed>>24) / 16
			c := [3]float64{150, 140, 130} // wall
			switch {
			case x > 300 && x < 500 && y > 150:
				c = [3]float64{170, 30, 35} // door
				if math.Hypot(float64(x-475), float64(y-380)) < 9 {
					c = [3]float64{220, 190, 90} // knob
				}
			case y > 540:
				c = [3]float64{90, 90, 95} // pavement
			}
			shade := 0.75 + 0.25*math.Sin(float64(x+y)/120)
			img.SetNRGBA(x, y, color.NRGBA{R: uint8(c[0]*shade + grain), G: uint8(c[1]*shade + grain), B: uint8(c[2]*shade + grain), A: 255})
		}
	}
	var b bytes.Buffer
	err := png.Encode(&b, img)
	return b.Bytes(), err
}
