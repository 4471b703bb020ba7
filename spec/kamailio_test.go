package spec

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tandem-call/tandem/internal/testpeer"
)

// startKamailio starts a real Kamailio with a configuration of the script's.
func startKamailio(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: kamailio NAME FILE")
	}
	modules, err := testpeer.KamailioModules()
	ts.Check(err)
	dir := filepath.Join(worldOf(ts).work, args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	cfg := filepath.Join(dir, "kamailio.cfg")
	ts.Check(os.WriteFile(cfg, []byte(strings.ReplaceAll(ts.ReadFile(args[1]), "MODULES", modules)), 0o644))
	start(ts, args[0], environ(ts), "kamailio", "-DD", "-E", "-f", cfg, "-Y", dir)
}
