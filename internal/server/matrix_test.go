package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/wire"
)

// party of the matrix: a number, the one device that carries data for it, and who can report
// its calls.
type matrixParty struct {
	kind   string // "phone": a mobile with an app; "PC": a plain telephone coupled with a PC
	number string
	device *client.Identity
	// reports of each kind of reporter: device, person, element, forwarded, provider.
	reports map[string]func(body string) reply
}

func (w *world) matrixParty(kind, number string) *matrixParty {
	w.t.Helper()
	p := &matrixParty{kind: kind, number: number, reports: map[string]func(string) reply{}}
	by := func(token, change string) func(string) reply {
		return func(body string) reply {
			return w.ask("POST", "/v1/reports", token, strings.Replace(body, "{", "{"+change, 1))
		}
	}
	if kind == "phone" {
		p.device = w.enrol(number)
		p.reports["device"] = by(w.token(p.device), "")
	} else {
		id, pending := w.beginCoupling("PC of " + number)
		if r := w.ask("POST", "/v1/couplings/accept", w.op, fmt.Sprintf(`{"number":%q,"code":%q}`, number, pending.Code)); r.status != http.StatusOK {
			w.t.Fatalf("%+v", r)
		}
		if r := w.claim(id, pending, ""); r.status != http.StatusCreated {
			w.t.Fatalf("%+v", r)
		}
		p.device = id
		// What the exchange told the PC, which says it as its own (A6).
		p.reports["forwarded"] = by(w.token(id), "")
	}
	own := fmt.Sprintf(`"own":"tel:%s",`, number)
	p.reports["person"] = by(w.token(p.device), `"typed":true,`)
	p.reports["element"] = by(w.key("element", number), own)
	p.reports["provider"] = by(w.key("provider", number), own)
	return p
}

// TestEveryCombination: whatever reports a call on either side, whichever side dialled,
// whichever is heard first, between phones and PCs: a session opens, and every kind of data goes
// both ways (C6).
func TestEveryCombination(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *server.Config) { c.Calls.InviteDelay = time.Hour })
	sides := [][2]*matrixParty{
		{w.matrixParty("phone", alice), w.matrixParty("phone", bob)},
		{w.matrixParty("phone", carol), w.matrixParty("PC", dave)},
		{w.matrixParty("PC", "+442079460005"), w.matrixParty("PC", "+442079460006")},
	}
	kinds := []string{"device", "person", "element", "forwarded", "provider"}
	n, seen := 0, map[string]bool{}
	for _, p := range sides {
		for _, first := range kinds {
			for _, second := range kinds {
				if p[0].reports[first] == nil || p[1].reports[second] == nil {
					continue
				}
				for dialled := range 2 {
					for heard := range 2 {
						n++
						seen[first+" "+second] = true
						name := fmt.Sprintf("%s by %s and %s by %s, dialled by %d, heard of %d first", p[0].kind, first, p[1].kind, second, dialled, heard)
						w.combination(name, n, p, [2]string{first, second}, dialled, heard)
					}
				}
			}
		}
	}
	if n != 4*3*16 || len(seen) != 24 { // all but one: PC and phone are as phone and PC
		t.Errorf("%d combinations of %d pairs of reporters", n, len(seen))
	}
}

// combination makes one call and passes every kind of data in its session.
func (w *world) combination(name string, n int, p [2]*matrixParty, by [2]string, dialled, heard int) {
	w.t.Helper()
	say := func(side int, state string) (session wire.SessionID) {
		direction := "incoming"
		if side == dialled {
			direction = "outgoing"
		}
		body := fmt.Sprintf(`{"other":"tel:%s","direction":%q,"state":%q}`, p[1-side].number, direction, state)
		if by[side] != "person" { // who types knows no reference
			body = fmt.Sprintf(`{"other":"tel:%s","direction":%q,"state":%q,"ref":{"local":"%d-%d"}}`, p[1-side].number, direction, state, n, side)
		}
		r := p[side].reports[by[side]](body)
		var ack wire.Ack
		if err := json.Unmarshal([]byte(r.body), &ack); err != nil || r.status != http.StatusOK {
			w.t.Fatalf("%s: %s of side %d: %+v", name, state, side, r)
		}
		return ack.Session
	}
	if s := say(heard, "active"); s != "" {
		w.t.Fatalf("%s: one side alone opens %s", name, s)
	}
	session := say(1-heard, "active")
	if session == "" {
		w.t.Fatalf("%s: no session", name)
	}
	at := "/v1/sessions/" + string(session) + "/messages"
	var files []string
	for side, from := range p {
		for kind, body := range map[string]string{
			wire.KindText: fmt.Sprintf(`{"text":"text of %d"}`, side),
			wire.KindLink: fmt.Sprintf(`{"url":"https://example.com/%d"}`, side),
			"x.seatplan":  fmt.Sprintf(`{"seat":"object of %d"}`, side),
		} {
			r := w.ask("POST", at, w.token(from.device), fmt.Sprintf(`{"id":%q,"kind":%q,"body":%s}`, wire.NewID("m"), kind, body))
			if r.status != http.StatusCreated {
				w.t.Fatalf("%s: %s of side %d: %+v", name, kind, side, r)
			}
		}
		if heard == 0 { // each file is synced: half the combinations will do
			files = append(files, w.upload(w.token(from.device), session, fmt.Sprintf("file of %d", side)))
		}
	}
	for side, to := range p {
		other := 1 - side
		r := w.ask("GET", at, w.token(to.device), "")
		for _, want := range []string{fmt.Sprintf("text of %d", other), fmt.Sprintf("example.com/%d", other), fmt.Sprintf("object of %d", other)} {
			if !strings.Contains(r.body, want) {
				w.t.Fatalf("%s: side %d lacks %q: %s", name, side, want, r.body)
			}
		}
		if len(files) == 0 {
			continue
		}
		if r := w.ask("GET", "/v1/files/"+files[other], w.token(to.device), ""); r.body != fmt.Sprintf("file of %d", other) {
			w.t.Fatalf("%s: side %d fetches %+v", name, side, r)
		}
	}
	say(0, "ended")
	say(1, "ended")
	if st := asks[wire.SessionState](w, p[0].device, "GET", "/v1/sessions/"+string(session), ""); st.Phase != wire.AfterCall {
		w.t.Fatalf("%s: after the call it is %s", name, st.Phase)
	}
	if r := w.ask("DELETE", "/v1/operator/sessions/"+string(session), w.op, ""); r.status != http.StatusNoContent {
		w.t.Fatalf("%s: %+v", name, r)
	}
}
