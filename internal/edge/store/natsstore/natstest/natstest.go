// Package natstest runs a JetStream cluster of real nats-server processes on this machine,
// for the tests of several packages: to be killed, stopped and started again.
package natstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tandem-call/tandem/internal/testport"
)

// Cluster is servers that know each other.
type Cluster struct{ Servers []*Server }

// Server is one nats-server process.
type Server struct {
	bin, dir string
	on       []string // begins the command
	addr     string
	cmd      *exec.Cmd // nil: not running
	log      *os.File
}

// Build builds nats-server, in the version that go.mod asks for, into dir.
func Build(ctx context.Context, dir string) (path string, err error) {
	path = filepath.Join(dir, "nats-server")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		return "", fmt.Errorf("natstest: build nats-server: %w\n%s", err, out)
	}
	return path, nil
}

// Place is where a server runs.
type Place struct {
	// Host is the address it listens on.
	Host string
	// On begins the command that starts it, such as nsenter's; empty: it runs here.
	On []string
	// Sync is JetStream's sync_interval; empty: the server's default.
	Sync string
}

// Start starts a cluster of n servers on 127.0.0.1, as StartOn does.
func Start(ctx context.Context, dir string, n int) (*Cluster, error) {
	return StartOn(ctx, dir, slices.Repeat([]Place{{Host: "127.0.0.1"}}, n))
}

// StartOn builds nats-server and starts a server at each place, with their data in dir. It
// returns when JetStream answers on each of them.
func StartOn(ctx context.Context, dir string, places []Place) (*Cluster, error) {
	bin, err := Build(ctx, dir)
	if err != nil {
		return nil, err
	}
	n := len(places)
	base, err := testport.Free(2 * n)
	if err != nil {
		return nil, fmt.Errorf("natstest: %w", err)
	}
	var routes []string
	for i, p := range places {
		routes = append(routes, fmt.Sprintf("\"nats://%s:%d\"", p.Host, base+n+i))
	}
	c := &Cluster{}
	for i, p := range places {
		s := &Server{bin: bin, on: p.On, dir: filepath.Join(dir, "nats-"+strconv.Itoa(i)), addr: p.Host + ":" + strconv.Itoa(base+i)}
		c.Servers = append(c.Servers, s)
		sync := ""
		if p.Sync != "" {
			sync = ", sync_interval: " + p.Sync
		}
		config := fmt.Sprintf("server_name: n%d\nlisten: %q\njetstream { store_dir: %q%s }\ncluster { name: tandem, listen: \"%s:%d\", routes: [%s] }\n",
			i, s.addr, s.dir, sync, p.Host, base+n+i, strings.Join(routes, ", "))
		if err = os.MkdirAll(s.dir, 0o700); err == nil {
			err = os.WriteFile(s.config(), []byte(config), 0o600)
		}
		if err == nil {
			err = s.Start()
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("natstest: %w", err), c.Stop())
		}
	}
	if err := c.Ready(ctx); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// URL names all servers, for a client.
func (c *Cluster) URL() string {
	var urls []string
	for _, s := range c.Servers {
		urls = append(urls, s.URL())
	}
	return strings.Join(urls, ",")
}

// Ready waits until JetStream answers on every server that runs.
func (c *Cluster) Ready(ctx context.Context) error {
	for _, s := range c.Servers {
		for s.cmd != nil {
			err := s.answers(ctx)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("natstest: %s is not ready: %w", s.addr, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return nil
}

// Stop ends all servers and waits for them.
func (c *Cluster) Stop() error {
	var faults []error
	for _, s := range c.Servers {
		if s.cmd != nil {
			faults = append(faults, s.End(syscall.SIGKILL))
		}
	}
	return errors.Join(faults...)
}

// URL for a client.
func (s *Server) URL() string { return "nats://" + s.addr }

func (s *Server) config() string { return s.dir + ".conf" }

// Start starts the server, again on the same data.
func (s *Server) Start() error {
	log, err := os.OpenFile(s.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	command := append(slices.Clone(s.on), s.bin, "-c", s.config())
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return errors.Join(err, log.Close())
	}
	s.cmd, s.log = cmd, log
	return nil
}

// Signal sends a signal: SIGSTOP and SIGCONT hold a server and let it go on.
func (s *Server) Signal(sig os.Signal) error { return s.cmd.Process.Signal(sig) }

// End sends a signal that ends the server, and waits.
func (s *Server) End(sig syscall.Signal) error {
	if err := s.Signal(sig); err != nil {
		return fmt.Errorf("natstest: end %s: %w", s.addr, err)
	}
	_ = s.cmd.Wait() // how it ended is what was asked for
	s.cmd = nil
	return s.log.Close()
}

// answers returns nil when JetStream is ready.
func (s *Server) answers(ctx context.Context) error {
	nc, err := nats.Connect(s.URL(), nats.Timeout(time.Second), nats.RetryOnFailedConnect(false))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err = js.AccountInfo(ctx)
	return err
}

// Forget removes the streams and buckets of a prefix, so that the servers do not drown in
// those of tests that are over.
func (c *Cluster) Forget(ctx context.Context, prefix string) error {
	nc, err := nats.Connect(c.URL())
	if err != nil {
		return fmt.Errorf("natstest: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("natstest: %w", err)
	}
	var faults []error
	names := js.StreamNames(ctx)
	for name := range names.Name() {
		if strings.HasPrefix(strings.TrimPrefix(name, "KV_"), prefix+"_") {
			faults = append(faults, js.DeleteStream(ctx, name))
		}
	}
	return errors.Join(append(faults, names.Err())...)
}

// Leader is the server that leads a stream.
func (c *Cluster) Leader(ctx context.Context, stream string) (*Server, error) {
	nc, err := nats.Connect(c.URL())
	if err != nil {
		return nil, fmt.Errorf("natstest: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("natstest: %w", err)
	}
	st, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("natstest: stream %s: %w", stream, err)
	}
	for i, s := range c.Servers {
		if info := st.CachedInfo(); info.Cluster != nil && info.Cluster.Leader == "n"+strconv.Itoa(i) {
			return s, nil
		}
	}
	return nil, fmt.Errorf("natstest: stream %s has no leader", stream)
}
