package client

import (
	"context"
	"io"
	"net/http"
)

// Lines gets what the server answers line by line, such as the audit log. The caller
// closes it.
func (a *API) Lines(ctx context.Context, path string) (io.ReadCloser, error) {
	res, err := a.send(ctx, http.MethodGet, path, http.Header{}, nil)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}
