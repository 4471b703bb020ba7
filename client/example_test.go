package client_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// exampleServer starts a server that prints its one-time codes into a channel.
func exampleServer() (url string, codes <-chan string, stop func()) {
	dir, err := os.MkdirTemp("", "tandem-example-")
	must(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	printed := make(chan string, 4)
	cfg := server.Defaults()
	cfg.Data, cfg.Listen = filepath.Join(dir, "data"), l.Addr().String()
	cfg.Engine.HeadroomMiB = 16
	digits := regexp.MustCompile(`\b\d{6}\b`)
	s, err := server.New(context.Background(), cfg, server.Options{
		Version: "example", Logger: slog.New(slog.DiscardHandler), Listener: l,
		Show: func(line string) { printed <- digits.FindString(line) },
	})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return cfg.URL(), printed, func() {
		cancel()
		must(<-done)
		must(os.RemoveAll(dir))
	}
}

func must(err error) {
	if err != nil {
		log.Panic(err)
	}
}

// enrolled returns the identity of a device whose number is proved.
func enrolled(ctx context.Context, url string, codes <-chan string, name, number string) *client.Identity {
	id, err := client.NewIdentity(url)
	must(err)
	_, err = client.Enrol(ctx, id, client.Enrolling{Number: number, Name: name},
		func(context.Context, wire.Enrolment, error) (string, error) { return <-codes, nil })
	must(err)
	return id
}

// inCall returns two running devices that have reported a call with each other.
func inCall(ctx context.Context, url string, codes <-chan string, bobs client.Events) (alice *client.Device, session wire.SessionID, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 2)
	opened := make(chan wire.SessionID, 2)
	told := bobs.Session
	bobs.Session = func(s wire.SessionState) {
		if told != nil {
			told(s)
		}
		opened <- s.ID
	}
	run := func(name, number string, e client.Events) *client.Device {
		d, err := client.Connect(client.Config{Identity: enrolled(ctx, url, codes, name, number), Events: e})
		must(err)
		go func() { ended <- d.Run(ctx) }()
		return d
	}
	alice = run("Alice", "+442079460001", client.Events{})
	bob := run("Bob", "+442079460002", bobs)
	report := func(d *client.Device, other string, dir tel.Direction) {
		id, err := tel.ParseIdentity(other, "")
		must(err)
		_, err = d.Report(ctx, wire.Report{PartyDetails: tel.PartyDetails{Other: id, Direction: dir, State: tel.Active}})
		must(err)
	}
	report(alice, "+442079460002", tel.Outgoing)
	report(bob, "+442079460001", tel.Incoming)
	return alice, <-opened, func() {
		cancel()
		must(<-ended)
		must(<-ended)
	}
}

// A device proves that it has a number, and keeps what it got.
func ExampleEnrol() {
	url, codes, stop := exampleServer()
	defer stop()
	ctx := context.Background()

	id, err := client.NewIdentity(url)
	must(err)
	info, err := client.Enrol(ctx, id, client.Enrolling{Number: "020 7946 0001", Region: "GB", Name: "Alice"},
		func(ctx context.Context, e wire.Enrolment, last error) (string, error) {
			if last != nil {
				fmt.Println("once more, please:", last)
			}
			return <-codes, nil // here, a program asks its user
		})
	must(err)
	dir, err := os.MkdirTemp("", "tandem-device-")
	must(err)
	defer os.RemoveAll(dir)
	must(id.Save(filepath.Join(dir, "device.json")))

	fmt.Println(info.Name, "has proved", id.Number)
	// Output: Alice has proved +442079460001
}

// A device connects, reports a call, and is told when the data session opens.
func ExampleConnect() {
	url, codes, stop := exampleServer()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())

	connected := make(chan bool)
	d, err := client.Connect(client.Config{
		Identity: enrolled(ctx, url, codes, "Alice", "+442079460001"),
		Events: client.Events{
			Connected: func(wire.Welcome) { close(connected) },
			Session:   func(s wire.SessionState) { fmt.Println("session:", s.Phase) },
			Message:   func(e wire.Envelope) { fmt.Println("message:", e.Kind) },
		},
	})
	must(err)
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	<-connected

	other, err := tel.ParseIdentity("+442079460002", "")
	must(err)
	ack, err := d.Report(ctx, wire.Report{PartyDetails: tel.PartyDetails{Other: other, Direction: tel.Outgoing, State: tel.Active}})
	must(err)
	fmt.Printf("reported; in a session yet: %v\n", ack.Session != "")

	cancel()
	fmt.Println("ended:", <-ended)
	// Output:
	// reported; in a session yet: false
	// ended: <nil>
}

// A message goes to everybody else in the session.
func ExampleDevice_Send() {
	url, codes, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	arrived := make(chan wire.Envelope)
	alice, session, hangUp := inCall(ctx, url, codes, client.Events{Message: func(e wire.Envelope) {
		if e.Kind == wire.KindText {
			arrived <- e
		}
	}})
	defer hangUp()

	_, err := alice.Send(ctx, session, wire.KindText, wire.Text{Text: "I'm at the corner of Mill Lane."})
	must(err) // now it is stored

	e := <-arrived
	fmt.Printf("%s: %s\n", e.Kind, e.Body)
	// Output: text: {"text":"I'm at the corner of Mill Lane."}
}

// A file is sent, offered to the others, and fetched.
func ExampleDevice_SendFile() {
	url, codes, stop := exampleServer()
	defer stop()
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "tandem-files-")
	must(err)
	defer os.RemoveAll(dir)
	offered := make(chan wire.File)
	alice, session, hangUp := inCall(ctx, url, codes, client.Events{Message: func(e wire.Envelope) {
		if f, err := client.FileOf(e); err == nil {
			offered <- f
		}
	}})
	defer hangUp()

	path := filepath.Join(dir, "directions.txt")
	must(os.WriteFile(path, []byte("Second left, then the red door.\n"), 0o600))
	go func() { must(alice.SendFile(ctx, session, path, nil)) }()

	f := <-offered
	// Bob's device would use its own API; alice's may read the file as well.
	got, err := alice.API().Download(ctx, f, filepath.Join(dir, "inbox"), nil)
	must(err)
	text, err := os.ReadFile(got)
	must(err)
	fmt.Printf("%s, %d bytes: %s", filepath.Base(got), f.Size, text)
	// Output: directions.txt, 32 bytes: Second left, then the red door.
}

// A telephone's events are reported as they come, and repeated while a call lasts.
func ExampleDevice_ReportCalls() {
	url, codes, stop := exampleServer()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	d, err := client.Connect(client.Config{Identity: enrolled(ctx, url, codes, "Alice", "+442079460001")})
	must(err)
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()

	other, err := tel.ParseIdentity("+442079460002", "")
	must(err)
	changes := make(chan tel.PartyDetails, 2) // filled by whatever listens to the telephone
	call := tel.PartyDetails{Other: other, Direction: tel.Incoming, State: tel.Active, Ref: tel.Ref{CallID: "7f3a"}}
	changes <- call
	call.State = tel.Ended
	changes <- call
	close(changes)
	d.ReportCalls(ctx, changes, 0, func(r client.Reported) { fmt.Println(r.Details.State, r.Err) })

	cancel()
	must(<-ended)
	// Output:
	// active <nil>
	// ended <nil>
}
