package wire

import "github.com/tandem-call/tandem/tel"

// Page is what the server's own pages need to know before they are a device.
type Page struct {
	Version string `json:"version"`
	// Region (ISO 3166-1) in which national numbers are read, if the server has one.
	Region string `json:"region,omitempty"`
	// Maps that the operator has, and its mapping service; without maps, the page draws the
	// outline of the world.
	Maps *PageMaps `json:"maps,omitempty"`
	// TryIt lists the phones that the first page shows side by side: on a development
	// server on this machine only.
	TryIt []TryPhone `json:"try_it,omitempty"`
	// TryAt is the origin of the page that shows them.
	TryAt string `json:"try_at,omitempty"`
	// Phone is the one of them whose page this is.
	Phone *TryPhone `json:"phone,omitempty"`
}

// PageMaps say what the page's maps are made of.
type PageMaps struct {
	// Tiles is the address of raster tiles of 256 pixels, with {z}, {x} and {y}; or there is a file.
	Tiles string `json:"tiles,omitempty"`
	// File of tiles is at this path (PMTiles).
	File string `json:"file,omitempty"`
	// Attribution to be shown, of either.
	Attribution string `json:"attribution,omitempty"`
	// Link is the address of a mapping service, with {lat} and {lon}.
	Link string `json:"link,omitempty"`
}

// TryPhone is a phone of a trial without real numbers.
type TryPhone struct {
	Name string `json:"name"`
	// Number is fictional.
	Number tel.Number `json:"number"`
	// Origin of its page, where it is a device of its own.
	Origin string `json:"origin"`
}

// TrialCode is the one-time code that was made for the number of a TryPhone.
type TrialCode struct {
	Code string `json:"code"`
}
