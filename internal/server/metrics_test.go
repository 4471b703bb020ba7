package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestMetricsOfCalls: what an operator watches says what calls, sessions and messages there were.
func TestMetricsOfCalls(t *testing.T) {
	w := newWorld(t)
	x, y, id := w.pair(alice, bob)
	a, _ := w.enter(x), w.enter(y)
	for i := range 3 {
		if e, p := a.answer(fmt.Sprintf(`{"type":"send","id":"m%d","session":%q,"kind":"text","body":{"text":"hello"}}`, i, id)); p.Code != "" {
			t.Fatalf("%+v", e)
		}
	}
	if r := w.ask("POST", "/v1/reports", w.token(x), report(alice, "outgoing", "active", "c")); r.status == http.StatusOK {
		t.Fatal("a report of a call with oneself was taken")
	}
	text := do(w.admin(), mustRequest(t, w, "http://admin/metrics")).body
	for name, want := range map[string]string{
		`tandem_reports_total{reporter="device"}`:              "2",
		`tandem_reports_failed_total`:                          "1",
		`tandem_sessions_opened_total`:                         "1",
		`tandem_sessions_closed_total`:                         "0",
		`tandem_sessions`:                                      "1",
		`tandem_messages_total`:                                "3",
		`tandem_invitations_answered_total{answer="accepted"}`: "0",
	} {
		if !strings.Contains(text, "\n"+name+" "+want+"\n") {
			t.Errorf("not %s %s", name, want)
		}
	}
	for _, name := range []string{"tandem_session_open_seconds_total", "tandem_message_store_seconds_total"} {
		if !strings.Contains(text, "\n"+name+" ") || strings.Contains(text, "\n"+name+" 0\n") {
			t.Errorf("%s is not measured", name)
		}
	}
}
