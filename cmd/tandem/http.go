package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/tandem-call/tandem/client"
	"github.com/tandem-call/tandem/internal/server"
	"github.com/tandem-call/tandem/wire"
)

// httpClient trusts the local authority's certificate besides the system's.
func httpClient(ca string) (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca %s: no certificate in it", ca)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: t}, nil
}

// operator is embedded in the operator's commands: they reach the server by the socket
// in its data directory, or over the network with an API key.
type operator struct {
	Data   string `default:"data" env:"TANDEM_DATA" placeholder:"DIR" help:"The running server's data directory, on this machine (default: ${default})."`
	Server string `env:"TANDEM_SERVER" placeholder:"URL" help:"Or the server's address, with --key."`
	Key    string `env:"TANDEM_KEY" placeholder:"KEY" help:"API key of the role operator."`
	Tenant string `env:"TANDEM_TENANT" placeholder:"ID" help:"Act for this tenant, by the socket; a key acts for its own."`
	CA     string `name:"ca" env:"TANDEM_CA" type:"existingfile" placeholder:"FILE" help:"Certificate of the server's local authority."`
}

func (o operator) api() (*client.API, error) {
	if o.Key != "" {
		if o.Tenant != "" {
			return nil, errors.New("--tenant is for the socket: a key acts for its own tenant")
		}
		if o.Server == "" {
			return nil, errors.New("--key needs --server, the server's address")
		}
		hc, err := httpClient(o.CA)
		if err != nil {
			return nil, err
		}
		return client.NewKeyAPI(o.Server, o.Key, hc), nil
	}
	api, err := socketAPI(o.Data, o.Tenant)
	if err != nil {
		return nil, fmt.Errorf("%w, or use --server and --key", err)
	}
	return api, nil
}

// socketAPI reaches the server by the socket in its data directory.
func socketAPI(data, tenant string) (*client.API, error) {
	socket := filepath.Join(data, server.AdminSocket)
	if _, err := os.Stat(socket); err != nil {
		return nil, fmt.Errorf("no server is running on the data directory %s (there is no %s); name it with --data", data, socket)
	}
	hc := &http.Client{Transport: forTenant{tenant, &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}}
	return client.NewKeyAPI("http://admin", "", hc), nil
}

// host is embedded in the commands that concern the server as a whole: they reach it by the socket alone.
type host struct {
	Data string `default:"data" env:"TANDEM_DATA" placeholder:"DIR" help:"The running server's data directory, on this machine (default: ${default})."`
}

// call makes a request; into may be nil.
func (h host) call(ctx context.Context, method, path string, in, into any) error {
	api, err := socketAPI(h.Data, "")
	if err != nil {
		return err
	}
	return api.Call(ctx, method, path, in, into)
}

// call makes a request that has no answer but success.
func (o operator) call(ctx context.Context, method, path string, in any) error {
	api, err := o.api()
	if err != nil {
		return err
	}
	if err := api.Call(ctx, method, path, in, nil); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}

// get reads what the server answers at path.
func (o operator) get(ctx context.Context, path string, into any) error {
	api, err := o.api()
	if err != nil {
		return err
	}
	return api.Call(ctx, http.MethodGet, path, nil, into)
}

// forTenant says in each request for which tenant it is.
type forTenant struct {
	tenant string
	next   http.RoundTripper
}

func (f forTenant) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.tenant != "" {
		r = r.Clone(r.Context())
		r.Header.Set(wire.TenantHeader, f.tenant)
	}
	return f.next.RoundTrip(r)
}
