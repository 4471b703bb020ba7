// Package overlay is the document that a service provider or an automated system lays over
// a party's call screen (SPEC I5, I6): an [Overlay] of [Region]s, each with a place, text or
// a picture, and [Action]s from a fixed list. [Decode] reads one that comes from outside and
// refuses whatever is not on the list, so nothing of a provider's is ever run. [Softkeys] and
// [Text] draw it for devices without touch or without pictures, and [Form.Check] says whether
// what a user filled in is an answer to the form.
//
// The JSON Schema in [Schema] is made from these types.
package overlay

// Version is the version of the document that this package reads.
const Version = 1

// Kind of the message that brings an overlay; its body is the document. The server refuses one
// that [Decode] refuses.
const Kind = "overlay"

// Overlay is one screen of a provider's.
type Overlay struct {
	// Version of the document's form: 1.
	Version int `json:"version" jsonschema:"minimum=1,maximum=1"`
	// ID names the overlay, so that a later one replaces it.
	ID string `json:"id" jsonschema:"pattern=^[a-z0-9_-]+$,maxLength=64"`
	// Language that is shown when the user's own is missing; each text has it. BCP 47, in lower case.
	Language string `json:"language" jsonschema:"pattern=^[a-z]{2\\,3}(-[a-z0-9]{2\\,8})*$,maxLength=35"`
	// Opacity of the overlay over the call screen, in per cent; absent: 85.
	Opacity int `json:"opacity,omitempty" jsonschema:"minimum=20,maximum=100"`
	// Columns of the grid; absent: 4. The grid's rows are as many as the regions need.
	Columns int `json:"columns,omitempty" jsonschema:"minimum=1,maximum=12"`
	// Regions in reading order, which is also that of the keyboard.
	Regions []Region `json:"regions" jsonschema:"minItems=1,maxItems=64"`
}

// Region is a piece of the overlay: a button if it has actions.
type Region struct {
	// ID names the region within its overlay.
	ID string `json:"id" jsonschema:"pattern=^[a-z0-9_-]+$,maxLength=64"`
	// Grid is its place in the grid, for screens of any size. A region has this or exact.
	Grid *Grid `json:"grid,omitempty"`
	// Exact is its place in hundredths of a per cent.
	Exact *Exact `json:"exact,omitempty"`
	// Inside names the earlier region with a picture that exact refers to; absent: the screen.
	Inside string `json:"inside,omitempty" jsonschema:"maxLength=64"`
	// Text that is shown; with actions, what the button is called.
	Text Words `json:"text,omitempty"`
	// Picture or logo.
	Picture *Picture `json:"picture,omitempty"`
	// State: enabled if absent.
	State State `json:"state,omitempty" jsonschema:"enum=enabled,enum=disabled,enum=selected"`
	// Display of a region that is new: steady if absent.
	Display Display `json:"display,omitempty" jsonschema:"enum=steady,enum=flash,enum=wobble"`
	// Actions that a touch does, in this order.
	Actions []Action `json:"actions,omitempty" jsonschema:"maxItems=8"`
}

// Words are a text by language.
type Words map[string]string

// In returns the text in the wanted language, else in the wider one (de for de-at), else in
// the fallback.
func (w Words) In(language, fallback string) string {
	for tag := language; tag != ""; tag = wider(tag) {
		if text, ok := w[tag]; ok {
			return text
		}
	}
	return w[fallback]
}

// Grid is a place in cells; the first column and row are 0.
type Grid struct {
	Column int `json:"column" jsonschema:"minimum=0,maximum=11"`
	Row    int `json:"row" jsonschema:"minimum=0,maximum=63"`
	// Width in columns; absent: 1.
	Width int `json:"width,omitempty" jsonschema:"minimum=0,maximum=12"`
	// Height in rows; absent: 1.
	Height int `json:"height,omitempty" jsonschema:"minimum=0,maximum=64"`
}

// Exact is a place in hundredths of a per cent of what it lies in: 0 to 10000.
type Exact struct {
	X      int `json:"x" jsonschema:"minimum=0,maximum=10000"`
	Y      int `json:"y" jsonschema:"minimum=0,maximum=10000"`
	Width  int `json:"width" jsonschema:"minimum=1,maximum=10000"`
	Height int `json:"height" jsonschema:"minimum=1,maximum=10000"`
}

// Picture is fetched from an https address.
type Picture struct {
	URL string `json:"url" jsonschema:"maxLength=2048,pattern=^https://"`
	// Alt says what is to be seen, for those who can't see it.
	Alt Words `json:"alt"`
}

// State is how a region answers to a touch.
type State string

const (
	Enabled  State = "enabled"
	Disabled State = "disabled"
	Selected State = "selected"
)

// Display is how a new region draws the eye. Devices whose user wants reduced motion mark
// it without moving it.
type Display string

const (
	Steady Display = "steady"
	Flash  Display = "flash"
	Wobble Display = "wobble"
)
