package server_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/structs"
	"github.com/knadh/koanf/v2"

	"github.com/tandem-call/tandem/internal/server"
)

// TestExampleIsTheManual: the sample file names every key, with the default.
func TestExampleIsTheManual(t *testing.T) {
	const path = "../../tandem.example.yaml"
	shown, known := koanf.New("."), koanf.New(".")
	check(t, shown.Load(file.Provider(path), yaml.Parser()))
	check(t, known.Load(structs.Provider(server.Defaults(), "koanf"), nil))
	for _, key := range known.Keys() {
		if !shown.Exists(key) {
			t.Errorf("the sample does not show %s", key)
		}
	}
	c, err := server.Load(path, nil)
	check(t, err)
	// As text, in which an empty list is as good as none.
	if got, want := fmt.Sprintf("%+v", c), fmt.Sprintf("%+v", server.Defaults()); got != want {
		t.Errorf("the sample says\n%s\nand the defaults are\n%s", got, want)
	}
	check(t, c.Validate())
}

func TestLoad(t *testing.T) {
	write := func(s string) string {
		path := filepath.Join(t.TempDir(), "tandem.yaml")
		check(t, os.WriteFile(path, []byte(s), 0o600))
		return path
	}
	c, err := server.Load(write("calls:\n  lease: 90s\norigins: [\"https://a.example\"]\nlog:\n  level: warn\n"),
		[]string{"HOME=/root", "TANDEM_LOG_LEVEL=debug", "TANDEM_TRUSTED_PROXIES=10.0.0.0/8,192.168.0.0/16", "TANDEM_SESSIONS_LINGER=5m", "TANDEM_SERVER=x"})
	check(t, err)
	if c.Calls.Lease != 90*time.Second || c.Log.Level != "debug" || c.Sessions.Linger != 5*time.Minute ||
		!slices.Equal(c.TrustedProxies, []string{"10.0.0.0/8", "192.168.0.0/16"}) || !slices.Equal(c.Origins, []string{"https://a.example"}) {
		t.Errorf("%+v", c)
	}
	for _, x := range []struct {
		name, file string
		env        []string
		says       string
	}{
		{"unknown key", "lisen: x\n", nil, `unknown key "lisen"`},
		{"unknown key in a section", "tls:\n  moad: acme\n", nil, `unknown key "tls.moad"`},
		{"not YAML", "tls: [", nil, ".yaml"},
		{"key twice", "data: a\ndata: b\n", nil, "data"},
		{"wrong type", "limits:\n  members: many\n", nil, "members"},
		{"not a duration", "calls:\n  lease: soon\n", nil, "lease"},
		{"unknown variable", "", []string{"TANDEM_LISEN=x"}, "TANDEM_LISEN"},
		{"variable of the wrong type", "", []string{"TANDEM_LIMITS_MEMBERS=many"}, "members"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := server.Load(write(x.file), x.env)
			if !errors.Is(err, server.ErrConfig) || !strings.Contains(err.Error(), x.says) {
				t.Errorf("%v does not say %q", err, x.says)
			}
		})
	}
	if _, err := server.Load(filepath.Join(t.TempDir(), "none.yaml"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestValidate: what cannot work is refused at the start, in words of the configuration.
func TestValidate(t *testing.T) {
	for _, x := range []struct {
		says string
		set  func(*server.Config)
	}{
		{"data:", func(c *server.Config) { c.Data = "" }},
		{"listen:", func(c *server.Config) { c.Listen = "here" }},
		{"public_url:", func(c *server.Config) { c.PublicURL = "tandem.example" }},
		{"origins:", func(c *server.Config) { c.Origins = []string{"app.example"} }},
		{"origins:", func(c *server.Config) { c.Origins = []string{"https://app.example/"} }},
		{"origins:", func(c *server.Config) { c.Origins = []string{"*"} }},
		{"trusted_proxies:", func(c *server.Config) { c.TrustedProxies = []string{"10.0.0.1"} }},
		{"tls.mode:", func(c *server.Config) { c.Listen = "0.0.0.0:8080" }},
		{"codes.sender: dev", func(c *server.Config) { c.Listen, c.TLS.Mode = "0.0.0.0:8080", "local" }},
		{"codes.sender:", func(c *server.Config) { c.Codes.Sender = "pigeon" }},
		{"codes.url:", func(c *server.Config) { c.Codes.Sender = "kannel" }},
		{"codes.binding_days:", func(c *server.Config) { c.Codes.BindingDays = 0 }},
		{"engine.durability:", func(c *server.Config) { c.Engine.Durability = "hope" }},
		{"engine.headroom_mib:", func(c *server.Config) { c.Engine.HeadroomMiB = 1 }},
		{"calls.partial_details:", func(c *server.Config) { c.Calls.PartialDetails = "maybe" }},
		{"calls.lease:", func(c *server.Config) { c.Calls.Lease = 0 }},
		{"calls.invites_per_hour:", func(c *server.Config) { c.Calls.InvitesPerHour = -1 }},
		{"calls.invites_per_hour:", func(c *server.Config) { c.Calls.InvitesPerHour = 0 }},
		{"sip.connections_per_address:", func(c *server.Config) { c.SIP.ConnectionsPerAddress = 0 }},
		{"sessions.linger_max:", func(c *server.Config) { c.Sessions.LingerMax = time.Second }},
		{"files.session_mib:", func(c *server.Config) { c.Files.SessionMiB = 1 }},
		{"limits.frame_kib:", func(c *server.Config) { c.Limits.FrameKiB = 1 }},
		{"limits.members:", func(c *server.Config) { c.Limits.Members = 1 }},
		{"limits.device_connections:", func(c *server.Config) { c.Limits.DeviceConnections = 0 }},
		{"limits.pending_per_address:", func(c *server.Config) { c.Limits.PendingPerAddress = 0 }},
		{"limits.heartbeat:", func(c *server.Config) { c.Limits.Heartbeat = time.Millisecond }},
		{"log.level:", func(c *server.Config) { c.Log.Level = "loud" }},
		{"log.format:", func(c *server.Config) { c.Log.Format = "xml" }},
	} {
		c := server.Defaults()
		x.set(&c)
		if err := c.Validate(); !errors.Is(err, server.ErrConfig) || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v", x.says, err)
		}
	}
	c := server.Defaults()
	c.Data, c.Log.Level = "", "loud"
	if err := c.Validate(); !strings.Contains(err.Error(), "data:") || !strings.Contains(err.Error(), "log.level:") {
		t.Errorf("not all at once: %v", err)
	}
	check(t, server.Defaults().Validate())
}

// TestStartFaults: a server that cannot start says why, and leaves nothing behind that
// would keep the next one from starting.
func TestStartFaults(t *testing.T) {
	w := newWorld(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(file, nil, 0o600))
	for _, x := range []struct {
		says string
		set  func(*server.Config)
	}{
		{"another server is running on", func(c *server.Config) { c.Data = w.dir }},
		{"data directory", func(c *server.Config) { c.Data = filepath.Join(file, "data") }},
		{"tls.cert", func(c *server.Config) { c.TLS.Mode = "files" }},
		{"no such file", func(c *server.Config) { c.TLS.Mode, c.TLS.Cert, c.TLS.Key = "files", file+".none", file+".none" }},
		{"tls.names", func(c *server.Config) { c.TLS.Mode = "acme" }},
		{"address already in use", func(c *server.Config) { c.Listen = taken.Addr().String() }},
	} {
		t.Run(x.says, func(t *testing.T) {
			c := server.Defaults()
			c.Data, c.Listen, c.Engine.HeadroomMiB = filepath.Join(t.TempDir(), "data"), "127.0.0.1:0", 16
			x.set(&c)
			s, err := server.New(t.Context(), c, server.Options{Version: "test", Logger: discard, Show: func(string) {}})
			if err == nil || !strings.Contains(err.Error(), x.says) {
				t.Fatalf("%v, %v", s, err)
			}
			if x.says == "address already in use" { // all is released again
				c.Listen = "127.0.0.1:0"
				s, err := server.New(t.Context(), c, server.Options{Version: "test", Logger: discard, Show: func(string) {}})
				check(t, err)
				ctx := done(t)
				check(t, s.Run(ctx))
			}
		})
	}
	if r := w.ask("GET", "/readyz", "", ""); r.status != 200 {
		t.Errorf("the server that was there first: %+v", r)
	}
}

// TestThroughProxies: X-Forwarded-For is believed as far as trusted proxies wrote it.
func TestThroughProxies(t *testing.T) {
	trusted := func(a netip.Addr) bool { return netip.MustParsePrefix("10.0.0.0/8").Contains(a) }
	for _, c := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"198.51.100.1", nil, "198.51.100.1"},
		{"198.51.100.1", []string{"203.0.113.9"}, "198.51.100.1"}, // anybody can write it
		{"10.0.0.1", nil, "10.0.0.1"},
		{"10.0.0.1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"10.0.0.1", []string{"1.2.3.4, 203.0.113.9"}, "203.0.113.9"}, // the first is the client's own word
		{"10.0.0.1", []string{"1.2.3.4", "203.0.113.9, 10.0.0.2"}, "203.0.113.9"},
		{"10.0.0.1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"10.0.0.1", []string{"unknown"}, "10.0.0.1"},
		{"10.0.0.1", []string{"203.0.113.9, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"10.0.0.1", []string{"2001:db8::1"}, "2001:db8::1"},
		{"10.0.0.1", []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		{"10.0.0.1", []string{" 203.0.113.9 "}, "203.0.113.9"},
	} {
		if got := server.ThroughProxies(netip.MustParseAddr(c.peer), c.forwarded, trusted); got != netip.MustParseAddr(c.want) {
			t.Errorf("%s, forwarded for %q: %s, want %s", c.peer, c.forwarded, got, c.want)
		}
	}
}
