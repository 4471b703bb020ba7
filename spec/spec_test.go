package spec

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tandem-call/tandem/internal/edge/store/natsstore/natstest"
)

// tandem is the program under test and nats the cluster's server, each built once.
var tandem, nats string

func TestMain(m *testing.M) {
	if addr := os.Getenv(receiverAddr); addr != "" {
		os.Exit(receive(addr))
	}
	if addr := os.Getenv(pushAddr); addr != "" {
		os.Exit(pushService(addr))
	}
	if nodes := os.Getenv(fleetNodes); nodes != "" {
		os.Exit(fleet(nodes, os.Args[1:]))
	}
	dir, err := os.MkdirTemp("", "tandem-spec-")
	if err == nil {
		tandem = filepath.Join(dir, "tandem")
		var out []byte
		if out, err = exec.Command("go", "build", "-o", tandem, "../cmd/tandem").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err == nil {
		nats, err = natstest.Build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "spec: build the programs:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func TestSpec(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireUniqueNames:  true,
		RequireExplicitExec: false,
		Setup:               setup,
		Cmds:                commands,
	})
}
