package coupling_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/tandem-call/tandem/internal/coupling"
	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
	"github.com/tandem-call/tandem/wire"
)

// TestChoicesHoldOnEveryNode: what one node was told, the others know at once, not only when they
// look the next time.
func TestChoicesHoldOnEveryNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, err := pebblestore.Open(pebblestore.Options{Dir: t.TempDir(), Headroom: 1, Relaxed: true})
		if err != nil {
			t.Fatal(err)
		}
		defer engine.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait() // for the nodes, before the engine closes
		defer cancel()
		var nodes [2]*coupling.Service
		for i := range nodes {
			if nodes[i], err = coupling.New(ctx, coupling.Config{Engine: engine, Devices: struct{ coupling.Devices }{}}); err != nil {
				t.Fatal(err)
			}
			go func() {
				if err := nodes[i].Run(ctx); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		const tenant, pad = wire.TenantID("acme"), wire.DeviceID("dev_pad")
		look := func(when string, told, text, file bool) {
			t.Helper()
			synctest.Wait()
			for i, n := range nodes {
				if n.HasChoices(tenant) != told || n.Gets(tenant, pad, wire.DataText) != text || n.Gets(tenant, pad, wire.DataFile) != file {
					t.Errorf("%s: node %d has choices: %v, gets text: %v, files: %v", when, i, n.HasChoices(tenant), n.Gets(tenant, pad, wire.DataText), n.Gets(tenant, pad, wire.DataFile))
				}
			}
		}
		look("without a choice", false, true, true)
		if err := nodes[0].Choose(ctx, tenant, pad, wire.PartyMemberChange{Gets: []wire.DataKind{wire.DataFile}}); err != nil {
			t.Fatal(err)
		}
		look("files only, chosen at one", false, false, true)
		if err := nodes[1].Choose(ctx, tenant, pad, wire.PartyMemberChange{Session: wire.ChoiceTold}); err != nil {
			t.Fatal(err)
		}
		look("told only, chosen at the other", true, false, true)
		if err := nodes[1].Unchoose(ctx, tenant, pad); err != nil {
			t.Fatal(err)
		}
		look("taken back", true, true, true) // that nobody has a choice left is not looked for
	})
}
