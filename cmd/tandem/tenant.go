package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tandem-call/tandem/wire"
)

type tenantCommand struct {
	Set  tenantSet  `cmd:"" help:"Add a tenant, or change its name and hosts."`
	List tenantList `cmd:"" help:"List the tenants."`
}

type tenantSet struct {
	host
	ID   string   `arg:"" help:"Its id: a-z, 0-9 and hyphen."`
	Name string   `placeholder:"TEXT" help:"For the list."`
	Host []string `placeholder:"HOST" help:"Host by which its devices reach the server; may be given several times."`
}

// Help is shown by --help.
func (tenantSet) Help() string {
	return `Tenants share the server and see nothing of each other. Make the first key of a new
tenant with: tandem token create --tenant ID --role operator --name NAME`
}

func (c *tenantSet) Run(ctx context.Context) error {
	if err := c.call(ctx, http.MethodPut, "/v1/operator/tenants/"+url.PathEscape(c.ID), wire.TenantRequest{Name: c.Name, Hosts: c.Host}, nil); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}

type tenantList struct{ host }

func (c *tenantList) Run(ctx context.Context) error {
	var l wire.TenantList
	if err := c.call(ctx, http.MethodGet, "/v1/operator/tenants", nil, &l); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tHOSTS\tSINCE")
	for _, t := range l.Tenants {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", t.ID, t.Name, strings.Join(t.Hosts, " "), t.Created.Local().Format(time.DateOnly))
	}
	return w.Flush()
}
