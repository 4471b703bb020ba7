package spec

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// tandem is the program under test, built once.
var tandem string

func TestMain(m *testing.M) {
	if addr := os.Getenv(receiverAddr); addr != "" {
		os.Exit(receive(addr))
	}
	if addr := os.Getenv(pushAddr); addr != "" {
		os.Exit(pushService(addr))
	}
	dir, err := os.MkdirTemp("", "tandem-spec-")
	if err == nil {
		tandem = filepath.Join(dir, "tandem")
		var out []byte
		if out, err = exec.Command("go", "build", "-o", tandem, "../cmd/tandem").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "spec: build tandem:", err)
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
