package server_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/call"
	"github.com/tandem-call/tandem/internal/device"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/internal/session"
	"github.com/tandem-call/tandem/wire"
)

func TestFeaturesConfiguration(t *testing.T) {
	for want, change := range map[string]func(*server.Features){
		"":                                func(f *server.Features) { f.Text = server.Least{Binding: device.ProofSIM, Call: call.Trusted} },
		"evidence.features.place.binding": func(f *server.Features) { f.Place.Binding = device.ProofLink },
		"evidence.features.push.call":     func(f *server.Features) { f.Push.Call = call.Accepted },
		"evidence.features.coupling":      func(f *server.Features) { f.Coupling.Binding = "x" },
		"needs evidence.stir_roots":       func(f *server.Features) { f.File.Call = call.Passport },
	} {
		c := server.Defaults()
		change(&c.Evidence.Features)
		err := c.Validate()
		if want == "" && err == nil {
			continue
		}
		if !errors.Is(err, server.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	c, err := server.Load("", []string{"TANDEM_EVIDENCE_FEATURES_TEXT_INVITATION_CALL=trusted", "TANDEM_EVIDENCE_FEATURES_COUPLING_BINDING=sim"})
	if err != nil || c.Evidence.Features.TextInvitation.Call != call.Trusted || c.Evidence.Features.Coupling.Binding != device.ProofSIM {
		t.Errorf("read as %+v, %v", c.Evidence.Features, err)
	}
	// A coupling is made outside of calls.
	if _, err := server.Load("", []string{"TANDEM_EVIDENCE_FEATURES_COUPLING_CALL=trusted"}); err == nil {
		t.Error("coupling asks for a call")
	}
}

// TestEveryKindHasAFeature: each kind of message that the server knows belongs to the feature
// it should; one that is new is put there by somebody who has thought about it.
func TestEveryKindHasAFeature(t *testing.T) {
	want := map[string]string{
		"text": "text", "link": "link", "file": "file", "file.progress": "file", "tandem.profile": "profile",
		"tandem.place": "place", "tandem.place.check": "place", "tandem.place.ask": "place", "tandem.place.stopped": "place",
		"tandem.state": "", // the server's own, and nobody's
	}
	files, err := filepath.Glob("../../wire/*.go")
	check(t, err)
	found := 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		check(t, err)
		for _, m := range regexp.MustCompile(`(?m)^\s*(?:const )?Kind\w+\s*= "([a-z._]+)"`).FindAllSubmatch(b, -1) {
			kind := string(m[1])
			found++
			feature, known := want[kind]
			if !known && !strings.HasPrefix(kind, "overlay") && !strings.HasPrefix(kind, "tandem.overlay") {
				t.Errorf("%s: the kind %q is new: which feature does it belong to, in featureOf?", file, kind)
			}
			if feature != "" && server.FeatureOf(kind) != feature {
				t.Errorf("%q belongs to %s, want %s", kind, server.FeatureOf(kind), feature)
			}
		}
	}
	if found < len(want) {
		t.Errorf("found only %d kinds: this test looks for the wrong thing", found)
	}
	for kind, feature := range map[string]string{"overlay": "overlay", "overlay.touch": "overlay", "com.example.meter": "object", "overlays": "object"} {
		if got := server.FeatureOf(kind); got != feature {
			t.Errorf("%q belongs to %s, want %s", kind, got, feature)
		}
	}
}

// prove raises a device's proof of its number.
func (w *world) prove(id *client.Identity, proof string) {
	w.t.Helper()
	k := id.PublicKey()
	body := fmt.Sprintf(`{"number":%q,"proof":%q,"key":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`, id.Number, proof, k.X, k.Y)
	if r := w.ask("POST", "/v1/bindings", w.op, body); r.status != http.StatusCreated {
		w.t.Fatalf("prove: %+v", r)
	}
}

// TestFeaturesInASession: each kind of data passes when both proofs of both sides are good enough
// for it, and to those devices only.
func TestFeaturesInASession(t *testing.T) {
	w := newWorld(t, func(c *server.Config) {
		sim, trusted := server.Least{Binding: device.ProofSIM}, server.Least{Call: call.Trusted}
		c.Evidence.Features = server.Features{
			Text: trusted, Object: sim, File: server.Least{Binding: device.ProofSIM, Call: call.Trusted}, Profile: sim,
			Place: trusted, Overlay: server.Least{Binding: device.ProofOperator},
		}
	})
	tablet := w.enrol(bob) // is in the session, and will never be proved better
	x, y, session := w.pair(alice, bob)
	n, at := 0, "/v1/sessions/"+string(session)
	const share = `{"uri":"geo:51.5,-0.12"}`
	for _, field := range []string{x.Number.String(), y.Number.String()} {
		id := x
		if field == bob {
			id = y
		}
		_, err := client.NewAPI(id, w.http).ChangeProfile(w.ctx, wire.ProfileChange{Set: []wire.ProfileField{{ID: "fn", Name: "fn", Value: "profile of " + field}}, General: &[]string{"fn"}})
		check(t, err)
	}
	send := func(kind string) reply {
		n++
		return w.ask("POST", at+"/messages", w.token(x), fmt.Sprintf(`{"id":"m%d","kind":%q,"body":{"text":"%s %d","url":"https://example.com"}}`, n, kind, kind, n))
	}
	use := map[string]func() reply{
		"text": func() reply { return send("text") }, "link": func() reply { return send("link") }, "object": func() reply { return send("com.example.meter") },
		"overlay": func() reply {
			n++
			return w.ask("POST", at+"/overlays", w.token(x), fmt.Sprintf(`{"id":"m%d","document":{"version":1,"id":"x","language":"en","regions":[{"id":"a","grid":{"column":0,"row":0},"text":{"en":"x"}}]}}`, n))
		},
		"file": func() reply {
			n++
			req, err := http.NewRequestWithContext(w.ctx, "POST", w.url()+"/v1/files/", strings.NewReader("plan"))
			check(t, err)
			for k, v := range map[string]string{
				"Authorization": "Bearer " + w.token(x), "Tus-Resumable": "1.0.0", "Upload-Length": "4", "Content-Type": "application/offset+octet-stream",
				"Upload-Metadata": "session " + b64(string(session)) + ",filename " + b64("plan.txt"),
			} {
				req.Header.Set(k, v)
			}
			return do(w.http, req)
		},
		"place": func() (r reply) {
			w.until("a place may be shared again", func() bool { // once a second
				r = w.ask("POST", at+"/place", w.token(x), share)
				return r.status != http.StatusTooManyRequests
			})
			return r
		},
		"profile": func() reply { return w.ask("POST", at+"/profile", w.token(x), `{}`) },
	}
	try := func(when string, refused map[string]string) {
		t.Helper()
		for feature, do := range use {
			r := do()
			asks, no := refused[feature]
			if no && (r.code(t) != wire.CodeForbidden || !strings.Contains(r.body, asks) || !strings.Contains(r.body, feature)) || !no && r.status >= 300 {
				t.Errorf("%s: %s: %d %s", when, feature, r.status, r.body)
			}
		}
	}
	sock := w.enter(x)
	frame := func() wire.Code {
		t.Helper()
		n++
		_, p := sock.answer(fmt.Sprintf(`{"type":"send","id":"f%d","session":%q,"kind":"text","body":{"text":"by frame"}}`, n, session))
		return p.Code
	}

	try("observed, by codes", map[string]string{"text": "trusted", "object": "sim", "overlay": "operator", "file": "sim", "place": "trusted", "profile": "sim"})
	if c := frame(); c != wire.CodeForbidden {
		t.Errorf("a text by frame: %q", c)
	}
	// An element reports one side: the other is as weak as before.
	element := w.key("element", "+44")
	reported := func(own, other, direction string) {
		t.Helper()
		r := w.ask("POST", "/v1/reports", element, strings.Replace(report(other, direction, "active", "c"), "{", fmt.Sprintf(`{"own":"tel:%s",`, own), 1))
		if r.status != http.StatusOK {
			t.Fatalf("%+v", r)
		}
	}
	reported(alice, bob, "outgoing")
	w.prove(x, "sim")
	try("the other side is weak", map[string]string{"text": "trusted", "object": "sim", "overlay": "operator", "file": "sim", "place": "trusted", "profile": "sim"})
	reported(bob, alice, "incoming")
	w.prove(y, "sim")
	try("both are strong", map[string]string{"overlay": "operator"})
	if c := frame(); c != "" {
		t.Errorf("a text by frame: %q", c)
	}

	read := func(id *client.Identity) string { return w.ask("GET", at+"/messages", w.token(id), "").body }
	w.until("his telephone has everything, the profiles too", func() bool {
		all := read(y)
		return strings.Contains(all, `"text":"text `) && strings.Contains(all, "com.example.meter") && strings.Contains(all, "plan.txt") && strings.Contains(all, "geo:") && strings.Contains(all, `profile of `+alice)
	})
	all := read(tablet)
	if !strings.Contains(all, `"text":"text `) || !strings.Contains(all, "geo:") || !strings.Contains(all, `"kind":"link"`) {
		t.Errorf("his tablet lacks what asks for no proof: %s", all)
	}
	for _, secret := range []string{"com.example.meter", "plan.txt", "profile of " + alice} {
		if strings.Contains(all, secret) {
			t.Errorf("his tablet has %q: %s", secret, all)
		}
	}
	var file string
	for _, m := range asks[wire.MessageList](w, y, "GET", at+"/messages", "").Messages {
		if m.Kind == wire.KindFile {
			var f wire.File
			check(t, json.Unmarshal(m.Body, &f))
			file = f.Path
		}
	}
	if r := w.ask("GET", file, w.token(y), ""); r.body != "plan" {
		t.Errorf("his telephone fetches %+v", r)
	}
	if r := w.ask("GET", file, w.token(tablet), ""); r.status != http.StatusNotFound {
		t.Errorf("his tablet fetches %+v", r)
	}
	// By name, it is not passed over in silence.
	st := asks[wire.SessionState](w, x, "GET", at, "")
	for _, m := range st.Members {
		n++
		r := w.ask("POST", at+"/messages", w.token(x), fmt.Sprintf(`{"id":"m%d","to":[%q],"kind":"com.example.meter","body":{}}`, n, m.ID))
		if weak := r.status == http.StatusForbidden; m.ID != st.You && weak != (memberOf(w, tablet, at) == m.ID) {
			t.Errorf("to member %s: %+v", m.ID, r)
		}
	}
	// Who comes later has not been weighed, and reads nothing of before that asks for more.
	late := w.enrol(bob)
	if r := w.ask("POST", at+"/join", w.token(late), ""); r.status != http.StatusOK {
		t.Fatalf("join: %+v", r)
	}
	if all := read(late); strings.Contains(all, "com.example.meter") || strings.Contains(all, `"text":"text `) || !strings.Contains(all, `"kind":"link"`) {
		t.Errorf("a late device reads %s", all)
	}
}

// TestAudience: what is for all is for those who have shown enough. Where that is nobody it is for
// the sender alone, since a message that names nobody is for all, and for whoever comes later.
func TestAudience(t *testing.T) {
	gone := session.Member{Side: 2, Left: time.Now()}
	strong, weak := session.Member{Side: 2, Device: "strong"}, session.Member{Side: 2, Device: "weak"}
	own := session.Member{Side: 1, Device: "weak"}
	for name, c := range map[string]struct {
		others []session.Member
		to     []wire.MemberID
		want   []wire.MemberID
		ok     bool
	}{
		"all are strong":              {[]session.Member{strong, strong}, nil, []wire.MemberID{"2", "3"}, true},
		"one is":                      {[]session.Member{weak, strong}, nil, []wire.MemberID{"3"}, true},
		"none is":                     {[]session.Member{weak, own}, nil, []wire.MemberID{"1"}, false},
		"one is named":                {[]session.Member{weak, strong}, []wire.MemberID{"3"}, []wire.MemberID{"3"}, true},
		"a weak one is named":         {[]session.Member{weak, strong}, []wire.MemberID{"2", "3"}, nil, false},
		"all have left":               {[]session.Member{gone}, nil, []wire.MemberID{"1"}, true},
		"all but one's own have left": {[]session.Member{gone, own}, nil, []wire.MemberID{"1"}, true},
	} {
		members := append([]session.Member{{Side: 1, Device: "strong"}}, c.others...)
		got, ok, err := server.Audience(members, 0, c.to, func(m session.Member) (bool, error) { return m.Device == "strong", nil })
		if err != nil || ok != c.ok || ok && !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, %v, want %v, %v", name, got, ok, err, c.want, c.ok)
		}
	}
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func memberOf(w *world, id *client.Identity, at string) wire.MemberID {
	return asks[wire.SessionState](w, id, "GET", at, "").You
}

// TestFeaturesOfANumber: couplings and telephones need a number that is proved well enough.
func TestFeaturesOfANumber(t *testing.T) {
	w := newWorld(t, func(c *server.Config) {
		c.Evidence.Features.Coupling.Binding, c.Evidence.Features.Telephone.Binding = device.ProofSIM, device.ProofSIM
	})
	x := w.enrol(alice)
	_, pending := w.beginCoupling("television")
	typed := fmt.Sprintf(`{"code":%q}`, pending.Code)
	requests := [][2]string{{"/v1/couplings/offers", `{}`}, {"/v1/couplings/look", typed}, {"/v1/couplings/accept", typed}} // the last uses the code up
	for _, q := range requests {
		path, body := q[0], q[1]
		if r := w.ask("POST", path, w.token(x), body); r.code(t) != wire.CodeForbidden || !strings.Contains(r.body, "coupling") || !strings.Contains(r.body, "sim") {
			t.Errorf("%s: %+v", path, r)
		}
	}
	if r := w.ask("GET", "/v1/softphone", w.token(x), ""); r.code(t) != wire.CodeForbidden {
		t.Errorf("a telephone: %+v", r)
	}
	w.prove(x, "sim")
	for _, q := range requests {
		path, body := q[0], q[1]
		if r := w.ask("POST", path, w.token(x), body); r.status >= 300 {
			t.Errorf("%s, with better proof: %+v", path, r)
		}
	}
	if r := w.ask("GET", "/v1/softphone", w.token(x), ""); r.status != http.StatusOK {
		t.Errorf("a telephone, with better proof: %+v", r)
	}
}

// TestFeaturesOfAClaim: nobody is sent a text message on the word of a device alone, where the
// operator asks for a network's.
func TestFeaturesOfAClaim(t *testing.T) {
	w := newWorld(t, func(c *server.Config) {
		c.Texts.Enabled, c.Texts.After = true, time.Second
		c.Evidence.Features.TextInvitation = server.Least{Binding: device.ProofNetwork, Call: call.Trusted}
	})
	x, y := w.enrol(alice), w.enrol(bob)
	element := w.key("element", "+44")
	claim := func(own *client.Identity, other string, trusted bool) {
		t.Helper()
		if trusted {
			w.ask("POST", "/v1/reports", element, strings.Replace(report(other, "outgoing", "active", other), "{", fmt.Sprintf(`{"own":"tel:%s",`, own.Number), 1))
		}
		if r := w.ask("POST", "/v1/reports", w.token(own), report(other, "outgoing", "active", other)); r.status != http.StatusOK {
			t.Fatalf("%+v", r)
		}
	}
	w.prove(y, "network")
	claim(y, carol, false) // the call is not shown well enough
	claim(x, carol, true)  // her number is not
	claim(y, dave, true)
	if message := w.text(); !strings.Contains(message, dave) || strings.Contains(message, carol) {
		t.Errorf("sent: %s", message)
	}
	w.until("it is clear that nothing else is sent", func() bool { return strings.Count(w.log.String(), "feature=text_invitation") >= 2 })
	for len(w.codes) > 0 {
		if message := <-w.codes; strings.Contains(message, carol) {
			t.Errorf("sent, too: %s", message)
		}
	}
}
