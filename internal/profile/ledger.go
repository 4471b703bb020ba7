package profile

import (
	"slices"
	"time"

	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// Receipts are what one party has received of another's profile: table "profile-ledger",
// key store.Key(tenant, owner, receiver).
type Receipts struct {
	// ID names the owner to this receiver, in every session alike, and the receiver to the owner.
	ID string `json:"id"`
	// Owner and Receiver are principal identities; Shown is what the receiver showed.
	Owner    tel.Identity `json:"owner"`
	Receiver tel.Identity `json:"receiver"`
	Shown    tel.Identity `json:"shown,omitzero"`
	// Once: the receiver's rule "keep once" was used up.
	Once bool `json:"once,omitempty"`
	// Contact that the receiver has kept it as.
	Contact string    `json:"contact,omitempty"`
	Devices []Holding `json:"devices"`
	// Hand are the fields that the owner sent by hand, beside what the receiver sees anyway.
	Hand      []string  `json:"hand,omitempty"`
	Withdrawn time.Time `json:"withdrawn,omitzero"`
	// Changed is when something was sent last.
	Changed time.Time `json:"changed"`
}

// Name leads from the name of an owner for a receiver to their receipts: table
// "profile-names", key store.Key(tenant, name).
type Name struct {
	Receipts string `json:"receipts"`
}

// Holding is what one of the receiver's devices has.
type Holding struct {
	Device wire.DeviceID `json:"device"`
	Fields []HeldField   `json:"fields"`
	// Show is what it was last told to lay over the call screen.
	Show []string `json:"show,omitempty"`
	// Session in which it was sent something last.
	Session wire.SessionID `json:"session"`
}

// HeldField is a field that a device was sent.
type HeldField struct {
	ID      string         `json:"id"`
	Name    string         `json:"name"`
	Version uint64         `json:"version"`
	Session wire.SessionID `json:"session"`
	Sent    time.Time      `json:"sent"`
	// Proof, and when that was, as they were sent with it.
	Proof  string    `json:"proof,omitempty"`
	Proved time.Time `json:"proved,omitzero"`
	// Picture is the id of the picture that came with it.
	Picture string `json:"picture,omitempty"`
	// Confirmed is when the device said that it holds it.
	Confirmed time.Time `json:"confirmed,omitzero"`
}

func (r *Receipts) of(d wire.DeviceID) *Holding {
	for i := range r.Devices {
		if r.Devices[i].Device == d {
			return &r.Devices[i]
		}
	}
	return nil
}

// is reports whether it is the field in this version or a newer one, as it is proved now.
func (x *HeldField) is(f wire.ProfileField) bool {
	return x.ID == f.ID && (x.Version > f.Version || x.Version == f.Version && x.Proof == f.Proof && x.Proved.Equal(f.Proved))
}

// Missing returns those of the fields that the device has not, or in an older version, or otherwise proved: what
// it has is what it confirmed, and what it was sent in this very session.
func (r *Receipts) Missing(fields []wire.ProfileField, d wire.DeviceID, in wire.SessionID) (missing []wire.ProfileField) {
	h := r.of(d)
	for _, f := range fields {
		has := h != nil && slices.ContainsFunc(h.Fields, func(x HeldField) bool {
			return x.is(f) && (!x.Confirmed.IsZero() || x.Session == in)
		})
		if !has {
			missing = append(missing, f)
		}
	}
	return missing
}

// Removed reports whether the device holds something that is no longer among the fields.
func (r *Receipts) Removed(fields []wire.ProfileField, d wire.DeviceID) bool {
	h := r.of(d)
	return h != nil && slices.ContainsFunc(h.Fields, func(x HeldField) bool {
		return !slices.ContainsFunc(fields, func(f wire.ProfileField) bool { return f.ID == x.ID })
	})
}

// ShownOtherwise reports whether the device was last told to show something else than this.
func (r *Receipts) ShownOtherwise(show []string, d wire.DeviceID) bool {
	h := r.of(d)
	return h != nil && !slices.Equal(h.Show, show)
}

// Told reports whether the device was told in the session what the owner shows. Once in each it is,
// also where nothing is missing: so it knows whom it speaks to, and can say what it has lost.
func (r *Receipts) Told(d wire.DeviceID, in wire.SessionID) bool {
	h := r.of(d)
	return h != nil && h.Session == in
}

// Sent notes that the device was sent fields in the session; all is what it sees now, and
// nil leaves what it holds besides.
//
// show is what it was told to lay over the call screen.
func (r Receipts) Sent(fields, all []wire.ProfileField, show []string, d wire.DeviceID, in wire.SessionID, now time.Time) Receipts {
	r.Devices = slices.Clone(r.Devices)
	if r.of(d) == nil {
		r.Devices = append(r.Devices, Holding{Device: d})
	}
	h := r.of(d)
	held := slices.Clone(h.Fields)
	if all != nil {
		held = slices.DeleteFunc(held, func(x HeldField) bool {
			return !slices.ContainsFunc(all, func(f wire.ProfileField) bool { return f.ID == x.ID })
		})
	}
	for _, f := range fields {
		x := HeldField{ID: f.ID, Name: f.Name, Version: f.Version, Session: in, Sent: now, Proof: f.Proof, Proved: f.Proved}
		if f.Picture != nil {
			x.Picture = pictureID(f.Picture.Path)
		}
		if i := slices.IndexFunc(held, func(x HeldField) bool { return x.ID == f.ID }); i >= 0 {
			held[i] = x
		} else {
			held = append(held, x)
		}
	}
	h.Fields, h.Show, h.Session = held, show, in
	r.Withdrawn, r.Changed = time.Time{}, now
	return r
}

// Confirm notes what the device says that it holds. What it was sent and does not name, it
// does not hold.
func (r Receipts) Confirm(have []wire.FieldVersion, d wire.DeviceID, now time.Time) Receipts {
	r.Devices = slices.Clone(r.Devices)
	h := r.of(d)
	if h == nil {
		return r
	}
	held := slices.Clone(h.Fields)
	for i := range held {
		x := &held[i]
		has := slices.ContainsFunc(have, func(v wire.FieldVersion) bool { return v.ID == x.ID && v.Version == x.Version })
		switch {
		case !has:
			x.Confirmed, x.Session = time.Time{}, ""
		case x.Confirmed.IsZero():
			x.Confirmed = now
		}
	}
	h.Fields = held
	return r
}

// list writes the receipts for their owner.
func (r *Receipts) list() (out []wire.ProfileReceipt) {
	for n, h := range r.Devices {
		for _, f := range h.Fields {
			out = append(out, wire.ProfileReceipt{
				To: r.Shown, Receiver: r.ID, Device: deviceName(n), Field: f.ID, Name: f.Name, Version: f.Version,
				Sent: f.Sent, Confirmed: f.Confirmed, Kept: r.Contact != "", Withdrawn: r.Withdrawn,
			})
		}
	}
	return out
}
