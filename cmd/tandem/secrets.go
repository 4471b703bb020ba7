package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/tandem-call/tandem/wire"
)

type secretsCommand struct {
	Rotate secretsRotate `cmd:"" help:"Change the server's secret."`
}

type secretsRotate struct {
	host
	AtOnce bool `help:"End bearer tokens and one-time codes that are on their way at once."`
}

// Help is shown by --help.
func (secretsRotate) Help() string {
	return `Bearer tokens, nonces and one-time codes are made with the server's secret. Without
--at-once the one before is taken for another quarter of an hour, and nobody notices.
Connections stay; devices and API keys keep theirs.`
}

func (c *secretsRotate) Run(ctx context.Context) error {
	if err := c.call(ctx, http.MethodPost, "/v1/operator/secrets/rotate", wire.SecretsRotation{AtOnce: c.AtOnce}, nil); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}
