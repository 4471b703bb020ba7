package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/agent"
	"github.com/tandem-call/tandem/internal/coupling"
	"github.com/tandem-call/tandem/internal/credential"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/edge/network/sip"
	"github.com/tandem-call/tandem/internal/edge/transport/httpapi"
	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/internal/guest"
	"github.com/tandem-call/tandem/internal/notify"
	"github.com/tandem-call/tandem/internal/overlay"
	"github.com/tandem-call/tandem/internal/party"
	"github.com/tandem-call/tandem/internal/passport"
	"github.com/tandem-call/tandem/internal/payment"
	"github.com/tandem-call/tandem/internal/place"
	"github.com/tandem-call/tandem/internal/profile"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/internal/webhook"
	document "github.com/tandem-call/tandem/overlay"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// standing are the tables whose records no time removes, with the reason. A record of any other
// is gone when its time is over, and those of a party at the latest when nobody has proved its
// number for long: TestEveryTableIsSwept.
var standing = map[string]string{
	"shared_identities": "an operator's mark",
	"party_bars":        "an operator's mark",
	"tenants":           "an operator's",
	"webhooks":          "an operator's",
	"keys":              "secrets of the server; nothing of a party",
	"place-key":         "a secret of the server; nothing of a party",
	"profile-tenants":   "names of tenants; nothing of a party",
	"audit-bounds":      "where the audit log begins and ends; nothing of a party",
	"text_optouts":      "the wish to be left alone",
	"agents":            "an operator's",
	"agent-seats":       "an operator's",
	"agent-settings":    "an operator's",
	"overlays":          "a provider's; nothing of a party",
	"overlay-versions":  "a provider's; nothing of a party",
	"payment-accounts":  "a provider's; nothing of a party",
}

// elsewhere are tables of a cluster, each with the test that sees its records go.
var elsewhere = map[string]string{filesBySession: "internal/files: TestSharedLimits"}

// tables finds the tables that the program has, by the names that the sources give them.
func tables(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{filesBySession: true, "profile-picture-parts": true}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "storetest") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 2 {
				return true
			}
			fun := call.Fun
			if x, ok := fun.(*ast.IndexExpr); ok {
				fun = x.X
			}
			sel, ok := fun.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "TableOf" {
				return true
			}
			switch name := call.Args[1].(type) {
			case *ast.BasicLit:
				s, err := strconv.Unquote(name.Value)
				if err != nil {
					t.Fatal(err)
				}
				found[s] = true
			case *ast.Ident:
				if name.Name != "filesBySession" {
					t.Errorf("%s: the name of the table is not written there", path)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A table that is new must be in docs/privacy.md, with how long it keeps what and who removes it;
// and one that is gone must not.
func TestPrivacyPageListsEveryTable(t *testing.T) {
	page, err := os.ReadFile("../../docs/privacy.md")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 4 {
			continue
		}
		for _, m := range regexp.MustCompile("`([a-z_-]+)`").FindAllStringSubmatch(cells[0], -1) {
			said[m[1]] = true
			for i, what := range []string{1: "what it holds", 2: "how long"} {
				if what != "" && strings.TrimSpace(cells[i]) == "" {
					t.Errorf("docs/privacy.md does not say of %s %s", m[1], what)
				}
			}
			if strings.TrimSpace(strings.Trim(cells[3], " |")) == "" {
				t.Errorf("docs/privacy.md does not say who removes records of %s", m[1])
			}
		}
	}
	all := tables(t)
	if len(all) < 40 {
		t.Fatalf("only %d tables: this test looks for the wrong thing", len(all))
	}
	for table := range all {
		if !said[table] {
			t.Errorf("docs/privacy.md does not say how long records of the table %s are kept", table)
		}
	}
	for table := range said {
		if !all[table] {
			t.Errorf("docs/privacy.md speaks of a table %s, which there is not", table)
		}
	}
}

// byTable are records of a stopped server's store by table; of logs by "log".
func byTable(t *testing.T, dir string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, r := range kept(t, dir) {
		table, rest, _ := strings.Cut(r, " ")
		switch {
		case table == "file":
			table = "files/"
		case table[0] == 't':
			table = table[1:]
		default:
			table = "log"
		}
		all[table] = append(all[table], rest)
	}
	return all
}

// Every table is filled; then time passes, and what may stand is all that stands. A table that is
// new fails this test until something here fills it, and something in the program sweeps it.
func TestEveryTableIsSwept(t *testing.T) {
	dir, roots := t.TempDir(), filepath.Join(t.TempDir(), "roots.pem")
	synctest.Test(t, func(t *testing.T) {
		writeRoot(t, roots)
		settings := func(c *Config) {
			c.Webhooks.HTTP, c.Webhooks.Networks, c.Evidence.STIRRoots = true, []string{"127.0.0.0/8"}, roots
			c.Texts.Enabled = true
		}
		e := idleEra(t, dir, settings)
		e.fillTables()
		if err := e.engine.Close(); err != nil {
			t.Fatal(err)
		}
		before := byTable(t, dir)
		for table := range tables(t) {
			if len(before[table]) == 0 && elsewhere[table] == "" {
				t.Errorf("the table %s is empty: fill it in fillTables, so that this test sees its records go", table)
			}
		}
		for _, what := range []string{"log", "files/"} {
			if len(before[what]) == 0 {
				t.Errorf("there is no %s: this test looks for the wrong thing", what)
			}
		}
		cfg := Defaults()
		for range 2 { // what has lapsed is written in the audit log, which goes later
			time.Sleep(time.Duration(cfg.Codes.BindingDays)*24*time.Hour + cfg.Retention.Lapsed + cfg.Retention.Audit)
			e = newEra(t, dir, settings)
			time.Sleep(2*sweepEvery + time.Minute)
			synctest.Wait()
			e.stop()
		}
		for table, left := range byTable(t, dir) {
			if table == "audit" { // which says what it removed
				left = slices.DeleteFunc(left, func(r string) bool { return strings.Contains(r, `"what":"audit.pruned"`) })
			}
			if standing[table] == "" && len(left) > 0 {
				t.Errorf("left of %s: %q", table, left)
			}
		}
	})
}

func writeRoot(t *testing.T, path string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err == nil {
		err = os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fillTables makes one record at least in every table, of a server whose parts do not run.
func (e *era) fillTables() {
	ctx, tenant := e.t.Context(), wire.DefaultTenant
	ok := func(err error) {
		e.t.Helper()
		if err != nil {
			e.t.Fatal(err)
		}
	}
	const alice, bob = "+442079460001", "+442079460002"
	// Operators: a webhook, a key, marks, a tenant.
	hook, err := e.hooks.Add(ctx, webhook.NewEndpoint{Tenant: tenant, URL: "http://127.0.0.1:9/"})
	ok(err)
	_, err = e.hooks.Test(ctx, tenant, hook.ID)
	ok(err)
	_, err = e.hooks.Announce(ctx, tenant, "dev_x", time.Now())
	ok(err)
	_, _, err = e.keys.Create(ctx, credential.New{Tenant: tenant, Role: credential.Element, Name: "switch", Speaks: []string{"+44"}, Expires: time.Now().Add(time.Hour)})
	ok(err)
	ok(e.parties.MarkShared(ctx, tenant, mustID(e.t, "+442079460900"), party.Trunk, ""))
	ok(e.parties.Bar(ctx, tenant, mustID(e.t, "+442079460901"), ""))
	_, err = tenants{e.Server}.SetTenant(ctx, httpapi.Caller{Tenant: tenant, Role: httpapi.RoleOperator, Credential: adminCredential}, "acme", wire.TenantRequest{Hosts: []string{"acme.example"}})
	ok(err)

	// A call, its session, and what goes on in it.
	a, b := e.enrol(alice), e.enrol(bob)
	e.report(a, bob, tel.Outgoing, tel.Active)
	session := e.report(b, alice, tel.Incoming, tel.Active)
	_, err = e.send(ctx, tenant, a.Device, wire.Envelope{Type: wire.TypeSend, ID: "1", Session: session, Kind: wire.KindText, Body: []byte(`{"text":"x"}`)})
	ok(err)
	up, _, err := e.files.Create(ctx, files.NewUpload{Tenant: tenant, Device: a.Device, Session: session, Name: "plan.txt", Length: 5})
	ok(err)
	_, err = e.files.Append(ctx, tenant, a.Device, up.ID, 0, strings.NewReader("plans"), nil)
	ok(err)
	ok(e.files.Finish(ctx, tenant, a.Device, up.ID))
	ok(e.places.Know(ctx, tenant, mustID(e.t, alice), place.Call{Ref: tel.Ref{CallID: "c"}, With: mustID(e.t, bob)}, wire.Place{Type: "Feature", Geometry: wire.PlacePoint{Type: "Point", Coordinates: []float64{0, 51}}}, time.Time{}))
	ok(e.places.SetAbility(ctx, tenant, session, a.Device, wire.PlaceAbility{Provide: true, Show: "map"}))
	asked, err := e.places.Ask(ctx, tenant, session, b.Device, wire.PlaceAskRequest{To: "1"})
	ok(err)
	ok(e.places.Answer(ctx, tenant, session, a.Device, wire.PlaceAnswer{Request: asked.Request, Consent: wire.ConsentNever}))

	_, err = e.overlays.SetDraft(ctx, credential.Owner{Tenant: tenant, All: true}, "menu", wire.OverlayDraft{
		Title: map[string]string{"en": "Menu"}, Numbers: []string{bob},
		Document: []byte(`{"version":1,"id":"menu","language":"en","regions":[{"id":"a","grid":{"column":0,"row":0},"text":{"en":"x"}}]}`),
	})
	ok(err)
	_, err = e.overlays.Publish(ctx, credential.Owner{Tenant: tenant, All: true}, "menu")
	ok(err)
	ok(e.overlays.Opened(ctx, tenant, session, 1, nil))
	_, err = store.TableOf[overlay.Kept](e.engine, "overlay-answers").Put(ctx, store.Key(string(tenant), "menu"), overlay.Kept{Version: 1, Until: time.Now().Add(overlay.MaxKept)}, 0)
	ok(err)

	_, err = e.payments.SetAccount(ctx, credential.Owner{Tenant: tenant, All: true}, "till", wire.PaymentAccountDraft{Numbers: []string{bob}, Key: "sk_test_x", HookSecret: "whsec_x"})
	ok(err)
	paid := payment.Payment{
		Tenant: tenant, Session: session, ID: "pay_1", Attempt: 1, Device: a.Device, Account: "till", Seq: 1, Overlay: "menu", Region: "a", Type: "pay", Item: "Menu",
		Amount: document.Amount{Minor: 990, Currency: "EUR"}, Checkout: "cs_1", State: wire.PaymentPaid, Reference: "pi_1", Begun: time.Now(), Expires: time.Now().Add(payment.OpenFor), Ended: time.Now(),
	}
	_, err = store.TableOf[payment.Payment](e.engine, "payments").Put(ctx, store.Key(string(tenant), string(session), "pay_1"), paid, 0)
	ok(err)
	_, err = store.TableOf[payment.Watch](e.engine, "payments-due").Put(ctx, store.Key(string(tenant), string(session), "pay_1"), payment.Watch{Tenant: tenant, Session: session, ID: "pay_1", Next: time.Now()}, 0)
	ok(err)

	one, two := mustID(e.t, alice), mustID(e.t, bob)
	ok(e.places.SetRules(ctx, tenant, two, wire.PlaceRules{Rules: []wire.PlaceRule{{Identity: one, Consent: wire.ConsentCall}}}))

	// Profiles and address books.
	general := []string{"fn"}
	_, err = e.people.Change(ctx, tenant, one, a.Device, wire.ProfileChange{Set: []wire.ProfileField{{ID: "fn", Name: "fn", Value: "Alice"}}, General: &general})
	ok(err)
	_, err = e.people.SetPicture(ctx, tenant, one, a.Device, "photo", []byte("GIF89a\x01\x00\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"))
	ok(err)
	_, err = e.people.Send(ctx, tenant, session, a.Device, wire.ProfileSend{})
	ok(err)
	cards, err := profile.ParseCards([]byte("BEGIN:VCARD\nVERSION:4.0\nFN:Eve\nTEL:+442079460007\nEND:VCARD\n"))
	ok(err)
	_, err = e.people.Import(ctx, tenant, two, cards)
	ok(err)
	ok(e.people.SetRule(ctx, tenant, two, wire.ContactRule{Identity: mustID(e.t, "+442079460007"), Keep: wire.KeepNever}))
	ok(e.people.Opened(ctx, tenant, session))
	ok(e.parties.Block(ctx, tenant, two, mustID(e.t, "+442079460008")))

	// An agent, signed in and in a session.
	line, err := tel.ParseNumber("+442079460902", "")
	ok(err)
	_, err = e.agents.Set(ctx, tenant, "anna", line, wire.AgentRequest{Name: "Anna"})
	ok(err)
	ok(e.agents.SetSettings(ctx, tenant, agent.Defaults))
	way, err := e.agents.Invite(ctx, tenant, "anna", wire.AgentCodeRequest{Reusable: true})
	ok(err)
	desk, err := client.NewIdentity("http://nowhere.example")
	ok(err)
	signed, err := desk.Assert(strings.Split(way.Code, "_")[1])
	ok(err)
	anna, err := e.agents.SignIn(ctx, tenant, wire.AgentSignIn{Code: way.Code, Key: desk.PublicKey(), Assertion: signed}, device.Thumbprint(desk.PublicKey()))
	ok(err)
	ok(e.agents.Observe(ctx, agent.Seen{Tenant: tenant, Session: "s_x", Phase: wire.InCall, Opened: time.Now(), Members: []agent.Member{
		{Device: anna.Device, Side: 1, Joined: time.Now()}, {Device: a.Device, Side: 2, Principal: one, Shown: one, Joined: time.Now()},
	}}))

	// Devices: a television, a code that nobody types, an enrolment that nobody finishes.
	tv, err := client.NewIdentity("http://nowhere.example")
	ok(err)
	pending, err := e.couples.Begin(ctx, tenant, wire.CouplingRequest{Key: tv.PublicKey(), Name: "television"}, netip.MustParseAddr("192.0.2.1"))
	ok(err)
	phone, err := e.devices.Get(ctx, tenant, a.Device)
	ok(err)
	voucher, err := coupling.VoucherOf(phone, tel.Number{}, time.Now())
	ok(err)
	voucher.Made = wire.MadeByCode
	offer, err := e.couples.Offer(ctx, voucher, wire.Permanent, 0)
	ok(err)
	proof, err := tv.Assert(pending.ID)
	ok(err)
	_, err = e.couples.Claim(ctx, tenant, pending.ID, offer.Code, proof)
	ok(err)
	unused, err := client.NewIdentity("http://nowhere.example")
	ok(err)
	_, err = e.couples.Begin(ctx, tenant, wire.CouplingRequest{Key: unused.PublicKey()}, netip.MustParseAddr("192.0.2.1"))
	ok(err)
	ok(e.couples.Choose(ctx, tenant, a.Device, wire.PartyMemberChange{Session: wire.ChoiceTold, Gets: []wire.DataKind{wire.DataFile}}))
	three, err := tel.ParseNumber("+442079460003", "")
	ok(err)
	_, err = e.devices.Begin(ctx, device.Request{Tenant: tenant, Number: three, Key: unused.PublicKey(), Remote: netip.MustParseAddr("192.0.2.1")})
	ok(err)

	_, err = e.devices.BeginMailbox(ctx, tenant, a.Device, mustID(e.t, "alice@example.com"))
	ok(err)

	// What wakes and invites; wishes.
	ok(e.wakes.Wake(ctx, notify.Matter{Tenant: tenant, Number: three, Ref: "x", Push: wire.Push{Kind: wire.PushInvite, Until: time.Now().Add(time.Minute), Invite: &wire.Invite{ID: "inv_x"}}}))
	ok(e.guests.Use(ctx, "psh_x", guest.Link{Tenant: tenant, Device: a.Device, Claimant: one, Used: time.Now()}))
	_, err = e.guests.Allow(ctx, tenant, three, one, "inv_x")
	ok(err)
	ok(e.guests.OptOut(ctx, three, true))
	ok(e.guests.SetWays(ctx, tenant, two, []wire.Way{wire.WayText}))

	// A SIP element that never comes back, and a PASSporT.
	memory, err := e.newSIPMemory()
	ok(err)
	memory.at = store.Key("another", "host")
	ok(memory.Seen(ctx, time.Now()))
	ok(memory.Keep(ctx, "call", sip.Kept{CallID: "call", Began: time.Now()}))
	_, err = store.TableOf[passport.Use](e.engine, "passports").Put(ctx, store.Key(string(tenant), "x"), passport.Use{For: "call", Until: time.Now().Add(time.Minute)}, 0)
	ok(err)
}
