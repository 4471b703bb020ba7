package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/edge/fetch"
	"github.com/tandem-call/tandem/internal/edge/partner/carddav"
	"github.com/tandem-call/tandem/wire"
)

// contactSync keeps an address book of the user's own, on a CardDAV server, alike with the one here:
// what was kept of others goes there, and what else is there comes here. It runs on the user's
// device, so that the password of that server stays with the user.
type contactSync struct {
	account
	URL          string        `arg:"" help:"Address of the address book, such as https://dav.example/bob/contacts/, or of its server: https://dav.example."`
	User         string        `help:"User at that server."`
	PasswordFile string        `type:"existingfile" help:"File with the password, in its first line."`
	Networks     []string      `placeholder:"NETWORK" help:"Networks that are not public in which the server may be, such as 192.168.0.0/16."`
	HTTP         bool          `help:"Allow http://, which shows the password to the network."`
	Every        time.Duration `placeholder:"10m" help:"Go on, and look for changes on both sides so often."`
}

func (c *contactSync) Run(ctx context.Context) error {
	book, err := c.book(ctx)
	if err != nil {
		return err
	}
	for {
		if err := c.once(ctx, book); err != nil || c.Every <= 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.Every):
		}
	}
}

func (c *contactSync) book(ctx context.Context) (*carddav.Book, error) {
	networks, err := prefixes(c.Networks)
	if err != nil {
		return nil, err
	}
	out, err := fetch.New(fetch.Config{Allow: networks, Timeout: time.Minute, Redirects: -1})
	if err != nil {
		return nil, err
	}
	var password []byte
	if c.PasswordFile != "" {
		if password, err = os.ReadFile(c.PasswordFile); err != nil {
			return nil, err
		}
		password, _, _ = bytes.Cut(password, []byte("\n"))
	}
	book, err := carddav.Discover(ctx, carddav.Config{Fetcher: out, URL: c.URL, User: c.User, Password: strings.TrimRight(string(password), "\r"), HTTP: c.HTTP})
	if err == nil && strings.TrimSuffix(book.Address(), "/") != strings.TrimSuffix(c.URL, "/") {
		fmt.Println("address book: " + book.Address())
	}
	return book, err
}

// bookMemory is what both sides had in common the last time; kept beside the device's key.
type bookMemory struct {
	// Ours are the cards that went there, by the contacts' ids.
	Ours map[string]cardMemory `json:"ours"`
	// Theirs are the versions of the cards that came from there, by their names.
	Theirs map[string]string `json:"theirs"`
}

// cardMemory is a card as it went there.
type cardMemory struct {
	// Version there, and the SHA-256 of what it was made of here.
	Version string `json:"version"`
	Digest  string `json:"digest"`
}

func (c *contactSync) once(ctx context.Context, book *carddav.Book) error {
	api, _, err := c.api()
	if err != nil {
		return err
	}
	path, m, err := c.memory(book)
	if err != nil {
		return err
	}
	there, err := book.List(ctx)
	if err != nil {
		return err
	}
	contacts, err := api.Contacts(ctx, "")
	if err != nil {
		return err
	}
	// What was received of others; what came as cards is in a book already.
	kept := slices.DeleteFunc(contacts, func(x wire.Contact) bool { return x.Owner == "" })
	put, err := c.send(ctx, api, book, &m, kept, there)
	if err == nil && put {
		err = learn(ctx, book, &m)
	}
	if err == nil {
		err = c.fetch(ctx, api, book, &m, there)
	}
	data, jsonErr := json.Marshal(m)
	return errors.Join(err, jsonErr, replace(path, data))
}

func (c *contactSync) memory(book *carddav.Book) (string, bookMemory, error) {
	m := bookMemory{Ours: map[string]cardMemory{}, Theirs: map[string]string{}}
	sum := sha256.Sum256([]byte(book.Address()))
	path, err := c.file()
	if err != nil {
		return "", m, err
	}
	path = filepath.Join(filepath.Dir(path), "contacts-"+hex.EncodeToString(sum[:6])+".json")
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path, m, nil
	case err == nil:
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return path, m, err
}

func cardName(contact string) string { return contact + ".vcf" }

// send brings there what is new or was changed or removed here. What was changed or removed there
// stays so; where both sides have changed a card, that is said.
func (c *contactSync) send(ctx context.Context, api *client.API, book *carddav.Book, m *bookMemory, kept []wire.Contact, there map[string]string) (put bool, err error) {
	for _, x := range kept {
		var card bytes.Buffer
		if _, err := api.Get(ctx, "/v1/contacts/cards?id="+url.QueryEscape(x.ID), &card); err != nil {
			return put, err
		}
		sum := sha256.Sum256(card.Bytes())
		digest := hex.EncodeToString(sum[:])
		was, known := m.Ours[x.ID]
		version, is := there[cardName(x.ID)]
		switch {
		case known && was.Digest == digest:
			if is && version != was.Version {
				m.Ours[x.ID] = cardMemory{version, digest} // changed there: theirs to keep
			}
			continue
		case known && !is:
			continue // removed there: not brought back
		case known && version != was.Version:
			fmt.Printf("conflict: %s: changed here and there; it stays as it is there\n", contactLine(x))
			m.Ours[x.ID] = cardMemory{version, digest}
			continue
		}
		err := book.Put(ctx, cardName(x.ID), version, card.Bytes())
		if errors.Is(err, carddav.ErrChanged) {
			fmt.Printf("conflict: %s: changed there just now; it is looked at again the next time\n", contactLine(x))
			continue
		} else if err != nil {
			return put, err
		}
		m.Ours[x.ID], put = cardMemory{"", digest}, true
		fmt.Println("sent: " + contactLine(x))
	}
	for id, was := range m.Ours {
		if slices.ContainsFunc(kept, func(x wire.Contact) bool { return x.ID == id }) {
			continue
		}
		if version, is := there[cardName(id)]; is && version == was.Version {
			if err := book.Remove(ctx, cardName(id), version); err != nil && !errors.Is(err, carddav.ErrChanged) {
				return put, err
			}
			fmt.Println("removed there: " + id)
		}
		delete(m.Ours, id)
	}
	return put, nil
}

// learn notes the versions that the cards got there.
func learn(ctx context.Context, book *carddav.Book, m *bookMemory) error {
	there, err := book.List(ctx)
	if err != nil {
		return err
	}
	for id, x := range m.Ours {
		if x.Version == "" {
			m.Ours[id] = cardMemory{there[cardName(id)], x.Digest}
		}
	}
	return nil
}

// fetch brings here the cards of others that are new there, or were changed.
func (c *contactSync) fetch(ctx context.Context, api *client.API, book *carddav.Book, m *bookMemory, there map[string]string) error {
	for name, version := range there {
		if _, ours := m.Ours[strings.TrimSuffix(name, ".vcf")]; ours || m.Theirs[name] == version {
			continue
		}
		card, err := book.Get(ctx, name)
		if err != nil {
			return err
		}
		list, err := api.ImportContacts(ctx, card)
		if err != nil {
			fmt.Printf("not taken: %s: %v\n", printable(name), err)
		}
		for _, x := range list {
			fmt.Println("added: " + contactLine(x))
		}
		m.Theirs[name] = version
	}
	return nil
}
