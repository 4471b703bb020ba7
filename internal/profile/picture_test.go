package profile_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/profile"
	"github.com/tandem-call/tandem/internal/store"
	"github.com/tandem-call/tandem/tel"
	"github.com/tandem-call/tandem/wire"
)

// nobody is a world without parties and sessions.
type nobody struct{}

func (nobody) Principal(_ context.Context, _ wire.TenantID, id tel.Identity) (tel.Identity, error) {
	return id, nil
}

func (nobody) Proofs(context.Context, wire.TenantID, tel.Identity) (map[tel.Identity]profile.Proof, error) {
	return nil, nil
}

func (nobody) Session(context.Context, wire.TenantID, wire.SessionID) (profile.Session, error) {
	return profile.Session{}, profile.ErrClosed
}

func (nobody) Open(context.Context, wire.TenantID, wire.DeviceID) ([]wire.SessionID, error) {
	return nil, nil
}

func (nobody) Send(context.Context, wire.TenantID, wire.SessionID, wire.DeviceID, wire.MemberID, wire.RequestID, wire.ProfileMessage) error {
	return profile.ErrClosed
}

func service(t *testing.T, e store.Engine) *profile.Service {
	t.Helper()
	s, err := profile.New(t.Context(), profile.Config{
		Engine: e, Parties: nobody{}, Sessions: nobody{},
		Clean: func(b []byte) ([]byte, string, error) { return b, "image/gif", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pictures counts what is stored: records, and parts of their bytes.
func pictures(t *testing.T, e store.Engine) string {
	t.Helper()
	count := func(table string) (n int) {
		for _, err := range e.Scan(t.Context(), table, "") {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	return fmt.Sprint(count("profile-pictures"), " ", count("profile-picture-parts"))
}

// TestNoPictureIsLeftBehind: a picture is kept only where something names it, so nobody fills the
// disk by sending the same one again, or more than there may be.
func TestNoPictureIsLeftBehind(t *testing.T) {
	e := pebbletest.Open(t)
	s, alice := service(t, e), id(t, "+442079460001")
	set := func(field, picture string) error {
		_, err := s.SetPicture(t.Context(), "t", alice, "d", field, []byte(picture))
		return err
	}
	for range 3 {
		if err := set("photo", "one"); err != nil {
			t.Fatal(err)
		}
	}
	if got := pictures(t, e); got != "1 1" {
		t.Errorf("after the same picture three times: %s", got)
	}
	if err := set("photo", "two"); err != nil {
		t.Fatal(err)
	}
	if got := pictures(t, e); got != "1 1" {
		t.Errorf("after another picture: %s", got)
	}
	for n := 2; ; n++ {
		if err := set(fmt.Sprintf("photo-%d", n), fmt.Sprint(n)); errors.Is(err, profile.ErrRequest) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if got, want := pictures(t, e), fmt.Sprintf("%d %[1]d", wire.MaxProfilePictures); got != want {
		t.Errorf("after too many pictures: %s, want %s", got, want)
	}
	if err := s.Remove(t.Context(), "t", alice); err != nil {
		t.Fatal(err)
	}
	if got := pictures(t, e); got != "0 0" {
		t.Errorf("after the profile was removed: %s", got)
	}
}

// TestFullBookKeepsNoPictures: a contact that does not come in leaves no picture.
func TestFullBookKeepsNoPictures(t *testing.T) {
	e := pebbletest.Open(t)
	s, alice := service(t, e), id(t, "+442079460001")
	card := profile.Card{Fields: []wire.ProfileField{field("fn", "Somebody")}}
	var cards []profile.Card
	for n := range wire.MaxContacts {
		card.UID = fmt.Sprint(n)
		cards = append(cards, card)
	}
	for range 2 { // the same again takes no room
		if _, err := s.Import(t.Context(), "t", alice, cards); err != nil {
			t.Fatal(err)
		}
	}
	card.UID, card.Fields = "one more", append(card.Fields, wire.ProfileField{ID: "photo", Name: "photo"})
	card.Pictures = map[string][]byte{"photo": []byte("one")}
	if _, err := s.Import(t.Context(), "t", alice, []profile.Card{card}); !errors.Is(err, profile.ErrTooLarge) {
		t.Fatalf("a full book: %v", err)
	}
	if got := pictures(t, e); got != "0 0" {
		t.Errorf("a contact that did not come in left %s", got)
	}
}

// TestTenantsWithProfiles: another node finds them without reading the profiles.
func TestTenantsWithProfiles(t *testing.T) {
	e := pebbletest.Open(t)
	s := service(t, e)
	if s.Any("t") {
		t.Error("there is a profile before there is one")
	}
	if _, err := s.Change(t.Context(), "t", id(t, "+442079460001"), "d", wire.ProfileChange{Set: []wire.ProfileField{field("fn", "Alice")}}); err != nil {
		t.Fatal(err)
	}
	if other := service(t, e); !s.Any("t") || !other.Any("t") || other.Any("u") {
		t.Error("the tenant is not found")
	}
}
