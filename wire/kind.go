package wire

// Kinds of message that Tandem itself gives a meaning. Any other kind of at most 64
// characters [a-z0-9._-] passes as it is: a service data object (SPEC C3). Kinds that
// begin with "tandem." are the server's alone.
const (
	KindText = "text" // body Text
	KindFile = "file" // body File: offered for download
	KindLink = "link" // body Link: data by reference (C1)

	// KindState is a change of the session, kept in its log: body SessionState.
	KindState = "tandem.state"
)

// Text is a chat message.
type Text struct {
	Text string `json:"text"`
}

// File offers a stored file to the members.
type File struct {
	ID   FileID `json:"id"`
	Name string `json:"name"`
	// Size in bytes.
	Size int64 `json:"size"`
	// Type is the media type that the server recognised in the content.
	Type string `json:"type"`
	// SHA256 of the content, in hexadecimal.
	SHA256 string `json:"sha256"`
	// Path from which a member downloads it, with ranges; below the server's address.
	Path string `json:"path"`
	// Preview is the path of a small picture, for images.
	Preview string `json:"preview,omitempty"`
	Width   int    `json:"width,omitempty"`
	Height  int    `json:"height,omitempty"`
}

// Link is data by reference: where to download it (C1).
type Link struct {
	URL  string `json:"url"`
	Name string `json:"name,omitempty"`
	Type string `json:"type,omitempty"`
	Size int64  `json:"size,omitempty"`
}

// DeliverFirst reports whether a message of this kind may be shown to the others before
// it is stored: only what reads like chat. See docs/protocol.md, "What an ack means".
func DeliverFirst(kind string) bool { return kind == KindText || kind == KindLink }
