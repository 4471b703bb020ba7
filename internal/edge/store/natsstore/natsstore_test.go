package natsstore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/tandem-call/tandem/internal/edge/store/natsstore"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a NATS server with JetStream on dir until the test ends, or until stop.
func serve(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.NoLog, o.NoSigs, o.JetStream = "127.0.0.1", true, true, true
	if o.Port == 0 {
		o.Port = -1
	}
	srv, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { stop(srv) })
	if !srv.ReadyForConnections(20 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	return srv
}

func stop(srv *server.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}

func open(t *testing.T, o natsstore.Options) *natsstore.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := natsstore.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// prefixes gives each directory of the suite its own streams on the shared servers.
type prefixes map[string]string

func (p prefixes) of(dir string) string {
	if p[dir] == "" {
		p[dir] = fmt.Sprintf("t%d", len(p))
	}
	return p[dir]
}

func TestSuite(t *testing.T) {
	srv := serve(t, &server.Options{StoreDir: t.TempDir()})
	p := prefixes{}
	storetest.Run(t, func(t *testing.T, dir string) store.Engine {
		return open(t, natsstore.Options{URL: srv.ClientURL(), Replicas: 1, Prefix: p.of(dir)})
	})
}
