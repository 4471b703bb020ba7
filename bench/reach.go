package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/edge/push/webpush/webpushtest"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// inviteDelay stands for calls.invite_delay, which lets a second report come before the other
// side is asked: as short as can be, so that the rest is seen.
const inviteDelay = time.Millisecond

// late is when a benchmark gives up waiting.
const late = time.Minute

// joiner brings the other side in, once it has been reached, and returns the device that is to
// connect.
type joiner func(ctx context.Context) (*client.Identity, error)

// ways are how the other side is reached after the only report of a call.
var ways = []struct {
	name, title string
	// prepare has a device be reached; nil: it is connected, and answers there.
	prepare func(ctx context.Context, w *reachWorld, other *client.Identity) (joiner, error)
}{
	{"connected", "asked over its connection, accepts", nil},
	{"push", "asked by Web Push, accepts from the notification, connects", byPush},
	{"unasked", "woken by Web Push, joins unasked, connects", unasked},
	{"text", "gets a link by text message, opens it as a guest, connects", byText},
}

// awaken subscribes the device at the push service.
func awaken(ctx context.Context, w *reachWorld, other *client.Identity, change wire.DeviceChange) (func(context.Context) (wire.PushID, error), error) {
	api := client.NewAPI(other, nil)
	var key wire.PushKey
	if err := api.Call(ctx, http.MethodGet, "/v1/push-key", nil, &key); err != nil {
		return nil, err
	}
	browser := w.service.Subscribe(key.Key)
	change.App = &wire.App{Platform: "webpush", ID: browser.JSON}
	if err := api.Call(ctx, http.MethodPatch, "/v1/device", change, &wire.DeviceInfo{}); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (wire.PushID, error) {
		select {
		case m := <-browser.Got:
			var p struct{ Push wire.PushID }
			return p.Push, json.Unmarshal(m.Payload, &p)
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}, nil
}

func byPush(ctx context.Context, w *reachWorld, other *client.Identity) (joiner, error) {
	woken, err := awaken(ctx, w, other, wire.DeviceChange{})
	return func(ctx context.Context) (*client.Identity, error) {
		id, err := woken(ctx)
		if err != nil {
			return nil, err
		}
		api := client.NewAPI(other, nil)
		if _, err := api.Push(ctx, id); err != nil { // to show what it is about
			return nil, err
		}
		return other, api.AnswerPush(ctx, id, true)
	}, err
}

func unasked(ctx context.Context, w *reachWorld, other *client.Identity) (joiner, error) {
	yes := true
	woken, err := awaken(ctx, w, other, wire.DeviceChange{Unasked: &yes})
	return func(ctx context.Context) (*client.Identity, error) {
		id, err := woken(ctx)
		if err != nil {
			return nil, err
		}
		evidence := wire.Report{PartyDetails: tel.PartyDetails{State: tel.Active, Direction: tel.Incoming, Ref: tel.Ref{Local: "1"}}}
		_, err = client.NewAPI(other, nil).JoinPush(ctx, id, evidence)
		return other, err
	}, err
}

func byText(ctx context.Context, w *reachWorld, other *client.Identity) (joiner, error) {
	// Nobody is enrolled under this number.
	if err := client.NewAPI(other, nil).Call(ctx, http.MethodDelete, "/v1/device", nil, nil); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (*client.Identity, error) {
		select {
		case link := <-w.links:
			guest, err := client.NewIdentity(w.url)
			if err != nil {
				return nil, err
			}
			_, err = client.OpenLink(ctx, guest, link, "", nil)
			return guest, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}, nil
}

// reach measures how long it takes from the only report of a call until the other side's device
// has been told, over its own connection, that it is in the session. People answer at once, push
// service and gateway are here and take no time: what is left is Tandem's part.
func reach(b *bench) (err error) {
	n := min(b.pairs, 100)
	dir := filepath.Join(b.dir, "reach")
	ids, err := enrol(context.Background(), dir, 0, 2*n*len(ways), false)
	if err != nil {
		return err
	}
	w, err := newReachWorld(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	for i := range n {
		for k, way := range ways {
			pair := ids[2*(i*len(ways)+k):][:2]
			took, err := w.measure(way.prepare, pair[0], pair[1])
			if err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			b.add("reach "+way.name, float64(took.Microseconds())/1000)
		}
	}
	b.printf("## From one report to the other side joined\n\n%d calls in each way, one after the other; `calls.invite_delay` (2 s by itself) is %v here.\n\n", n, inviteDelay)
	b.row("the other side", "median, ms", "95 of 100, ms")
	for _, way := range ways {
		b.row(way.title, b.quantile("reach "+way.name, 0.5), b.quantile("reach "+way.name, 0.95))
	}
	b.endTable()
	return nil
}

// reachWorld is a server with what reaches people.
type reachWorld struct {
	url     string
	service *webpushtest.Service
	links   chan string // from text messages
	stop    context.CancelFunc
	running *errgroup.Group
}

var linkInText = regexp.MustCompile(`http\S+/g/psh_\w+`)

func newReachWorld(dir string) (*reachWorld, error) {
	listen := func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }
	own, err1 := listen()
	pushes, err2 := listen()
	texts, err3 := listen()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	w := &reachWorld{
		url: "http://" + own.Addr().String(), service: &webpushtest.Service{URL: "http://" + pushes.Addr().String()},
		links: make(chan string, 16), stop: stop, running: &errgroup.Group{},
	}
	gateway := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m struct{ Text string }
		if json.NewDecoder(r.Body).Decode(&m) == nil {
			w.links <- linkInText.FindString(m.Text)
		}
	})
	for l, h := range map[net.Listener]http.Handler{pushes: w.service, texts: gateway} {
		s := &http.Server{Handler: h}
		context.AfterFunc(ctx, func() { _ = s.Close() })
		w.running.Go(func() error {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	cfg := server.Defaults()
	cfg.Data, cfg.SIP.Listen = dir, "127.0.0.1:0"
	cfg.Calls.InviteDelay = inviteDelay
	cfg.Push.Web.HTTP, cfg.Push.Web.Networks = true, []string{"127.0.0.0/8"}
	cfg.Texts.Enabled = true
	cfg.Codes.Sender, cfg.Codes.URL = "webhook", "http://"+texts.Addr().String()
	s, err := server.New(ctx, cfg, server.Options{
		Version: "bench", Listener: own, Show: func(string) {},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	w.running.Go(func() error { return s.Run(ctx) })
	return w, nil
}

func (w *reachWorld) close() error {
	w.stop()
	return w.running.Wait()
}

// measure has one report by caller bring other in.
func (w *reachWorld) measure(prepare func(context.Context, *reachWorld, *client.Identity) (joiner, error), caller, other *client.Identity) (time.Duration, error) {
	caller.Server, other.Server = w.url, w.url
	ctx, cancel := context.WithTimeout(context.Background(), late)
	defer cancel()
	var devices errgroup.Group
	defer func() { cancel(); _ = devices.Wait() }() // they end with the context
	joined := make(chan struct{}, 64)
	connect := func(id *client.Identity) error {
		ready := make(chan struct{}, 64)
		invites := make(chan wire.InvitationID, 8)
		d, err := client.Connect(client.Config{Identity: id, Events: client.Events{
			Connected: func(wire.Welcome) { ready <- struct{}{} },
			Session: func(s wire.SessionState) {
				if s.Phase == wire.InCall {
					joined <- struct{}{}
				}
			},
			Invite: func(i wire.Invite) { invites <- i.ID },
		}})
		if err != nil {
			return err
		}
		devices.Go(func() error { return d.Run(ctx) })
		devices.Go(func() error {
			select {
			case i := <-invites:
				return d.Answer(ctx, i, true)
			case <-ctx.Done():
				return nil
			}
		})
		return wait(ctx, ready)
	}
	var join joiner
	var err error
	if prepare == nil {
		err = connect(other)
	} else {
		join, err = prepare(ctx, w, other)
	}
	if err != nil {
		return 0, err
	}
	api := client.NewAPI(caller, nil)
	if _, err := api.Bearer(ctx); err != nil {
		return 0, err
	}
	start := time.Now()
	report := wire.Report{PartyDetails: tel.PartyDetails{Other: other.Number.Identity(), State: tel.Active, Direction: tel.Outgoing, Ref: tel.Ref{Local: "1"}}}
	answered := make(chan error, 1)
	go func() { // nobody waits for the answer, which calls.answer_every delays
		_, err := api.Report(ctx, report)
		answered <- err
	}()
	if join != nil {
		in, err := join(ctx)
		if err != nil {
			return 0, errors.Join(err, <-answered)
		}
		if err := connect(in); err != nil {
			return 0, errors.Join(err, <-answered)
		}
	}
	err = wait(ctx, joined)
	return time.Since(start), errors.Join(err, <-answered)
}

func wait(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
