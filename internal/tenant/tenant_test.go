package tenant_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tandem-call/tandem/internal/edge/store/pebblestore/pebbletest"
	"github.com/tandem-call/tandem/internal/tenant"
	"github.com/tandem-call/tandem/wire"
)

func TestTenants(t *testing.T) {
	e := pebbletest.Open(t)
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	r, err := tenant.Open(t.Context(), e, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := r.ByHost("acme.example"); ok {
		t.Error("a host of nobody's leads to a tenant")
	}
	acme, err := r.Set(t.Context(), tenant.Tenant{ID: "acme", Name: "Acme", Hosts: []string{"Calls.Acme.Example.", "calls.acme.example:8443", "[::1]"}})
	if err != nil || strings.Join(acme.Hosts, " ") != "calls.acme.example [::1]" {
		t.Fatalf("%+v, %v", acme, err)
	}
	if _, err := r.Set(t.Context(), tenant.Tenant{ID: "zeta", Hosts: []string{"calls.acme.example"}}); !errors.Is(err, tenant.ErrTaken) {
		t.Errorf("the host of another: %v", err)
	}
	if _, err := r.Set(t.Context(), tenant.Tenant{ID: "aaa"}); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]wire.TenantID{
		"calls.acme.example": "acme", "CALLS.acme.example:443": "acme", "calls.acme.example.": "acme", "[::1]:8080": "acme", "[::1]": "acme",
		"acme.example": "", "x.calls.acme.example": "", "": "", "calls.acme.example.evil": "",
	} {
		if got, ok := r.ByHost(host); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", host, got, ok)
		}
	}

	// What another node sees, once it looks again.
	other, err := tenant.Open(t.Context(), e, nil)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	if acme, err = r.Set(t.Context(), tenant.Tenant{ID: "acme", Hosts: []string{"new.acme.example"}}); err != nil || !acme.Created.Equal(now.Add(-time.Hour)) {
		t.Fatalf("%+v, %v", acme, err)
	}
	if _, ok := r.ByHost("calls.acme.example"); ok {
		t.Error("a host that was taken away leads to its tenant")
	}
	if id, _ := other.ByHost("calls.acme.example"); id != "acme" {
		t.Errorf("before it looks: %q", id)
	}
	if err := other.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if id, _ := other.ByHost("new.acme.example"); id != "acme" {
		t.Errorf("after it has looked: %q", id)
	}
	list, err := other.List(t.Context())
	if err != nil || len(list) != 2 || list[0].ID != "aaa" || list[1].ID != "acme" {
		t.Errorf("%+v, %v", list, err)
	}
	for id, want := range map[wire.TenantID]bool{"acme": true, "default": true, "zeta": false, "": false} {
		if got, err := r.Exists(t.Context(), id); got != want || err != nil {
			t.Errorf("%q: %v, %v", id, got, err)
		}
	}
}

func TestRefusedTenants(t *testing.T) {
	r, err := tenant.Open(t.Context(), pebbletest.Open(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]tenant.Tenant{
		"no id":             {},
		"the default":       {ID: "default"},
		"capitals":          {ID: "Acme"},
		"a slash":           {ID: "a/b"},
		"a long id":         {ID: wire.TenantID(strings.Repeat("a", 33))},
		"a path as host":    {ID: "acme", Hosts: []string{"acme.example/x"}},
		"a wildcard":        {ID: "acme", Hosts: []string{"*.example"}},
		"an empty host":     {ID: "acme", Hosts: []string{""}},
		"an open bracket":   {ID: "acme", Hosts: []string{"[::1"}},
		"a name of no text": {ID: "acme", Name: "\xff"},
		"many hosts":        {ID: "acme", Hosts: strings.Split(strings.Repeat("h.example ", tenant.MaxHosts)+"h.example", " ")},
	} {
		if _, err := r.Set(t.Context(), x); !errors.Is(err, tenant.ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if list, err := r.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}
