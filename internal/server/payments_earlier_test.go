package server_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/payment"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/wire"
)

// TestPaymentOfEarlierVersion: of a payment that was begun by a version that did not keep who is paid, who is paid learns what came of it, also
// when the device that pays has left.
func TestPaymentOfEarlierVersion(t *testing.T) {
	for name, leaves := range map[string]bool{"the device is there": false, "the device has left": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			customer, shop, id := w.pair(alice, bob)
			tablet := w.enrol(alice)
			at := "/v1/sessions/" + string(id)
			if r := w.ask("POST", at+"/join", w.token(tablet), ""); r.status != 200 {
				t.Fatal(r)
			}
			r := w.ask("POST", at+"/overlays", w.token(shop), `{"id":"o1","document":{"version":1,"id":"till","language":"en","regions":[{"id":"a","grid":{"column":0,"row":0},
				"text":{"en":"Pay"},"actions":[{"type":"pay","item":"lamp","amount":{"minor":1999,"currency":"EUR"}}]}]}}`)
			var sent wire.Sent
			check(t, json.Unmarshal([]byte(r.body), &sent))
			if sent.Seq == 0 {
				t.Fatal(r)
			}
			if leaves {
				if r := w.ask("POST", at+"/leave", w.token(customer), `{"device_only":true}`); r.status >= 300 {
					t.Fatal(r)
				}
			}

			e, now := w.server.Engine(), time.Now()
			p := payment.Payment{
				Tenant: wire.DefaultTenant, Session: id, ID: "pay_earlier", Attempt: 1, Side: 1, Device: customer.Device, Account: "box-office",
				Seq: sent.Seq, Overlay: "till", Region: "a", Type: overlay.Pay, Item: "lamp", Amount: overlay.Amount{Minor: 1999, Currency: "EUR"},
				Checkout: "cs_1", State: wire.PaymentPaid, Begun: now, Expires: now.Add(time.Hour), Ended: now,
			}
			key := store.Key(string(p.Tenant), string(p.Session), string(p.ID))
			_, err := store.TableOf[payment.Payment](e, "payments").Put(t.Context(), key, p, 0)
			check(t, err)
			_, err = store.TableOf[payment.Watch](e, "payments-due").Put(t.Context(), key, payment.Watch{Tenant: p.Tenant, Session: p.Session, ID: p.ID, Next: now}, 0)
			check(t, err)
			w.stop()
			w.start() // the new version; it looks at what is due

			for who, token := range map[string]string{"who is paid": w.token(shop), "the customer's other device": w.token(tablet)} {
				w.until(fmt.Sprintf("%s learns that it is paid", who), func() bool {
					return strings.Contains(string(w.ask("GET", at+"/messages", token, "").body), `"payment":{"id":"pay_earlier"`)
				})
			}
		})
	}
}
