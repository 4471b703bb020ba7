package server_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/wire"
)

// The walk: every operation, every other endpoint and every type of frame, aimed at what
// belongs to a victim, with every credential that is not the victim's. None may change or
// see anything. What is new and not in the walk fails it.

// victim owns what the walk is aimed at.
type victim struct {
	w       *world
	alice   *client.Identity
	token   string
	session wire.SessionID
	asked   *client.Identity // has an invitation
	// what nobody else may see, by its name in a request.
	things map[string]string
	before string
}

// state is what the victim sees of its own.
func (v *victim) state() string {
	v.w.t.Helper()
	said := ""
	for _, path := range []string{"/v1/device", "/v1/sessions/" + string(v.session), "/v1/sessions/" + string(v.session) + "/messages", "/v1/calls", "/v1/couplings", "/v1/party/devices", "/v1/profile", "/v1/profile/ledger", "/v1/contacts", "/v1/contact-rules", "/v1/blocks", "/v1/files/" + v.things["FILE"]} {
		r := v.w.ask("GET", path, v.token, "")
		said += fmt.Sprintln(path, r.status, r.body)
	}
	for _, path := range []string{"credentials", "webhooks", "barred", "shared-identities"} {
		r := v.w.ask("GET", "/v1/operator/"+path, v.w.op, "")
		said += fmt.Sprintln(path, r.status, r.body)
	}
	r := v.w.ask("GET", "/v1/overlays", v.w.op, "")
	return said + fmt.Sprintln("overlays", r.status, r.body)
}

// freshKey is the public key of a device that nobody knows.
func freshKey(t *testing.T) string {
	t.Helper()
	id, err := client.NewIdentity("http://nowhere.example")
	check(t, err)
	k := id.PublicKey()
	return fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, k.X, k.Y)
}

// accepts says that the invitation is still there for the one who was asked.
func (v *victim) accepts() {
	v.w.t.Helper()
	if r := v.w.ask("POST", "/v1/invitations/answer", v.w.token(v.asked), v.aim(`{"invitation":"INVITATION","accept":true}`)); r.status != http.StatusNoContent {
		v.w.t.Errorf("the invitation after all that: %+v", r)
	}
}

// foreigner is a caller with credentials that are not the victim's.
type foreigner struct {
	name, token string
	identity    *client.Identity // of devices that can say hello
	at          *world           // where they do
	role        string           // device or operator
	// refused is how these credentials are refused everywhere; empty: they are good for
	// what is their own.
	refused wire.Code
}

// newTenant makes a tenant with a host, and an operator's key of its own.
func (w *world) newTenant(id, host string) (*world, string) {
	w.t.Helper()
	check(w.t, client.NewKeyAPI("http://admin", "", w.admin()).Call(w.ctx, "PUT", "/v1/operator/tenants/"+id, wire.TenantRequest{Hosts: []string{host}}, nil))
	there := *w
	there.addr = host + w.addr[strings.LastIndexByte(w.addr, ':'):]
	req, err := http.NewRequestWithContext(w.ctx, "POST", "http://admin/v1/operator/credentials", strings.NewReader(`{"role":"operator","name":"theirs"}`))
	check(w.t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(wire.TenantHeader, id)
	var key wire.Credential
	r := do(w.admin(), req)
	if err := json.Unmarshal([]byte(r.body), &key); err != nil || key.Key == "" {
		w.t.Fatalf("an operator's key for %s: %+v", id, r)
	}
	there.op = key.Key
	return &there, key.Key
}

// upload sends a file into a session and returns its id.
func (w *world) upload(token string, session wire.SessionID, content string) string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, "POST", w.url()+"/v1/files/", strings.NewReader(content))
	check(w.t, err)
	for k, v := range map[string]string{
		"Authorization": "Bearer " + token, "Tus-Resumable": "1.0.0", "Upload-Length": fmt.Sprint(len(content)), "Content-Type": "application/offset+octet-stream",
		"Upload-Metadata": "session " + base64.StdEncoding.EncodeToString([]byte(session)) + ",filename " + base64.StdEncoding.EncodeToString([]byte("walk.txt")),
	} {
		req.Header.Set(k, v)
	}
	r := do(w.http, req)
	if r.status != http.StatusCreated {
		w.t.Fatalf("upload: %+v", r)
	}
	return filepath.Base(r.header.Get("Location"))
}

// invited makes a call that only one side reports, and returns the other side's invitation.
func (w *world) invited(a, b string) (id wire.InvitationID, asked *client.Identity) {
	w.t.Helper()
	x, asked := w.enrol(a), w.enrol(b)
	s := w.enter(asked)
	if r := w.ask("POST", "/v1/reports", w.token(x), report(b, "outgoing", "active", "i")); r.status != http.StatusOK {
		w.t.Fatalf("%+v", r)
	}
	var inv wire.Invite
	check(w.t, json.Unmarshal(s.read(wire.TypeInvite).Body, &inv))
	return inv.ID, asked
}

func newWalk(t *testing.T) (*world, *victim, []foreigner) {
	w := newWorld(t, func(c *server.Config) {
		c.Webhooks.HTTP = true
		c.Calls.Lease = time.Hour // on a busy machine the walk takes longer than a call stands without a word
	})
	number := func(i int) string { return fmt.Sprintf("+44207946%04d", 5000+i) }
	v := &victim{w: w}
	v.alice, _, v.session = w.pair(alice, bob)
	v.token = w.token(v.alice)
	w.couple(v.alice, "the victim's TV", "permanent")
	w.send(v.alice, v.session, "for Bob's eyes only")
	var invitation wire.InvitationID
	invitation, v.asked = w.invited(number(0), number(1))
	element := w.key("element", "+44")
	v.things = map[string]string{
		"SESSION": string(v.session), "DEVICE": string(v.alice.Device), "INVITATION": string(invitation), "NUMBER": alice, "TEXT": "eyes only",
		"CREDENTIAL": strings.Split(element, "_")[1], "FILE": w.upload(v.token, v.session, "the plan of the house"),
	}
	v.things["COUPLING"] = w.couplings(v.alice)[0].ID
	w.people(v)
	v.things["AGENT"] = "the-victims-agent"
	w.operator("PUT", "/v1/agents/the-victims-agent", wire.AgentRequest{Name: "Anna", Number: "+442079460898"}, &wire.Agent{})
	v.things["OVERLAY"] = "walk_overlay"
	v.things["ACCOUNT"] = "walk_account"
	w.operator("PUT", "/v1/overlays/walk_overlay/draft", json.RawMessage(`{"title":{"en":"x"},"numbers":["+442079460001"],"document":{"version":1,"id":"x","language":"en","regions":[{"id":"a","grid":{"column":0,"row":0},"text":{"en":"eyes only"}}]}}`), nil)
	w.operator("POST", "/v1/overlays/walk_overlay/publish", nil, nil)
	w.operator("PUT", "/v1/payment-accounts/walk_account", json.RawMessage(`{"numbers":["+442079460001"],"key":"sk_test_eyes_only"}`), nil)
	var hook wire.Webhook
	w.operator("POST", "/v1/operator/webhooks", wire.WebhookRequest{URL: "https://192.0.2.1/walk"}, &hook)
	v.things["WEBHOOK"] = hook.ID
	stream, err := http.NewRequestWithContext(w.ctx, "GET", w.url()+"/v1/events", nil)
	check(t, err)
	stream.Header.Set("Authorization", "Bearer "+v.token)
	events, err := w.http.Do(stream)
	check(t, err)
	t.Cleanup(func() { events.Body.Close() })
	first := make([]byte, 256)
	n, err := io.ReadAtLeast(events.Body, first, 40)
	check(t, err)
	v.things["STREAM"] = string(regexp.MustCompile(`str_\w+`).Find(first[:n]))

	other, _, _ := w.pair(number(2), number(3))
	carol, revoked := w.enrol(number(4)), w.enrol(alice)
	revokedToken, revokedKey := w.token(revoked), w.key("operator")
	for _, r := range []reply{
		w.ask("DELETE", "/v1/device", revokedToken, ""),
		w.ask("DELETE", "/v1/operator/credentials/"+strings.Split(revokedKey, "_")[1], w.op, ""),
	} {
		if r.status != http.StatusNoContent {
			t.Fatalf("%+v", r)
		}
	}
	there, theirOperator := w.newTenant("acme", "localhost")
	double := there.enrol(alice) // of the victim's own number, in another tenant
	ago := time.Now().Add(-time.Hour)
	past, err := w.server.At(w.ctx, ago)
	check(t, err)
	expired, err := past.Token(w.ctx, v.alice.Device)
	check(t, err)
	expiredKey, err := past.Key(w.ctx, ago.Add(-time.Minute))
	check(t, err)
	tv := w.couple(w.enrol(number(6)), "another party's TV", "permanent")
	uncoupled := w.couple(v.alice, "a TV that was sold", "permanent")
	uncoupledToken := w.token(uncoupled)
	for _, c := range w.couplings(v.alice) {
		if c.Device == uncoupled.Device {
			if r := w.ask("DELETE", "/v1/couplings/"+c.ID, v.token, ""); r.status != http.StatusNoContent {
				t.Fatalf("uncouple: %+v", r)
			}
		}
	}
	dismissed := w.guest(bob)
	dismissedToken := w.token(dismissed)
	if r := w.ask("DELETE", "/v1/device", dismissedToken, ""); r.status != http.StatusNoContent {
		t.Fatalf("%+v", r)
	}
	guest := w.guest(alice) // who could read a text message of the victim's
	past, err = w.server.At(w.ctx, time.Now().AddDate(0, 0, -200))
	check(t, err)
	lapsed, err := client.NewIdentity(w.url())
	check(t, err)
	var lapsedToken string
	lapsed.Device, lapsedToken, err = past.Enrol(w.ctx, v.alice.Number, lapsed.PublicKey())
	check(t, err)
	// The victim's own state is what it is after all of these have come and gone.
	v.before = v.state()
	return w, v, []foreigner{
		{"nobody", "", nil, w, "", wire.CodeUnauthenticated},
		{"a device of another party", w.token(carol), carol, w, "device", ""},
		{"a device in another session", w.token(other), other, w, "device", ""},
		{aGuest, w.token(guest), guest, w, "device", ""},
		{"a guest that has left", dismissedToken, dismissed, w, "device", wire.CodeRevoked},
		{aCoupled, w.token(tv), tv, w, "device", ""},
		{"a device whose coupling with the victim's telephone has ended", uncoupledToken, uncoupled, w, "device", wire.CodeBindingExpired},
		{"a device of another tenant, with the victim's number", there.token(double), double, there, "device", ""},
		{"an operator of another tenant", theirOperator, nil, there, "operator", ""},
		{"an element of another tenant", there.key("element", "+44"), nil, there, "element", ""},
		{"a provider of another tenant", there.key("provider", "+44"), nil, there, "provider", ""},
		{"the victim's own token, expired", expired, nil, w, "device", wire.CodeUnauthenticated},
		{"an operator's key, expired", expiredKey, nil, w, "operator", wire.CodeUnauthenticated},
		{"an operator's key, revoked", revokedKey, nil, w, "operator", wire.CodeUnauthenticated},
		{"a device whose proof has lapsed", lapsedToken, lapsed, w, "device", wire.CodeBindingExpired},
		{"a revoked device of the victim's number", revokedToken, revoked, w, "device", wire.CodeRevoked},
	}
}

// people gives the victim a profile with a picture, somebody who has received it, and a contact.
func (w *world) people(v *victim) {
	w.t.Helper()
	api := client.NewAPI(v.alice, w.http)
	_, err := api.ChangeProfile(w.ctx, wire.ProfileChange{Set: []wire.ProfileField{{ID: "note", Name: "note", Value: "eyes only"}}, Send: wire.SendNever})
	check(w.t, err)
	p, err := api.SetPicture(w.ctx, "photo", []byte("GIF89a\x01\x00\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x09eyes only\x00;"))
	check(w.t, err)
	_, err = api.SendProfile(w.ctx, v.session, wire.ProfileSend{})
	check(w.t, err)
	l, err := api.Ledger(w.ctx)
	check(w.t, err)
	book, err := api.ImportContacts(w.ctx, []byte("BEGIN:VCARD\nVERSION:4.0\nFN:eyes only\nTEL:+442079460007\nEND:VCARD\n"))
	check(w.t, err)
	v.things["PICTURE"] = filepath.Base(p.Fields[1].Picture.Path)
	v.things["RECEIVER"], v.things["CONTACT"] = l.Receipts[0].Receiver, book[0].ID
}

// aim replaces the names of the victim's things, and more names in pairs with what they stand for, in
// one pass: the random id of one thing may have the name of another in it.
func (v *victim) aim(s string, more ...string) string {
	for name, thing := range v.things {
		more = append(more, name, thing)
	}
	return strings.NewReplacer(more...).Replace(s)
}

// leaks are the victim's things in what was said that were not in what was asked.
func (v *victim) leaks(asked, said string) (found []string) {
	for name, thing := range v.things {
		if strings.Contains(said, thing) && !strings.Contains(asked, thing) {
			found = append(found, name)
		}
	}
	return found
}

// aimed says how each operation that is not for everybody is aimed at the victim, and the
// status that a foreign device gets, or a foreign tenant's operator. What is theirs they get;
// it must not show or change anything of the victim's.
var aimed = map[string]struct {
	path, body string
	status     int
}{
	"bind-device": {"", `{"number":"NUMBER","key":KEY,"proof":"network"}`, 201},

	"get-device":    {"", "", 200},
	"change-device": {"", `{"name":"walker"}`, 200},
	"remove-device": {"", "", 204},
	"softphone":     {"", "", 200},

	"report":            {"", `{"own":"tel:NUMBER","other":"tel:+442079460009","direction":"outgoing","state":"ended"}`, 403},
	"list-calls":        {"", "", 200},
	"answer-invitation": {"", `{"invitation":"INVITATION","accept":true}`, 404},
	"confirm-words":     {"", `{"invitation":"INVITATION","words":"two words"}`, 404},

	"offer-coupling":      {"", `{"number":"NUMBER"}`, 403},
	"look-coupling":       {"", `{"code":"123456789"}`, 403},
	"accept-coupling":     {"", `{"number":"NUMBER","code":"123456789"}`, 403},
	"list-couplings":      {"?number=%2B442079460001", "", 200},
	"end-coupling":        {"COUPLING?number=%2B442079460001", "", 404},
	"near-coupling":       {"COUPLING", `{"link":true}`, 404},
	"list-party-devices":  {"", "", 200},
	"ask-session":         {"", `{"other":"tel:+442079460996"}`, 200},
	"join-session":        {"SESSION", "", 404},
	"choose-party-device": {"DEVICE", `{"session":"none"}`, 404},

	"get-profile":         {"", ``, 200},
	"read-profile-source": {"", ``, 400},
	"change-profile":      {"", `{"set":[{"id":"fn","name":"fn","value":"x"}]}`, 200},
	"remove-profile":      {"", ``, 204},
	"prove-email":         {"", `{"address":"x@example.com"}`, 200},
	"confirm-email":       {"", `{"address":"y@example.com","code":"000000"}`, 410},
	"withdraw-email":      {"?address=y@example.com", "", 404},
	"preview-profile":     {"?for=tel:%2B442079460001", ``, 200},
	"set-profile-picture": {"", `nothing`, 415},
	"get-picture":         {"PICTURE", ``, 404},
	"take-card":           {"", `nothing`, 415},
	"get-card":            {"?for=tel:%2B442079460001", ``, 200},
	"get-ledger":          {"", ``, 200},
	"withdraw-profile":    {"RECEIVER", ``, 404},
	"send-profile":        {"SESSION", `{}`, 404},
	"hold-profile":        {"SESSION", `{"owner":"RECEIVER","have":[]}`, 404},
	"list-contacts":       {"?of=tel:%2B442079460001", ``, 200},
	"keep-contact":        {"", `{"owner":"RECEIVER"}`, 404},
	"import-contacts":     {"", `nothing`, 415},
	"get-contact-cards":   {"?id=CONTACT", ``, 404},
	"remove-contact":      {"CONTACT", ``, 404},
	"list-contact-rules":  {"", ``, 200},
	"set-contact-rule":    {"", `{"identity":"tel:+442079460990","keep":"never"}`, 204},
	"list-blocks":         {"", ``, 200},
	"block":               {"", `{"identity":"tel:+442079460990"}`, 204},
	"unblock":             {"?identity=tel:%2B442079460990", ``, 204},

	"set-place-ability": {"SESSION", `{"provide":true,"show":"map"}`, 404},
	"check-place":       {"SESSION", `{"to":"1"}`, 404},
	"ask-place":         {"SESSION", `{"to":"1"}`, 404},
	"answer-place":      {"SESSION", `{"request":"ask_x","consent":"once"}`, 404},
	"share-place":       {"SESSION", `{"uri":"geo:1,1"}`, 404},
	"stop-place":        {"SESSION", ``, 404},

	"get-place-rules":           {"", "", 200},
	"set-place-rules":           {"", `{"rules":[],"never":[]}`, 200},
	"get-place-rules-here":      {"SESSION", "", 404},
	"get-network-place":         {"SESSION", "", 404},
	"list-agents":               {"", "", 200},
	"set-agent":                 {"AGENT", `{"name":"Eve","number":"+442079460899"}`, 200},
	"remove-agent":              {"AGENT", "", 404},
	"invite-agent":              {"AGENT", `{}`, 404},
	"revoke-sign-ins":           {"AGENT", "", 404},
	"get-agent-settings":        {"", "", 200},
	"set-agent-settings":        {"", `{"reasons":[],"wrap_up_codes":[],"retention_days":1}`, 200},
	"get-agent":                 {"", "", 403}, // none of them is an agent's
	"agent-sign-out":            {"", "", 403},
	"set-agent-state":           {"", `{"state":"away"}`, 403},
	"get-own-agent-settings":    {"", "", 403},
	"list-colleagues":           {"", "", 403},
	"list-conversations":        {"?text=eyes", "", 403},
	"get-conversation":          {"SESSION", "", 403},
	"add-note":                  {"SESSION", `{"id":"1","text":"x"}`, 403},
	"wrap-up":                   {"SESSION", `{"code":"solved"}`, 403},
	"transfer":                  {"SESSION", `{"to":"AGENT"}`, 403},
	"look":                      {"SESSION", "", 403},
	"looked-into":               {"SESSION", "", 403},
	"end-look":                  {"SESSION", "", 403},
	"list-overlays":             {"", ``, 200},
	"get-overlay":               {"OVERLAY", ``, 404},
	"set-overlay-draft":         {"theirs", `{"title":{"en":"x"},"numbers":["+442079460996"],"document":{"version":1,"id":"x","language":"en","regions":[{"id":"a","grid":{"column":0,"row":0},"text":{"en":"x"}}]}}`, 200},
	"publish-overlay":           {"OVERLAY", ``, 404},
	"roll-back-overlay":         {"OVERLAY", `{"version":0}`, 404},
	"remove-overlay":            {"OVERLAY", ``, 404},
	"list-overlay-templates":    {"SESSION", ``, 404},
	"preview-overlay":           {"SESSION", `{"template":"OVERLAY"}`, 404},
	"send-overlay":              {"SESSION", `{"id":"1","template":"OVERLAY"}`, 404},
	"overlay-shown":             {"SESSION", `{"state":"shown"}`, 404},
	"answer-overlay":            {"SESSION", `{"id":"1","region":"a","action":0,"type":"choose","outcome":"done","value":"x"}`, 404},
	"get-overlay-version":       {"OVERLAY", ``, 404},
	"get-overlay-draft-picture": {"OVERLAY", ``, 404},
	"get-overlay-picture":       {"SESSION", ``, 404},
	"list-payment-accounts":     {"", ``, 200},
	"get-payment-account":       {"ACCOUNT", ``, 404},
	"set-payment-account":       {"theirs", `{"numbers":["+442079460996"],"key":"sk_test_x"}`, 200},
	"remove-payment-account":    {"ACCOUNT", ``, 404},
	"begin-payment":             {"SESSION", `{"region":"a","action":0}`, 404},
	"list-payments":             {"SESSION", ``, 200},
	"cancel-payment":            {"SESSION", ``, 404},

	"list-sessions":  {"", "", 200},
	"get-session":    {"SESSION", "", 404},
	"list-messages":  {"SESSION", "", 404},
	"send":           {"SESSION", `{"id":"1","kind":"text","body":{"text":"x"}}`, 404},
	"extend-session": {"SESSION", `{"seconds":60}`, 404},
	"leave-session":  {"SESSION", `{"block":true}`, 404},

	"list-credentials":  {"", "", 200},
	"create-credential": {"", `{"role":"element","name":"x","ranges":["+44"]}`, 201},
	"revoke-credential": {"CREDENTIAL", "", 404},
	"link-identity":     {"", `{"identity":"mailto:x@example.com","party":"tel:NUMBER"}`, 204},
	"unlink-identity":   {"?identity=tel:%2B442079460001", "", 409},
	"list-shared":       {"", "", 200},
	"share-identity":    {"", `{"identity":"tel:NUMBER"}`, 204},
	"unshare-identity":  {"?identity=tel:%2B442079460001", "", 204},
	"recycle-number":    {"NUMBER", "", 204},
	"explain-call":      {"", `{"a":"tel:NUMBER","b":"tel:+442079460002"}`, 200},
	"close-session":     {"SESSION", "", 404},
	"backup":            {"", `{"dir":"/nowhere"}`, 403},
	"audit":             {"", "", 200},
	"export-party":      {"", `{"party":"tel:NUMBER"}`, 200},
	"erase-party":       {"", `{"party":"tel:NUMBER"}`, 200},
	"list-tenants":      {"", "", 403},
	"rotate-secrets":    {"", `{"at_once":true}`, 403},
	"set-tenant":        {"acme", `{"hosts":["127.0.0.1"]}`, 403},

	"join-push":      {"none", `{"report":{"state":"active"}}`, 404},
	"link-installed": {"", `{"link":"none"}`, 410},
	"get-reach":      {"", "", 200},
	"set-reach":      {"", `{"ways":["push"]}`, 200},

	"test-push":   {"", `{"number":"tel:NUMBER"}`, 200},
	"list-barred": {"", "", 200},
	"bar":         {"", `{"identity":"tel:NUMBER"}`, 204},
	"unbar":       {"?identity=tel:%2B442079460001", "", 204},

	"list-webhooks":           {"", "", 200},
	"add-webhook":             {"", `{"url":"https://192.0.2.1/other"}`, 201},
	"remove-webhook":          {"WEBHOOK", "", 404},
	"rotate-webhook":          {"WEBHOOK", "", 404},
	"enable-webhook":          {"WEBHOOK", "", 404},
	"test-webhook":            {"WEBHOOK", "", 404},
	"list-webhook-deliveries": {"?webhook=WEBHOOK", "", 200},
	"replay-event":            {"evt_none", `{"webhook":"WEBHOOK"}`, 404},
}

// aGuest has opened a link that was sent to the victim's number. What belongs to the number's party
// is not the guest's.
const aGuest = "a guest, by a link to the victim's number"

var notForGuests = []string{
	"answer-invitation", "ask-session", "confirm-words", "join-session", "list-calls", "report", "softphone", "get-reach", "set-reach",
	"choose-party-device", "list-party-devices", "end-coupling", "list-couplings", "near-coupling",
	"get-profile", "change-profile", "remove-profile", "read-profile-source", "prove-email", "confirm-email", "withdraw-email", "preview-profile", "set-profile-picture", "send-profile", "get-card", "get-ledger", "withdraw-profile",
	"list-contacts", "keep-contact", "remove-contact", "list-contact-rules", "set-contact-rule", "get-contact-cards",
	"list-blocks", "block", "unblock",
	"get-place-rules", "set-place-rules",
}

// aCoupled carries data for another party's telephone: it rests on that one's proof, and can vouch for nobody.
const aCoupled = "a device coupled with another party's telephone"

var notForCoupled = []string{"softphone", "offer-coupling", "look-coupling", "accept-coupling", "choose-party-device", "prove-email", "confirm-email", "withdraw-email"}

// TestWalkOperations walks the operations.
func TestWalkOperations(t *testing.T) {
	t.Parallel()
	w, v, foreigners := newWalk(t)
	doc := document(t, w)
	// Those that change the foreigner's own things come last, bars before their lifting.
	late := []string{"bar", "unbar", "recycle-number", "erase-party", "remove-device"}
	type step struct{ id, method, path string }
	var steps []step
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if op.Security == nil {
				continue // for anybody: TestEveryOperation
			}
			if _, ok := aimed[op.OperationID]; !ok {
				t.Errorf("%s is new: say in aimed how it could be turned against somebody else", op.OperationID)
				continue
			}
			steps = append(steps, step{op.OperationID, method, path})
		}
	}
	slices.SortFunc(steps, func(a, b step) int {
		if d := slices.Index(late, a.id) - slices.Index(late, b.id); d != 0 {
			return d
		}
		return strings.Compare(a.id, b.id)
	})
	for _, f := range foreigners {
		for i, st := range steps {
			a, may := aimed[st.id], operations[st.id].who
			path := strings.NewReplacer("{seq}", "1", "{version}", "1", "{region}", "a", "{payment}", "none").Replace(st.path)
			path = regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, strings.TrimPrefix(a.path, "?"))
			if strings.HasPrefix(a.path, "?") {
				path = st.path + a.path
			}
			path, body := v.aim(path), v.aim(a.body, "KEY", freshKey(t))
			r := w.ask(st.method, path, f.token, body)
			want := a.status
			switch {
			case f.refused != "":
				want = wire.Catalogue[f.refused].Status
			case !slices.Contains(may, f.role), f.name == aGuest && slices.Contains(notForGuests, st.id), f.name == aCoupled && slices.Contains(notForCoupled, st.id):
				want = http.StatusForbidden
			case st.id == "report" && (f.role != "device" || strings.Contains(f.name, "with the victim's number")):
				want = http.StatusOK // their own tenant's party of that number
			case st.id == "offer-coupling" && (f.role != "device" || strings.Contains(f.name, "with the victim's number")):
				want = http.StatusCreated // the same
			case st.id == "softphone" && strings.Contains(f.name, "another tenant"):
				want = http.StatusNotFound // telephones are the default tenant's
			}
			if r.status != want {
				t.Errorf("%s by %s: %d %s, want %d", st.id, f.name, r.status, r.body, want)
			}
			if r.status >= 400 {
				if p := r.problem(t); f.refused != "" && p.Code != f.refused {
					t.Errorf("%s by %s: %s, want %s", st.id, f.name, p.Code, f.refused)
				}
			}
			// What is the foreigner's own has the victim's number in it, in the other tenant; so has a guest's.
			if l := slices.DeleteFunc(v.leaks(path+body, r.body), func(s string) bool {
				return s == "NUMBER" && (strings.Contains(f.name, "of another tenant") || f.name == aGuest)
			}); len(l) > 0 {
				t.Errorf("%s by %s shows %v: %s", st.id, f.name, l, r.body)
			}
			if f.refused != "" && i < len(steps)-1 {
				continue // who is let in nowhere is looked at once
			}
			if now := v.state(); now != v.before {
				t.Fatalf("%s by %s changed what is the victim's:\n%s\nbefore:\n%s", st.id, f.name, now, v.before)
			}
		}
	}
	v.accepts()
}

// endpoints are what no OpenAPI document describes: who is answered, and how a foreigner
// would use it. Empty requests: for anybody.
var endpoints = map[string][]string{
	"/v1/connect":          nil, // TestWalkFrames
	"/v1/events":           nil, // a foreigner's own stream: TestWalkFrames
	"/v1/frames":           nil, // TestWalkFrames
	"SIPPath":              nil, // SIP over WebSocket: TestSIPOrigins; who registers there: internal/edge/network/sip, TestDigest
	"/":                    nil, // leads to the mux
	"fileapi.BasePath":     {"GET /v1/files/FILE", "GET /v1/files/FILE/preview", "HEAD /v1/files/FILE", "PATCH /v1/files/FILE", "DELETE /v1/files/FILE", "POST /v1/files/"},
	"GET /healthz":         nil,
	"GET /readyz":          nil,
	"GET /metrics":         {"GET /metrics"},
	"GET /schemas/{name}":  nil,
	"GET /schemas/{$}":     nil,
	"GET /problems/{code}": nil,
	"GET /problems/{$}":    nil,
}

// TestWalkEndpoints walks them, and finds those that are new in the sources.
func TestWalkEndpoints(t *testing.T) {
	seen := map[string]bool{}
	for _, dir := range []string{".", "../edge/transport/httpapi", "../edge/transport/fileapi", "../edge/transport/wsconn"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		check(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			b, err := os.ReadFile(file)
			check(t, err)
			for _, m := range regexp.MustCompile(`\.(?:Handle|HandleFunc)\("?([^",]+)"?, `).FindAllSubmatch(b, -1) {
				if _, ok := endpoints[string(m[1])]; !ok && bytes.Contains(m[0], []byte(`"/`)) || !ok && bytes.Contains(m[0], []byte(`BasePath`)) || !ok && bytes.Contains(m[0], []byte(` /`)) {
					t.Errorf("%s: the endpoint %s is not in the walk: add it to endpoints", file, m[1])
				}
				seen[string(m[1])] = true
			}
		}
	}
	for e := range endpoints {
		if !seen[e] {
			t.Errorf("%s is no endpoint any more", e)
		}
	}
	w, v, foreigners := newWalk(t)
	session := base64.StdEncoding.EncodeToString([]byte(v.session))
	for _, f := range foreigners {
		for _, requests := range endpoints {
			for _, request := range requests {
				method, path, _ := strings.Cut(v.aim(request), " ")
				var header []string
				if strings.HasPrefix(path, "/v1/files/") && method != "GET" {
					header = []string{"Tus-Resumable", "1.0.0", "Upload-Length", "3", "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream", "Upload-Metadata", "session " + session}
				}
				r := w.ask(method, path, f.token, "", header...)
				if r.status < 400 || r.status >= 500 {
					t.Errorf("%s by %s: %d %s", request, f.name, r.status, r.body)
				}
				if l := v.leaks(path, r.body); len(l) > 0 {
					t.Errorf("%s by %s shows %v", request, f.name, l)
				}
			}
		}
		if now := v.state(); now != v.before {
			t.Fatalf("%s changed what is the victim's:\n%s\nbefore:\n%s", f.name, now, v.before)
		}
	}
}

// frames are all types that a device can send, aimed at the victim, and the answer that a
// foreigner gets.
var frames = map[wire.Type]struct {
	frame string
	code  wire.Code
}{
	wire.TypeHello:   {`{"type":"hello","id":"1","body":{"assertion":"a.b.c"}}`, wire.CodeBadFrame},
	wire.TypeReport:  {`{"type":"report","id":"1","body":{"own":"tel:NUMBER","other":"tel:+442079460002","direction":"outgoing","state":"ended"}}`, wire.CodeNotYourParty},
	wire.TypeAsk:     {`{"type":"ask","id":"1","body":{"other":"SESSION"}}`, wire.CodeBadNumber},
	wire.TypeSend:    {`{"type":"send","id":"1","session":"SESSION","kind":"text","body":{"text":"x"}}`, wire.CodeNotMember},
	wire.TypeSignal:  {`{"type":"signal","id":"1","session":"SESSION","kind":"x"}`, wire.CodeNotMember},
	wire.TypeResume:  {`{"type":"resume","id":"1","session":"SESSION"}`, wire.CodeNotMember},
	wire.TypeAnswer:  {`{"type":"answer","id":"1","body":{"invitation":"INVITATION","accept":true}}`, wire.CodeNotFound},
	wire.TypeConfirm: {`{"type":"confirm","id":"1","body":{"invitation":"INVITATION","words":"two words"}}`, wire.CodeNotFound},
	wire.TypeExtend:  {`{"type":"extend","id":"1","session":"SESSION","body":{"seconds":60}}`, wire.CodeNotMember},
	wire.TypeLeave:   {`{"type":"leave","id":"1","session":"SESSION","body":{"block":true}}`, wire.CodeNotMember},
	wire.TypePing:    {`{"type":"ping","id":"1"}`, ""}, // says nothing of anybody
	wire.TypePong:    {`{"type":"pong","id":"1"}`, ""},
}

// TestWalkFrames walks the types of frames, over WebSockets and over POST /v1/frames.
func TestWalkFrames(t *testing.T) {
	for _, ty := range wire.Types {
		if _, ok := frames[ty.Type]; !ok && ty.Sender != wire.FromServer {
			t.Errorf("the type %s is new: say in frames how it could be turned against somebody else", ty.Type)
		}
	}
	w, v, foreigners := newWalk(t)
	double := func(f foreigner, ty wire.Type) bool { // who may report this number in their own tenant
		return ty == wire.TypeReport && strings.Contains(f.name, "with the victim's number") && f.refused == ""
	}
	guestly := func(f foreigner, ty wire.Type) bool { // which a guest may not send at all
		return f.name == aGuest && slices.Contains([]wire.Type{wire.TypeReport, wire.TypeAnswer, wire.TypeConfirm}, ty)
	}
	for _, f := range foreigners {
		for ty, a := range frames {
			frame := v.aim(a.frame)
			if f.identity != nil {
				s := f.at.dial()
				s.hello(f.identity)
				switch {
				case f.refused != "":
					if code := s.closed(); code != wire.CloseRevoked && code != wire.CloseUnauthentic {
						t.Errorf("hello of %s: closed with %d", f.name, code)
					}
				case a.code == "":
					s.read(wire.TypeWelcome)
					s.write(frame)
				default:
					s.read(wire.TypeWelcome)
					said, p := s.answer(frame)
					if guestly(f, ty) && p.Code == wire.CodeForbidden {
						p.Code = a.code
					}
					if double(f, ty) {
						p.Code = a.code // an ack, without a session
					}
					if l := v.leaks(frame, string(said.Body)); p.Code != a.code || len(l) > 0 {
						t.Errorf("%s by %s: %+v, shows %v; want %s", ty, f.name, said, l, a.code)
					}
				}
				_ = s.conn.CloseNow()
			} else if f.name == "nobody" && ty != wire.TypeHello { // before any hello
				s := w.dial()
				s.write(frame)
				if again, pause := s.closed().Reconnect(); again && !pause {
					t.Errorf("%s before hello is not what closes the connection", ty)
				}
			}

			r := w.ask("POST", "/v1/frames", f.token, frame)
			want := a.code
			switch {
			case f.refused != "":
				want = f.refused
			case f.role != "device", guestly(f, ty):
				want = wire.CodeForbidden
			case a.code == "", ty == wire.TypeHello:
				want = wire.CodeBadFrame
			case ty == wire.TypeResume:
				want = wire.CodeBadRequest // it needs a stream
			}
			if double(f, ty) {
				if r.status != http.StatusOK || len(v.leaks(frame, r.body)) > 0 {
					t.Errorf("POST of %s by %s: %+v", ty, f.name, r)
				}
			} else if got := frameCode(t, r); got != want {
				t.Errorf("POST of %s by %s: %s, want %s", ty, f.name, r.body, want)
			}
			// Into the victim's own stream.
			if r := w.ask("POST", "/v1/frames", f.token, frame, "Tandem-Stream", v.things["STREAM"]); r.status < 400 {
				t.Errorf("%s by %s into the victim's stream: %+v", ty, f.name, r)
			}
		}
		if now := v.state(); now != v.before {
			t.Fatalf("%s changed what is the victim's:\n%s\nbefore:\n%s", f.name, now, v.before)
		}
	}
	v.accepts()
}

// frameCode is the code of a refusal over POST /v1/frames: a problem, or an error frame.
func frameCode(t *testing.T, r reply) wire.Code {
	t.Helper()
	var e wire.Envelope
	var p wire.Problem
	if err := json.Unmarshal([]byte(r.body), &e); err == nil && e.Type == wire.TypeError {
		check(t, json.Unmarshal(e.Body, &p))
		return p.Code
	}
	return r.code(t)
}
