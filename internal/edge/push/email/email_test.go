package email_test

import (
	"errors"
	"testing"

	"github.com/tandem-call/tandem/internal/edge/push/email"
)

func TestConfig(t *testing.T) {
	for name, c := range map[string]email.Config{
		"no scheme":              {URL: "mail.example", From: "a@b.example"},
		"another scheme":         {URL: "https://mail.example", From: "a@b.example"},
		"a user in it":           {URL: "smtps://me:x@mail.example", From: "a@b.example"},
		"no sender":              {URL: "smtps://mail.example"},
		"a user and no password": {URL: "smtps://mail.example", From: "a@b.example", Username: "x"},
		"a negative time":        {URL: "smtps://mail.example", From: "a@b.example", Timeout: -1},
	} {
		if _, err := email.New(c); !errors.Is(err, email.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
