package wire

// Limits are told to each device in the welcome. docs/reference/problems.md has the
// table.
type Limits struct {
	// FrameBytes is the largest frame, in bytes.
	FrameBytes int `json:"frame_bytes"`
	// MessagesPerSecond a device may send, on average.
	MessagesPerSecond float64 `json:"messages_per_s"`
	// MessageBurst is how many it may send at once.
	MessageBurst int `json:"message_burst"`
	// Members of a session, at most.
	Members int `json:"members"`
	// FileBytes is the largest file, in bytes.
	FileBytes int64 `json:"file_bytes"`
	// LogEntries is the most messages that one session keeps.
	LogEntries uint64 `json:"log_entries"`
	// ReportTTLSeconds is the longest time a report stands without repetition.
	ReportTTLSeconds int `json:"report_ttl_s"`
	// LingerSeconds a session stays after the call.
	LingerSeconds int `json:"linger_s"`
	// LingerMaxSeconds a session stays after the call at most, with extensions.
	LingerMaxSeconds int `json:"linger_max_s"`
}

// DefaultLimits are in force unless the operator configures others.
var DefaultLimits = Limits{
	FrameBytes:        64 << 10,
	MessagesPerSecond: 200,
	MessageBurst:      1000,
	Members:           100,
	FileBytes:         512 << 20,
	LogEntries:        100_000,
	ReportTTLSeconds:  120,
	LingerSeconds:     600,
	LingerMaxSeconds:  3600,
}
