package server

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	descSIPMessages = desc("sip_messages_total", "SIP messages taken.", "kind")
	descSIPAnswers  = desc("sip_answers_total", "Answers that the SIP element gave or passed on.", "class")
	descSIPLost     = desc("sip_lost_total", "SIP messages that could not be taken or sent, and connections refused.", "reason")
	descSIPNow      = desc("sip", "What the SIP element holds now.", "what")
	descSIPPlaces   = desc("sip_places_total", "Places that SIP requests named (Geolocation).", "outcome")
	descSIPReports  = desc("sip_reports_total", "Reports of calls by the SIP element.", "outcome")
)

// collectSIP reads the counts of the SIP element.
func (c collector) collectSIP(gauge, count func(*prometheus.Desc, float64, ...string)) {
	s := c.sip.Stats()
	count(descSIPMessages, float64(s.Requests), "request")
	count(descSIPMessages, float64(s.Responses), "response")
	count(descSIPMessages, float64(s.Faults), "malformed")
	count(descSIPMessages, float64(s.Repeated), "repeated")
	for class, n := range s.Answers {
		if class > 0 {
			count(descSIPAnswers, float64(n), strconv.Itoa(class)+"xx")
		}
	}
	count(descSIPLost, float64(s.Dropped), "no room")
	count(descSIPLost, float64(s.Unsent), "not sent")
	count(descSIPLost, float64(s.RefusedConns), "connection refused")
	gauge(descSIPNow, float64(s.Transactions), "transactions")
	gauge(descSIPNow, float64(s.Connections), "connections")
	gauge(descSIPNow, float64(s.Bindings), "bindings")
	gauge(descSIPNow, float64(s.Watched), "users watched")
	gauge(descSIPNow, float64(s.CallsKept), "calls written down")
	gauge(descSIPNow, float64(s.ReportsWaiting), "reports waiting")
	for outcome, n := range s.Places {
		count(descSIPPlaces, float64(n), outcome)
	}
	count(descSIPReports, float64(s.Reports), "handed over")
	count(descSIPReports, float64(s.ReportsDropped), "dropped")
	count(descSIPReports, float64(s.ReportsFailed), "failed")
	count(descSIPReports, float64(c.beyond.all.Load()), "out of range")
}
