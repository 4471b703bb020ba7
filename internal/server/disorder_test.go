package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/wire"
)

// TestEveryCombinationInDisorder: of whatever kind the two sides' reporters are, clocks that differ by
// five seconds, reports that come twice, and one that comes late change nothing: one session opens,
// and ends with the call (C6).
func TestEveryCombinationInDisorder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *server.Config) { c.Calls.InviteDelay = time.Hour })
	p := [2]*matrixParty{w.matrixParty("phone", alice), w.matrixParty("PC", bob)}
	n := 0
	for first := range p[0].reports {
		for second := range p[1].reports {
			for name, c := range map[string]struct {
				skew [2]time.Duration
				say  [2][]string // each side's reports, in the order in which they arrive
			}{
				"the first is behind, ringing comes late": {[2]time.Duration{-5 * time.Second, 5 * time.Second}, [2][]string{{"active", "ringing"}, {"active", "ringing"}}},
				"the second is behind, all comes twice":   {[2]time.Duration{5 * time.Second, -5 * time.Second}, [2][]string{{"ringing", "ringing", "active", "active"}, {"ringing", "ringing", "active", "active"}}},
			} {
				n++
				by, began := [2]string{first, second}, time.Now().Add(-10*time.Second)
				say := func(side int, state string) (session wire.SessionID) {
					t.Helper()
					at := began.Add(c.skew[side])
					switch state {
					case "active":
						at = at.Add(time.Second)
					case "ended":
						at = at.Add(4 * time.Second)
					}
					body := fmt.Sprintf(`{"other":"tel:%s","direction":%q,"state":%q,"at":%q,"ref":{"local":"d%d-%d"}}`,
						p[1-side].number, [2]string{"outgoing", "incoming"}[side], state, at.UTC().Format(time.RFC3339Nano), n, side)
					r := p[side].reports[by[side]](body)
					var ack wire.Ack
					if err := json.Unmarshal([]byte(r.body), &ack); err != nil || r.status != http.StatusOK {
						t.Fatalf("%s by %v: %s of side %d: %+v", name, by, state, side, r)
					}
					return ack.Session
				}
				var session wire.SessionID
				for side := range p {
					for _, state := range c.say[side] {
						session = say(side, state)
					}
				}
				if session == "" || say(0, "active") != session {
					t.Errorf("%s by %v: session %q", name, by, session)
				}
				say(0, "ended")
				say(1, "ended")
				say(0, "active") // late
				if session == "" {
					continue
				}
				if st := asks[wire.SessionState](w, p[0].device, "GET", "/v1/sessions/"+string(session), ""); st.Phase != wire.AfterCall {
					t.Errorf("%s by %v: after the call it is %s", name, by, st.Phase)
				}
				if r := w.ask("DELETE", "/v1/operator/sessions/"+string(session), w.op, ""); r.status != http.StatusNoContent {
					t.Fatalf("%s: %+v", name, r)
				}
			}
		}
	}
	if n != 4*4*2 {
		t.Errorf("%d combinations", n)
	}
}
