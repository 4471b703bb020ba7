package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/tandem-call/tandem/wire"
)

// Profile returns the party's own profile.
func (a *API) Profile(ctx context.Context) (p wire.Profile, err error) {
	return p, a.Call(ctx, http.MethodGet, "/v1/profile", nil, &p)
}

// ChangeProfile changes it; with a base, what others have changed since comes back as conflicts.
func (a *API) ChangeProfile(ctx context.Context, c wire.ProfileChange) (p wire.ProfileChanged, err error) {
	return p, a.Call(ctx, http.MethodPatch, "/v1/profile", c, &p)
}

// ReadProfileSource has the server read the profile at its address now.
func (a *API) ReadProfileSource(ctx context.Context) (p wire.Profile, err error) {
	return p, a.Call(ctx, http.MethodPost, "/v1/profile/source", nil, &p)
}

// ProveEmail has a code sent to an e-mail address.
func (a *API) ProveEmail(ctx context.Context, address string) (p wire.EmailProof, err error) {
	return p, a.Call(ctx, http.MethodPost, "/v1/profile/email", wire.EmailProofRequest{Address: address}, &p)
}

// ConfirmEmail proves the address with the code.
func (a *API) ConfirmEmail(ctx context.Context, address, code string) error {
	return a.Call(ctx, http.MethodPut, "/v1/profile/email", wire.EmailConfirm{Address: address, Code: code}, nil)
}

// WithdrawEmail takes back that an e-mail address is the party's.
func (a *API) WithdrawEmail(ctx context.Context, address string) error {
	return a.Call(ctx, http.MethodDelete, "/v1/profile/email?address="+url.QueryEscape(address), nil, nil)
}

// SetPicture sets the picture that a field of the profile shows.
func (a *API) SetPicture(ctx context.Context, field string, picture []byte) (p wire.Profile, err error) {
	return p, a.put(ctx, http.MethodPut, "/v1/profile/picture?field="+url.QueryEscape(field), http.DetectContentType(picture), picture, &p)
}

// TakeCard takes the fields of a contact card (text/vcard, application/vcard+json) into the profile.
func (a *API) TakeCard(ctx context.Context, mediaType string, card []byte) (p wire.ProfileChanged, err error) {
	return p, a.put(ctx, http.MethodPut, "/v1/profile/card", mediaType, card, &p)
}

// Preview says what somebody sees of the profile; "" is somebody unknown.
func (a *API) Preview(ctx context.Context, other string) (v wire.ProfileView, err error) {
	return v, a.Call(ctx, http.MethodGet, "/v1/profile/preview?for="+url.QueryEscape(other), nil, &v)
}

// Ledger says who has received what of the profile.
func (a *API) Ledger(ctx context.Context) (l wire.ProfileLedger, err error) {
	return l, a.Call(ctx, http.MethodGet, "/v1/profile/ledger", nil, &l)
}

// Withdraw takes back what a receiver of the ledger was sent.
func (a *API) Withdraw(ctx context.Context, receiver string) error {
	return a.Call(ctx, http.MethodDelete, "/v1/profile/ledger/"+url.PathEscape(receiver), nil, nil)
}

// SendProfile sends the profile by hand.
func (a *API) SendProfile(ctx context.Context, session wire.SessionID, q wire.ProfileSend) (s wire.ProfileSent, err error) {
	return s, a.Call(ctx, http.MethodPost, "/v1/sessions/"+url.PathEscape(string(session))+"/profile", q, &s)
}

// Contacts lists the party's address book; with of, who has that identity, and which others
// belong to the same contact: any of them may be reported.
func (a *API) Contacts(ctx context.Context, of string) ([]wire.Contact, error) {
	var l wire.ContactList
	err := a.Call(ctx, http.MethodGet, "/v1/contacts?of="+url.QueryEscape(of), nil, &l)
	return l.Contacts, err
}

// KeepContact keeps a profile that was received.
func (a *API) KeepContact(ctx context.Context, owner string) (c wire.Contact, err error) {
	return c, a.Call(ctx, http.MethodPost, "/v1/contacts", wire.ContactKeep{Owner: owner}, &c)
}

// ImportContacts adds the contacts of vCards.
func (a *API) ImportContacts(ctx context.Context, cards []byte) ([]wire.Contact, error) {
	var l wire.ContactList
	err := a.put(ctx, http.MethodPost, "/v1/contacts/cards", "text/vcard", cards, &l)
	return l.Contacts, err
}

// put sends a body that is no JSON.
func (a *API) put(ctx context.Context, method, path, mediaType string, body []byte, out any) error {
	res, err := a.send(ctx, method, path, http.Header{"Content-Type": {mediaType}}, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("client: %s %s: %w", method, path, err)
	}
	return nil
}

// Book keeps, in a directory, the profiles that a device was sent, so that only what is new
// travels. Its methods may be called from several goroutines.
type Book struct {
	dir string
	mu  sync.Mutex
}

// OpenBook returns the book in a directory, which is made when something is kept.
func OpenBook(dir string) *Book { return &Book{dir: dir} }

// Received is what is known of somebody.
type Received struct {
	Owner  string              `json:"owner"`
	Fields []wire.ProfileField `json:"fields"`
	// Pictures are the files of the fields that are pictures, by their ids.
	Pictures map[string]string `json:"pictures,omitempty"`
}

// Receive takes a message of kind tandem.profile: it keeps what came, fetches the pictures
// that it does not hold, tells the server what it holds, and asks for what is missing.
func (b *Book) Receive(ctx context.Context, api *API, session wire.SessionID, m wire.ProfileMessage) (Received, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !wire.ValidID(m.Owner) {
		return Received{}, fmt.Errorf("client: profile: %q is no name of an owner", m.Owner)
	}
	if m.Withdrawn {
		return Received{Owner: m.Owner}, b.forget(m.Owner)
	}
	r, err := b.load(m.Owner)
	if err != nil {
		return r, err
	}
	r.Fields = slices.DeleteFunc(r.Fields, func(f wire.ProfileField) bool {
		return !slices.ContainsFunc(m.Has, func(v wire.FieldVersion) bool { return v.ID == f.ID })
	})
	fields := m.Fields
	for range 2 { // what came, and then what turned out to be missing
		if err := b.take(ctx, api, &r, fields); err != nil {
			return r, err
		}
		held := wire.ProfileHeld{Owner: m.Owner, Have: []wire.FieldVersion{}}
		for _, f := range r.Fields {
			held.Have = append(held.Have, wire.FieldVersion{ID: f.ID, Version: f.Version})
		}
		var missing wire.ProfileMissing
		if err := api.Call(ctx, http.MethodPost, "/v1/sessions/"+url.PathEscape(string(session))+"/profile/held", held, &missing); err != nil {
			return r, err
		}
		if fields = missing.Fields; len(fields) == 0 {
			break
		}
	}
	return r, nil
}

// take keeps fields, with their pictures.
func (b *Book) take(ctx context.Context, api *API, r *Received, fields []wire.ProfileField) error {
	for _, f := range fields {
		i := slices.IndexFunc(r.Fields, func(x wire.ProfileField) bool { return x.ID == f.ID })
		if i >= 0 && r.Fields[i].Version > f.Version {
			continue // of a message that was overtaken
		}
		if f.Picture != nil {
			path, err := b.picture(ctx, api, *f.Picture)
			if err != nil {
				return err
			}
			r.Pictures[f.ID] = path
		}
		if i >= 0 {
			r.Fields[i] = f
		} else {
			r.Fields = append(r.Fields, f)
		}
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("client: profile: %w", err)
	}
	return b.write(b.file(r.Owner), data)
}

// picture returns the file of a picture, which it fetches if it is not there.
func (b *Book) picture(ctx context.Context, api *API, p wire.ProfilePicture) (string, error) {
	if sum, err := hex.DecodeString(p.SHA256); err != nil || len(sum) != sha256.Size {
		return "", fmt.Errorf("client: profile: a picture without a digest")
	}
	path := filepath.Join(b.dir, p.SHA256)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	res, err := api.send(ctx, http.MethodGet, p.Path, nil, nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, wire.MaxProfilePicture+1))
	if err != nil {
		return "", fmt.Errorf("client: picture: %w", err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != p.SHA256 {
		return "", errors.New("client: picture: not what was announced")
	}
	return path, b.write(path, data)
}

func (b *Book) file(owner string) string { return filepath.Join(b.dir, owner+".json") }

func (b *Book) load(owner string) (Received, error) {
	r := Received{Owner: owner}
	data, err := os.ReadFile(b.file(owner))
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("client: profile: %w", err)
	}
	if r.Pictures == nil {
		r.Pictures = map[string]string{}
	}
	// A picture whose file has gone is not held.
	r.Fields = slices.DeleteFunc(r.Fields, func(f wire.ProfileField) bool {
		if f.Picture == nil {
			return false
		}
		_, err := os.Stat(filepath.Join(b.dir, f.Picture.SHA256))
		return err != nil
	})
	return r, nil
}

func (b *Book) forget(owner string) error {
	err := os.Remove(b.file(owner))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("client: profile: %w", err)
	}
	return nil
}

func (b *Book) write(path string, data []byte) error {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return fmt.Errorf("client: profile: %w", err)
	}
	return writeFile(path, data)
}
