package server_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/coder/websocket"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/audit"
	"github.com/tandem-call/tandem/internal/edge/network/sip"
	"github.com/tandem-call/tandem/internal/edge/push/webpush/webpushtest"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// kept lists where a stopped server's data has one of the texts: in the store's records, read
// raw, and in the bytes of all files.
func (w *world) kept(texts ...string) (found []string) {
	w.t.Helper()
	look := func(where string, b []byte) {
		for _, text := range texts {
			if bytes.Contains(b, []byte(text)) {
				found = append(found, fmt.Sprintf("%s has %q", where, text))
			}
		}
	}
	db, err := pebble.Open(filepath.Join(w.dir, server.StoreDir, "db"), &pebble.Options{ReadOnly: true, ErrorIfNotExists: true, Logger: quiet{}})
	check(w.t, err)
	it, err := db.NewIter(nil)
	check(w.t, err)
	records := 0
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		check(w.t, err)
		look(fmt.Sprintf("record %q", it.Key()), slices.Concat(it.Key(), []byte(" "), v))
		records++
	}
	check(w.t, errors.Join(it.Error(), it.Close(), db.Close()))
	if records < 5 {
		w.t.Fatalf("only %d records: this is not the store", records)
	}
	check(w.t, filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		look(strings.TrimPrefix(path, w.dir), append(b, path...))
		return err
	}))
	return found
}

// quiet is a log for Pebble.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

// text waits for a text message with a link.
func (w *world) text() (message string) {
	w.t.Helper()
	w.until("the text message", func() bool {
		select {
		case message = <-w.codes:
		default:
		}
		return strings.Contains(message, "/g/psh_")
	})
	return message
}

// send sends a text over HTTP.
func (w *world) send(id *client.Identity, session wire.SessionID, text string) {
	w.t.Helper()
	r := w.ask("POST", "/v1/sessions/"+string(session)+"/messages", w.token(id), fmt.Sprintf(`{"id":%q,"kind":"text","body":{"text":%q}}`, wire.NewID("m"), text))
	if r.status >= 300 {
		w.t.Fatalf("send: %+v", r)
	}
}

// A party is erased: no number, name or message of it is left, in records or in bytes;
// the others and the audit log are whole.
func TestErasedPartyLeavesNothing(t *testing.T) {
	texts := func(c *server.Config) { c.Texts.Enabled, c.Texts.After = true, time.Second }
	w := newWorld(t, loopbackHooks, texts)
	w.hook(t, wire.WebhookRequest{Identities: "full"})
	x, y, session := w.pair(alice, bob)
	z := w.enrol(carol)
	w.operator("POST", "/v1/operator/identities", wire.LinkRequest{Identity: "mailto:alice.keeler@example.com", Party: alice}, nil)
	if r := w.ask("POST", "/v1/reports", w.token(x), report(dave, "outgoing", "active", "text")); r.status != http.StatusOK {
		t.Fatalf("report: %+v", r)
	}
	w.text() // a link is sent on her behalf
	w.operator("POST", "/v1/operator/shared-identities", wire.SharedRequest{Identity: alice}, nil)
	w.send(x, session, "the password is swordfish")
	w.send(y, session, "thank you, Miss Keeler")
	file := filepath.Join(t.TempDir(), "holiday-plan.txt")
	check(t, os.WriteFile(file, []byte("we meet at the quartz fountain"), 0o600))
	check(t, client.NewAPI(x, w.http).SendFile(w.ctx, session, file, nil))
	// An enrolment that was begun, a call that nobody answered, a report that was refused,
	// a block against her, a device of hers that was revoked.
	unfinished, err := client.NewIdentity(w.url())
	check(t, err)
	k := unfinished.PublicKey()
	begun := fmt.Sprintf(`{"number":%q,"name":"Alice Keeler","key":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`, alice, k.X, k.Y)
	if r := w.ask("POST", "/v1/enrolments", "", begun); r.status >= 300 {
		t.Fatalf("enrol: %+v", r)
	}
	w.ask("POST", "/v1/reports", w.token(z), report(alice, "outgoing", "active", "other"))
	w.ask("POST", "/v1/reports", w.token(z), `{"own":"tel:`+alice+`","state":"active"}`)
	if r := w.ask("POST", "/v1/sessions/"+string(session)+"/leave", w.token(y), `{"block":true}`); r.status != http.StatusNoContent {
		t.Fatalf("block: %+v", r)
	}
	if r := w.ask("DELETE", "/v1/device", w.token(w.enrol(alice)), ""); r.status != http.StatusNoContent {
		t.Fatalf("revoke: %+v", r)
	}
	w.couple(x, "Keeler's television", "permanent")
	asks[wire.CouplingOffer](w, x, "POST", "/v1/couplings/offers", `{}`) // not taken
	// What wakes her, what she shows, how she is reached; a guest under her number.
	w.guest(alice)
	for _, c := range [][3]string{
		{"PATCH", "/v1/device", `{"app":{"platform":"fcm","id":"token-of-the-velvet-telephone"}}`},
		{"PATCH", "/v1/profile", `{"set":[{"id":"fn","name":"fn","value":"Alice Keeler"}],"general":["fn"]}`},
		{"PUT", "/v1/reach", `{"ways":["text","push"]}`},
	} {
		if r := w.ask(c[0], c[1], w.token(x), c[2]); r.status != http.StatusOK {
			t.Fatalf("%s: %+v", c[1], r)
		}
	}
	// How often her address was sent a code is counted for longer than the code is kept.
	_, err = w.server.Engine().Put(t.Context(), "enrolment_limits", store.Key(string(wire.DefaultTenant), "mailbox", "mailto:alice.keeler@example.com"), []byte("{}"), 0)
	check(t, err)
	open := w.enter(x)

	var export wire.PartyExport
	w.operator("POST", "/v1/operator/parties/export", wire.PartyRequest{Party: alice}, &export)
	text, err := json.Marshal(export)
	check(t, err)
	for _, want := range []string{"tel:" + alice, "mailto:alice.keeler@example.com", "swordfish", "Miss Keeler", "holiday-plan.txt", "velvet", "of " + alice, "party:p_"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the export lacks %q", want)
		}
	}
	if len(export.Devices) != 4 || len(export.Couplings) != 1 || len(export.Sessions) != 1 || len(export.Calls) == 0 || len(export.Shared) != 1 || !export.Sessions[0].Files[0].Sent {
		t.Errorf("export: %s", text)
	}
	if strings.Contains(string(text), "\"key\"") {
		t.Error("keys are exported")
	}

	var done wire.PartyErased
	w.operator("POST", "/v1/operator/parties/erase", wire.PartyRequest{Party: "mailto:alice.keeler@example.com"}, &done)
	if done.Devices != 4 || done.Sessions != 1 || done.Calls < 2 || done.Identities != 2 || !done.Compacted {
		t.Errorf("erased: %+v", done)
	}
	if code := open.closed(); code != wire.CloseRevoked {
		t.Errorf("her connection was closed with %d", code)
	}
	if r := w.ask("GET", "/v1/sessions/"+string(session)+"/messages", w.token(y), ""); r.code(t) != wire.CodeNotMember {
		t.Errorf("the session is still there: %+v", r)
	}
	if r := w.ask("GET", "/v1/device", w.token(y), ""); r.status != http.StatusOK {
		t.Errorf("the other party: %+v", r)
	}
	w.operator("POST", "/v1/operator/parties/erase", wire.PartyRequest{Party: alice}, &done)
	w.stop()
	if found := w.kept("442079460001", "alice.keeler", store.Key("alice.keeler"), "Keeler", "swordfish", "holiday-plan", "quartz fountain", "velvet"); len(found) > 0 {
		t.Errorf("left: %s", strings.Join(found, "\n"))
	}
	if found := w.kept("442079460002"); len(found) == 0 {
		t.Error("nothing is left of the other party either")
	}

	w.start(loopbackHooks, texts)
	for _, e := range w.audit() {
		if e.What == "party.erased" && len(e.On) != 1 {
			t.Errorf("the audit log tells of the erasure: %+v", e)
		}
	}
	// She comes back: the block that bob made still holds.
	x = w.enrol(alice)
	w.ask("POST", "/v1/reports", w.token(x), report(bob, "outgoing", "active", "again"))
	if r := w.ask("POST", "/v1/reports", w.token(y), report(alice, "incoming", "active", "again")); r.status != http.StatusOK || strings.Contains(r.body, "session") {
		t.Errorf("bob had blocked her: %+v", r)
	}
}

// audit returns the audit log, which must be whole.
func (w *world) audit() (all []wire.AuditEntry) {
	w.t.Helper()
	r := w.ask("GET", "/v1/operator/audit", w.op, "")
	if r.status != http.StatusOK {
		w.t.Fatalf("audit: %+v", r)
	}
	for line := range strings.Lines(r.body) {
		var e wire.AuditEntry
		check(w.t, json.Unmarshal([]byte(line), &e))
		all = append(all, e)
	}
	var v audit.Verifier
	for _, e := range all {
		v.Add(e)
	}
	if faults := v.End(); len(faults) > 0 {
		w.t.Errorf("the audit log has faults: %v", faults)
	}
	return all
}

// serve returns the address of a program that keeps all that it is posted.
func (l *lines) serve(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err == nil {
			_, err = l.Write(append(b, '\n'))
		}
		if err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// subscribe has a device woken by a browser's push service.
func (w *world) subscribe(id *client.Identity) *webpushtest.Browser {
	w.t.Helper()
	service := &webpushtest.Service{}
	s := httptest.NewServer(service)
	w.t.Cleanup(s.Close)
	service.URL = s.URL
	var k wire.PushKey
	check(w.t, json.Unmarshal([]byte(w.ask("GET", "/v1/push-key", "", "").body), &k))
	b := service.Subscribe(k.Key)
	body, err := json.Marshal(map[string]any{"app": wire.App{Platform: "webpush", ID: b.JSON}})
	check(w.t, err)
	if r := w.ask("PATCH", "/v1/device", w.token(id), string(body)); r.status != http.StatusOK {
		w.t.Fatalf("subscribe: %+v", r)
	}
	return b
}

// Who withholds the number in a call is shown to nobody, by whatever way.
func TestWithheldNumberIsNeverRevealed(t *testing.T) {
	// A certificate that vouches for nothing: what is said of PASSporTs that do not hold is said.
	roots := filepath.Join(t.TempDir(), "roots.pem")
	check(t, os.WriteFile(roots, root(t), 0o600))
	w := newWorld(t, loopbackHooks, func(c *server.Config) {
		c.Texts.Enabled, c.Texts.After, c.Evidence.STIRRoots = true, time.Second, roots
		c.Push.Web.HTTP, c.Push.Web.Networks = true, []string{"127.0.0.0/8"}
	})
	x, y, z := w.enrol(alice), w.enrol(bob), w.enrol(carol)
	// Carol's tablet is woken by push; programs hear of everything, with numbers in full and masked.
	browser := w.subscribe(w.enrol(carol))
	hooks := &lines{}
	for _, identities := range []string{"full", "masked"} {
		w.operator("POST", "/v1/operator/webhooks", wire.WebhookRequest{URL: hooks.serve(t), Events: []string{"*"}, Identities: identities}, nil)
	}
	element := w.key("element", "+4420")
	var frames strings.Builder
	say := func(token, body string) wire.Ack {
		t.Helper()
		r := w.ask("POST", "/v1/reports", token, body)
		if r.status != http.StatusOK {
			t.Fatalf("report: %+v", r)
		}
		if token != element {
			frames.WriteString(r.body)
		}
		var ack wire.Ack
		check(t, json.Unmarshal([]byte(r.body), &ack))
		return ack
	}
	sock, invited := w.enter(y), w.enter(z)
	log := len(w.log.String())

	// One side alone: carol is invited, by nobody in particular.
	say(w.token(x), `{"other":"tel:`+carol+`","direction":"outgoing","state":"active","withheld":true,"ref":{"call_id":"c1"}}`)
	invite := invited.read(wire.TypeInvite)
	frames.Write(invite.Body)
	pushed := <-browser.Got
	var push struct{ Push string }
	check(t, json.Unmarshal(pushed.Payload, &push))
	pushes := string(pushed.Payload) + w.ask("GET", "/v1/pushes/"+push.Push, "", "").body
	if !strings.Contains(pushes, `"kind":"invite"`) {
		t.Errorf("the push says nothing: %s", pushes)
	}
	var i wire.Invite
	check(t, json.Unmarshal(invite.Body, &i))
	if !i.Claimant.IsZero() {
		t.Errorf("invited by %s", i.Claimant)
	}
	invited.write(fmt.Sprintf(`{"type":"answer","id":"1","body":{"invitation":%q,"accept":true}}`, i.ID))
	frames.Write(invited.read(wire.TypeSession).Body)
	frames.WriteString(w.ask("GET", "/v1/calls", w.token(z), "").body)

	// An element that knows both sides speaks for both.
	say(element, `{"own":"tel:`+alice+`","other":"tel:`+bob+`","direction":"outgoing","state":"active","withheld":true,"ref":{"call_id":"c2"}}`)
	second := say(element, `{"own":"tel:`+bob+`","other":"tel:`+alice+`","direction":"incoming","state":"active","other_withheld":true,"ref":{"call_id":"c2"}}`).Session
	if second == "" {
		t.Fatal("the call does not match")
	}
	frames.Write(sock.read(wire.TypeSession).Body)
	w.send(x, second, "hello")
	frames.Write(sock.read(wire.TypeMessage).Body)
	for _, path := range []string{"/v1/calls", "/v1/sessions", "/v1/sessions/" + string(second), "/v1/sessions/" + string(second) + "/messages"} {
		frames.WriteString(w.ask("GET", path, w.token(y), "").body)
	}
	// The SIP element carries a call of hers.
	past, err := w.server.At(w.ctx, time.Now())
	check(t, err)
	for _, r := range []sip.Report{
		{PartyDetails: tel.PartyDetails{Own: x.Number.Identity(), Other: z.Number.Identity(), Direction: tel.Outgoing, State: tel.Active, Withheld: true, Ref: tel.Ref{CallID: "c3"}}},
		{PartyDetails: tel.PartyDetails{Own: z.Number.Identity(), Other: x.Number.Identity(), Direction: tel.Incoming, State: tel.Active, OtherWithheld: true, Ref: tel.Ref{CallID: "c3"}}},
	} {
		r.At, r.Lease, r.Vouched, r.Passports = time.Now(), time.Minute, true, []string{"eyJhbGciOiJFUzI1NiJ9.e30.AA;info=<https://certs.example/x>"}
		check(t, past.SIP(w.ctx, r))
	}
	frames.WriteString(w.ask("GET", "/v1/calls", w.token(z), "").body)
	if !strings.Contains(w.log.String()[log:], "PASSporT") {
		t.Error("nothing is logged of the PASSporTs")
	}
	// Who has no client gets a text message, and reads what the link is about.
	say(w.token(x), `{"other":"tel:`+dave+`","direction":"outgoing","state":"active","withheld":true,"ref":{"call_id":"c4"}}`)
	message := w.text()
	link := regexp.MustCompile(`psh_\w+`).FindString(message)
	frames.WriteString(message + w.ask("GET", "/v1/pushes/"+link, "", "").body)
	if !strings.Contains(frames.String(), `"kind":"invite"`) {
		t.Error("the link says nothing")
	}
	// Faults of the other side: what it may not do, and what it claims.
	for _, body := range []string{
		`{"own":"tel:` + carol + `","state":"active"}`, `{"state":"nonsense"}`, `{"other":"tel:` + carol + `","state":"active","conference_id":"` + strings.Repeat("x", 300) + `"}`,
	} {
		r := w.ask("POST", "/v1/reports", w.token(y), body)
		if r.status < 400 {
			t.Errorf("%s: %+v", body, r)
		}
		frames.WriteString(r.body)
	}
	if r := w.ask("POST", "/v1/sessions/"+string(second)+"/leave", w.token(y), `{"block":true}`); r.status != http.StatusNoContent {
		t.Fatalf("block: %+v", r)
	}
	var export wire.PartyExport
	w.operator("POST", "/v1/operator/parties/export", wire.PartyRequest{Party: bob}, &export)
	text, err := json.Marshal(export)
	check(t, err)
	for _, c := range []*socket{sock, invited} {
		_ = c.conn.Close(websocket.StatusNormalClosure, "")
	}

	for _, event := range []string{wire.EventSessionOpened, wire.EventMemberLeft, wire.EventCallReported} {
		w.until("webhooks hear of "+event, func() bool { return strings.Count(hooks.String(), `"`+event+`"`) >= 2 })
	}
	for len(browser.Got) > 0 {
		pushes += string((<-browser.Got).Payload)
	}
	if !strings.Contains(hooks.String(), carol) {
		t.Error("the webhooks do not even have the numbers that are shown")
	}
	for where, said := range map[string]string{
		"bodies of webhooks":  hooks.String(),
		"decrypted pushes":    pushes,
		"what bob was sent":   frames.String(),
		"what bob can export": string(text),
		"the server's log":    w.log.String()[log:],
		"the metrics":         w.ask("GET", "/metrics", w.op, "").body,
		"the audit log":       fmt.Sprint(w.audit()),
	} {
		if strings.Contains(strings.ReplaceAll(said, "of "+alice, ""), "2079460001") {
			t.Errorf("%s reveals the number: %s", where, said)
		}
	}
	if !strings.Contains(frames.String(), `"members"`) {
		t.Fatal("nothing was sent at all")
	}
}

// Whoever has a recycled number next finds nothing of its holder before: neither profile nor
// address book, ledger, wishes or blocks.
func TestRecycledNumberComesWithNothing(t *testing.T) {
	w := newWorld(t)
	x, _, session := w.pair(alice, bob)
	old := w.token(x)
	api := client.NewAPI(x, w.http)
	general := []string{"fn"}
	_, err := api.ChangeProfile(w.ctx, wire.ProfileChange{Set: []wire.ProfileField{{ID: "fn", Name: "fn", Value: "velvet"}}, General: &general})
	check(t, err)
	_, err = api.SendProfile(w.ctx, session, wire.ProfileSend{})
	check(t, err)
	_, err = api.ImportContacts(w.ctx, []byte("BEGIN:VCARD\nVERSION:4.0\nFN:velvet friend\nTEL:+442079460007\nEND:VCARD\n"))
	check(t, err)
	for _, c := range [][3]string{
		{"PUT", "/v1/contact-rules", `{"identity":"tel:+442079460008","keep":"never"}`},
		{"POST", "/v1/blocks", `{"identity":"tel:+442079460009"}`},
		{"PUT", "/v1/reach", `{"ways":["text"]}`},
	} {
		if r := w.ask(c[0], c[1], old, c[2]); r.status >= 300 {
			t.Fatalf("%s: %+v", c[1], r)
		}
	}
	holds := func(token string) (found []string) {
		for _, path := range []string{"/v1/profile", "/v1/contacts", "/v1/profile/ledger", "/v1/contact-rules", "/v1/blocks", "/v1/reach", "/v1/profile/card", "/v1/sessions", "/v1/couplings"} {
			r := w.ask("GET", path, token, "")
			if r.status != http.StatusOK {
				t.Errorf("%s: %+v", path, r)
			}
			for _, mark := range []string{"velvet", "442079460002", "442079460007", "442079460008", "442079460009", `"text"`, string(session)} {
				if strings.Contains(r.body, mark) {
					found = append(found, path+" "+mark)
				}
			}
		}
		return found
	}
	if found := holds(old); len(found) < 6 {
		t.Fatalf("its holder has only %q: this test looks for the wrong thing", found)
	}
	if r := w.ask("DELETE", "/v1/operator/numbers/"+alice+"/devices", w.op, ""); r.status != http.StatusNoContent {
		t.Fatalf("recycle: %+v", r)
	}
	if found := holds(w.token(w.enrol(alice))); len(found) > 0 {
		t.Errorf("the next holder finds %q", found)
	}
}
