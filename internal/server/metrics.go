package server

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore"
)

// metrics serves what the parts count, in Prometheus' form.
func (s *Server) metrics(version string) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collector{s, version})
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// collector reads the parts' counts when it is asked.
type collector struct {
	*Server
	version string
}

var (
	descInfo       = desc("info", "Version, and what an acknowledgement means.", "version", "durability")
	descUp         = desc("ready", "1 while requests should come here.")
	descConns      = desc("connections", "Devices' connections that are open.", "kind")
	descFrames     = desc("frames_total", "Envelopes to and from devices.", "direction")
	descBytes      = desc("bytes_total", "Bytes to and from devices.", "direction")
	descReports    = desc("reports_total", "Reports of calls that were stored, by who made them.", "reporter")
	descReportsNot = desc("reports_failed_total", "Reports of calls that were refused, or could not be stored.")
	descAnswers    = desc("invitations_answered_total", "Answers to invitations.", "answer")
	descOpened     = desc("sessions_opened_total", "Sessions opened.")
	descOpening    = desc("session_open_seconds_total", "Time from the match of two reports to the stored session, over all sessions opened.")
	descClosed     = desc("sessions_closed_total", "Sessions closed.")
	descRooms      = desc("sessions", "Sessions that devices are connected to here.")
	descMessages   = desc("messages_total", "Messages stored in sessions and acknowledged.")
	descStoring    = desc("message_store_seconds_total", "Time from taking a message to its acknowledgement, over all messages.")
	descWrites     = desc("writes_total", "Writes to sockets; frames per write tells how well they coalesce.")
	descDropped    = desc("dropped_frames_total", "Frames that never reached their device.", "reason")
	descCloses     = desc("closed_connections_total", "Connections closed by the server.", "code")
	descRefused    = desc("refused_connections_total", "Connection attempts refused.", "problem")
	descCommits    = desc("store_commits_total", "Commits to the store, each with one sync at most.")
	descChanges    = desc("store_changes_total", "Changes in the commits.")
	descSync       = desc("store_sync_seconds_total", "Time spent waiting for syncs.")
	descSyncMax    = desc("store_sync_max_seconds", "The longest sync since the start.")
	descDisk       = desc("store_disk_bytes", "What the data takes on the disk.")
	descFree       = desc("store_free_bytes", "What is free on the file system.")
	descLimited    = desc("limited_total", "Requests and reports refused by a limit.", "limit")
	descLimitKeys  = desc("limit_keys", "Callers that a limit counts now.", "limit")
	descEvents     = desc("webhook_events_total", "Events written down for webhooks.")
	descDeliveries = desc("webhook_deliveries_total", "Deliveries of events that came to an end.", "status")
	descMissed     = desc("webhook_missed_total", "Attempts to deliver that did not succeed.")
	descHooksOff   = desc("webhooks_disabled_total", "Webhooks disabled since they were gone or failed for long.")
	descHooksNow   = desc("webhook_attempts", "Attempts to deliver that are under way.")
	descPushes     = desc("pushes_total", "Attempts to wake a device, by what the push service said: sent, missed (to be tried again), refused, gone.", "platform", "outcome")
	descPushTime   = desc("push_seconds_total", "Time from what a device was to be told until its push was taken, over all that were sent.")
	descSegments   = desc("text_segments_total", "Text messages, in segments, that invited parties without a client.")
	descTexts      = desc("texts_total", "What became of invitations by text message: refused (by a quota), delivered, failed (as the gateway reports), stopped and resumed (by the answer STOP, or START).", "outcome")
	descProfiles   = desc("profile_messages_total", "Profiles, or what was new in them, sent to devices.")
	descPictures   = desc("profile_picture_bytes_total", "Bytes of others' profile pictures that devices fetched.")
	descPayments   = desc("payments_total", "Payments begun, and what the payment server said came of them.", "outcome")
	descPushQueue  = desc("pushes_waiting", "Pushes with an attempt to come.")
	descBusDropped = desc("store_bus_dropped_total", "Bus messages dropped since a subscriber was too slow.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tandem_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector: it describes nothing beforehand, since it is
// registered before all parts are there and the labels come from them.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge(descInfo, 1, c.version, c.engine.Durability())
	up := 0.0
	if !c.draining.Load() && c.engine.Err() == nil {
		up = 1
	}
	gauge(descUp, up)
	w := c.sockets.Stats()
	gauge(descConns, float64(w.Sockets), "websocket")
	gauge(descConns, float64(w.Streams), "sse")
	gauge(descConns, float64(w.Pending), "unauthenticated")
	count(descFrames, float64(w.FramesIn), "in")
	count(descFrames, float64(w.FramesOut), "out")
	count(descBytes, float64(w.BytesIn), "in")
	count(descBytes, float64(w.BytesOut), "out")
	count(descWrites, float64(w.Writes))
	for reason, n := range w.Dropped {
		count(descDropped, float64(n), reason)
	}
	for code, n := range w.Closings {
		count(descCloses, float64(n), strconv.Itoa(int(code)))
	}
	for code, n := range w.Refused {
		count(descRefused, float64(n), string(code))
	}
	calls := c.matcher.Stats()
	for kind, n := range calls.Reports {
		count(descReports, float64(n), string(kind))
	}
	count(descReportsNot, float64(calls.Refused))
	count(descAnswers, float64(calls.Accepted), "accepted")
	count(descAnswers, float64(calls.Declined), "declined")
	in := c.sessions.Stats()
	count(descOpened, float64(in.Opened))
	count(descOpening, in.Opening.Seconds())
	count(descClosed, float64(in.Closed))
	gauge(descRooms, float64(in.Rooms))
	count(descMessages, float64(in.Messages))
	count(descStoring, in.Storing.Seconds())
	for limit, b := range c.limits.buckets() {
		keys, denied := b.Stats()
		count(descLimited, float64(denied), limit)
		gauge(descLimitKeys, float64(keys), limit)
	}
	h := c.hooks.Stats()
	count(descEvents, float64(h.Emitted))
	count(descDeliveries, float64(h.Delivered), "delivered")
	count(descDeliveries, float64(h.Failed), "failed")
	count(descMissed, float64(h.Missed))
	count(descHooksOff, float64(h.Disabled))
	gauge(descHooksNow, float64(h.InFlight))
	pay := c.payments.Stats()
	for outcome, n := range map[string]uint64{"begun": pay.Begun, "paid": pay.Paid, "failed": pay.Failed, "cancelled": pay.Cancelled} {
		count(descPayments, float64(n), outcome)
	}
	p := c.wakes.Stats()
	for outcome, counts := range map[string]map[string]uint64{"sent": p.Sent, "missed": p.Missed, "refused": p.Refused, "gone": p.Gone} {
		for platform, n := range counts {
			count(descPushes, float64(n), platform, outcome)
		}
	}
	count(descPushTime, p.Seconds)
	gauge(descPushQueue, float64(p.Waiting))
	people := c.people.Stats()
	count(descProfiles, float64(people.Sent))
	count(descPictures, float64(people.PictureBytes))
	segments := uint64(0)
	if c.texts != nil {
		segments = c.texts.Segments()
	}
	count(descSegments, float64(segments))
	count(descTexts, float64(c.textsRefused.Load()), "refused")
	count(descTexts, float64(c.textsDelivered.Load()), "delivered")
	count(descTexts, float64(c.textsFailed.Load()), "failed")
	count(descTexts, float64(c.textsStopped.Load()), "stopped")
	count(descTexts, float64(c.textsResumed.Load()), "resumed")
	if c.sip != nil {
		c.collectSIP(gauge, count)
	}
	if p, ok := c.engine.(*pebblestore.Store); ok {
		st := p.Stats()
		count(descCommits, float64(st.Batches))
		count(descChanges, float64(st.Operations))
		count(descSync, float64(st.SyncNanos)/1e9)
		gauge(descSyncMax, float64(st.SyncMaxNanos)/1e9)
		gauge(descDisk, float64(st.DiskBytes))
		gauge(descFree, float64(st.FreeBytes))
		count(descBusDropped, float64(st.BusDropped))
	}
}
