package client_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/wire"
)

func TestIdentityFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alice", "device.json")
	if _, err := client.Load(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("before: %v", err)
	}
	id, err := client.NewIdentity("https://tandem.example")
	check(t, err)
	id.Device, id.Name = "dev_1", "Alice"
	check(t, id.Save(path))
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("others may read the key: %v, %v", st.Mode(), err)
	}
	back, err := client.Load(path)
	check(t, err)
	if !back.Key.Equal(id.Key) || back.Device != id.Device || back.Name != id.Name || back.Server != id.Server {
		t.Errorf("%+v came back as %+v", id, back)
	}
	whole, err := os.ReadFile(path)
	check(t, err)
	for name, content := range map[string]string{
		"empty": "", "cut": string(whole[:len(whole)/2]), "no key": `{"server":"x"}`,
		"a broken key": strings.Replace(string(whole), "BEGIN PRIVATE KEY-----\\nM", "BEGIN PRIVATE KEY-----\\nN", 1),
	} {
		check(t, os.WriteFile(path, []byte(content), 0o600))
		if _, err := client.Load(path); !errors.Is(err, client.ErrIdentity) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if l, err := os.ReadDir(filepath.Dir(path)); err != nil || len(l) != 1 {
		t.Errorf("left behind: %v, %v", l, err)
	}
}

// TestEnrolMistyped: a mistyped code is asked for again, with what the server said.
func TestEnrolMistyped(t *testing.T) {
	w := newWorld(t, nil)
	id, err := client.NewIdentity("http://" + w.proxy.addr())
	check(t, err)
	var said []wire.Code
	code := ""
	ask := func(ctx context.Context, e wire.Enrolment, last error) (string, error) {
		said = append(said, problemCode(last))
		if code == "" {
			if code, err = w.code(ctx, e, nil); err != nil {
				return "", err
			}
			return strings.Map(func(r rune) rune { return '0' + (r-'0'+1)%10 }, code), nil
		}
		return code, nil
	}
	info, err := client.Enrol(w.ctx, id, client.Enrolling{Number: aliceNumber, Name: "alice", HTTP: w.http()}, ask)
	check(t, err)
	if len(said) != 2 || said[0] != "" || said[1] != wire.CodeWrongCode {
		t.Errorf("asked with %q", said)
	}
	if id.Device != info.ID || id.Number.String() != aliceNumber || id.Name != "alice" {
		t.Errorf("enrolled as %+v", id)
	}
	gaveUp := errors.New("no more")
	_, err = client.Enrol(w.ctx, id, client.Enrolling{Number: aliceNumber, HTTP: w.http()},
		func(context.Context, wire.Enrolment, error) (string, error) { return "", gaveUp })
	if !errors.Is(err, gaveUp) {
		t.Errorf("given up: %v", err)
	}
}

// TestUnknownDevice: a server that does not know the device is believed the third time.
func TestUnknownDevice(t *testing.T) {
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			w := newWorld(t, nil)
			id := w.enrol("alice", aliceNumber)
			id.Device = "dev_nobody"
			tries := 0
			d, err := client.Connect(client.Config{Identity: id, HTTP: w.http(), Transport: tr,
				Events: client.Events{Disconnected: func(error) { tries++ }}})
			check(t, err)
			if err := d.Run(w.ctx); problemCode(err) != wire.CodeUnauthenticated || tries != 3 {
				t.Errorf("after %d tries: %v", tries, err)
			}
		})
	}
}

func TestConnectConfig(t *testing.T) {
	id, err := client.NewIdentity("http://127.0.0.1:1")
	check(t, err)
	if _, err := client.Connect(client.Config{Identity: id}); !errors.Is(err, client.ErrIdentity) {
		t.Errorf("not enrolled: %v", err)
	}
	id.Device = "dev_1"
	for name, c := range map[string]client.Config{
		"transport": {Transport: "pigeon"},
		"client":    {Client: strings.Repeat("x", 129)},
		"from":      {From: map[wire.SessionID]client.Position{"a b": {}}},
	} {
		c.Identity = id
		if _, err := client.Connect(c); !errors.Is(err, client.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
