package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/tandem-call/tandem/wire"
)

// What others have granted to a number does not pass to whoever has it next, and what they refuse
// it stays refused.
func TestGrantsDoNotPassToANumbersNextHolder(t *testing.T) {
	w := newWorld(t)
	_, y, session := w.pair(alice, bob)
	z := w.enrol(carol)
	bobs, carols := w.token(y), w.token(z)
	card := "BEGIN:VCARD\r\nVERSION:4.0\r\nUID:alice\r\nFN:Alice\r\nTEL:" + alice + "\r\nEND:VCARD\r\n"
	keep := func() {
		r := w.ask("POST", "/v1/contacts/cards", bobs, card, "Content-Type", "text/vcard")
		if r.status >= 300 {
			t.Fatalf("import: %+v", r)
		}
	}
	keep()
	for _, c := range [][4]string{
		{bobs, "PATCH", "/v1/profile", `{"base":0,"set":[{"id":"fn","name":"fn","value":"Bob"},{"id":"door","name":"note","value":"velvet"}],"general":["fn"],"groups":[{"name":"friends","members":["tel:` + alice + `"],"adds":true,"fields":["door"]}]}`},
		{bobs, "PUT", "/v1/contact-rules", `{"identity":"tel:` + alice + `","send":"always","keep":"always"}`},
		{bobs, "PUT", "/v1/place/rules", `{"rules":[{"identity":"tel:` + alice + `","consent":"live","minutes":60},{"group":"contacts","consent":"call"}],"never":[]}`},
		{carols, "PUT", "/v1/contact-rules", `{"identity":"tel:` + alice + `","send":"never","keep":"always"}`},
		{carols, "PUT", "/v1/place/rules", `{"rules":[],"never":["tel:` + alice + `"]}`},
		{carols, "POST", "/v1/blocks", `{"identity":"tel:` + alice + `"}`},
	} {
		if r := w.ask(c[1], c[2], c[0], c[3]); r.status >= 300 {
			t.Fatalf("%s %s: %+v", c[1], c[2], r)
		}
	}
	has := func(when, token, path, mark string, want bool) {
		t.Helper()
		if r := w.ask("GET", path, token, ""); r.status != http.StatusOK || strings.Contains(r.body, mark) != want {
			t.Errorf("%s: %s has %q: %v, want %v: %+v", when, path, mark, !want, want, r)
		}
	}
	view := "/v1/profile/preview?for=tel:%2B" + alice[1:]
	here := func(id wire.SessionID) string { return "/v1/sessions/" + string(id) + "/place/rules" }
	has("before", bobs, view, "velvet", true)
	has("before", bobs, here(session), `"minutes":60`, true)

	if r := w.ask("DELETE", "/v1/operator/numbers/"+alice+"/devices", w.op, ""); r.status != http.StatusNoContent {
		t.Fatalf("recycle: %+v", r)
	}
	next := w.token(w.enrol(alice))
	if r := w.ask("POST", "/v1/reports", next, report(bob, "outgoing", "active", "d")); r.status != http.StatusOK {
		t.Fatalf("report: %+v", r)
	}
	r := w.ask("POST", "/v1/reports", bobs, report(alice, "incoming", "active", "d"))
	var ack wire.Ack
	check(t, json.Unmarshal([]byte(r.body), &ack))
	if session = ack.Session; session == "" {
		t.Fatalf("no session with the next holder: %+v", r)
	}
	has("after", bobs, view, "velvet", false)
	has("after", bobs, here(session), `"rule"`, false)
	has("after", bobs, "/v1/contact-rules", alice, false)
	has("after", bobs, "/v1/contacts", alice, true)
	has("after", carols, "/v1/contact-rules", `"send":"never"`, true)
	has("after", carols, "/v1/contact-rules", `"keep":"always"`, false)
	has("after", carols, "/v1/place/rules", alice, true)
	has("after", carols, "/v1/blocks", alice, true)

	keep() // Bob knows the new holder too
	has("kept again", bobs, here(session), `"consent":"call"`, true)
}
