package natsstore_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tandem-call/tandem/internal/edge/store/natsstore"
	"github.com/tandem-call/tandem/internal/store"
)

// many is more than a server lists at once: so many more that what goes on between two listings has the time for it.
const many = 150_000

// fill writes records past the store, thousands at a time.
func fill(t *testing.T, js jetstream.JetStream, subjects string, n int) {
	t.Helper()
	for i := range n {
		if _, err := js.PublishAsync(fmt.Sprintf(subjects, i), nil, jetstream.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		t.Fatal("the records were not written")
	}
}

// TestLongListing: a table and a stream of logs with more names than a server lists at once are listed whole, also while names come and go
// between the pages of the listing.
func TestLongListing(t *testing.T) {
	srv := serve(t, &server.Options{StoreDir: t.TempDir()})
	s := open(t, natsstore.Options{URL: srv.ClientURL(), Replicas: 1, Tables: []string{"big"}, Timeout: time.Minute})
	js := operate(t, srv.ClientURL())
	fill(t, js, "$KV.tandem_big.k.%07d", many)

	keys := func(t *testing.T, ctx context.Context) map[string]bool {
		t.Helper()
		began, found := time.Now(), map[string]bool{}
		list, err := s.Keys(ctx, "big")
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range list {
			found[k] = true
		}
		t.Logf("%d keys in %v", len(list), time.Since(began))
		if len(found) != len(list) {
			t.Errorf("%d of %d keys are there twice", len(list)-len(found), len(list))
		}
		return found
	}
	whole := func(t *testing.T, found map[string]bool) {
		t.Helper()
		for i := range many {
			if k := fmt.Sprintf("k/%07d", i); !found[k] {
				t.Fatalf("%s is missing of %d keys", k, len(found))
			}
		}
	}
	for name, ctx := range map[string]context.Context{"as the leader says": t.Context(), "proved": store.Linearizable(t.Context())} {
		t.Run(name, func(t *testing.T) { whole(t, keys(t, ctx)) })
	}

	t.Run("records", func(t *testing.T) {
		n := 0
		for r, err := range s.ScanAfter(t.Context(), "big", "k/", "k/0149499") {
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("k/%07d", 149_500+n); r.Key != want {
				t.Fatalf("record %q, want %q", r.Key, want)
			}
			n++
		}
		if n != many-149_500 {
			t.Errorf("%d records after the 149,500th", n)
		}
	})

	// A name before all others is there when a page is asked for, and away when the next one is.
	t.Run("names come and go", func(t *testing.T) {
		bucket, err := js.Stream(t.Context(), "KV_tandem_big")
		if err != nil {
			t.Fatal(err)
		}
		there := false
		move := func() {
			var err error
			if there = !there; there {
				_, err = js.Publish(t.Context(), "$KV.tandem_big.a", nil)
			} else {
				err = bucket.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.tandem_big.a"))
			}
			if err != nil {
				t.Error(err)
			}
		}
		move()
		moves := 0
		sub, err := js.Conn().Subscribe("$JS.EVENT.ADVISORY.API", func(m *nats.Msg) { // the server tells of each request that it has answered
			if strings.Contains(string(m.Data[:min(len(m.Data), 2000)]), "$JS.API.STREAM.INFO.KV_tandem_big") {
				moves++
				move()
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			whole(t, keys(t, t.Context()))
		}
		if err := sub.Unsubscribe(); err != nil {
			t.Error(err)
		}
		if moves == 0 {
			t.Error("nothing moved")
		}
	})
}
