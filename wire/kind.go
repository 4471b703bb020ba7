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

// MaxKind is the longest kind, in characters.
const MaxKind = 64

// reservedKinds begins the kinds that only the server uses.
const reservedKinds = "tandem."

// KindInfo is what the protocol says of one kind of message.
type KindInfo struct {
	Kind   string
	Sender Sender
	// Body is a zero value of the body's Go type.
	Body any
	// Summary in a sentence.
	Summary string
}

// Kinds lists the kinds that Tandem itself gives a meaning.
var Kinds = []KindInfo{
	{KindText, FromDevice, Text{}, "A chat message."},
	{KindFile, FromDevice, File{}, "A file offered for download."},
	{KindLink, FromDevice, Link{}, "Data by reference."},
	{KindFileProgress, FromServer, FileProgress{}, "How much of an upload has arrived; not stored."},
	{KindProfile, FromServer, ProfileMessage{}, "The sender's profile, as far as the device has not got it yet."},
	{KindPlace, FromServer, PlaceMessage{}, "The sender's place; not stored while it is shared live, but for the first."},
	{KindPlaceCheck, FromServer, PlaceCheck{}, "What can your device do about places? Not stored."},
	{KindPlaceAsk, FromServer, PlaceAsked{}, "The sender asks for your place."},
	{KindPlaceStopped, FromServer, PlaceStopped{}, "The sender's place is shared no more."},
	{KindOverlayShown, FromServer, OverlayShown{}, "The sender's device shows an overlay, or says why not."},
	{KindOverlayResult, FromServer, OverlayResult{}, "What came of an action of an overlay, checked against it."},
	{KindState, FromServer, SessionState{}, "A change of the session, kept in its log."},
}

// ValidKind reports whether s is well formed as a kind, reserved or not.
func ValidKind(s string) bool { return kindOf([]byte(s)) != "" }

// kindOf returns the kind, without allocating for those of Kinds; "" if it is none.
func kindOf(b []byte) string {
	for i := range Kinds {
		if Kinds[i].Kind == string(b) {
			return Kinds[i].Kind
		}
	}
	if len(b) == 0 || len(b) > MaxKind {
		return ""
	}
	for _, c := range b {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return ""
		}
	}
	return string(b)
}

// Text is a chat message.
type Text struct {
	// Text in plain characters; markup in it means nothing.
	Text string `json:"text"`
}

// File offers a stored file to the members.
type File struct {
	// ID of the stored file.
	ID FileID `json:"id"`
	// Name to offer for saving; not a path.
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
	// Width of the picture, in pixels.
	Width int `json:"width,omitempty"`
	// Height of the picture, in pixels.
	Height int `json:"height,omitempty"`
}

// Link is data by reference: where to download it (C1).
type Link struct {
	// URL to download from.
	URL string `json:"url"`
	// Name to show.
	Name string `json:"name,omitempty"`
	// Type is the media type, as far as the sender knows it.
	Type string `json:"type,omitempty"`
	// Size in bytes, as far as the sender knows it.
	Size int64 `json:"size,omitempty"`
}

// DeliverFirst reports whether a message of this kind may be shown to the others before
// it is stored: only what reads like chat. See docs/protocol.md, "What an ack means".
func DeliverFirst(kind string) bool { return kind == KindText || kind == KindLink }
