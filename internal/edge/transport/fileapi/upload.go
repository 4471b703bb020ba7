package fileapi

import (
	"context"
	"errors"
	"io"
	"log/slog"

	tus "github.com/tus/tusd/v2/pkg/handler"

	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/wire"
)

// request is what we know of a request when tusd comes back with it.
type request struct {
	tenant  wire.TenantID
	device  wire.DeviceID
	sum     *files.Checksum
	created files.Record // of a creation
	http1   bool
	// stopped: another request has asked this one to give way while it read its body.
	stopped bool
}

type requestKey struct{}

func withRequest(ctx context.Context, q *request) context.Context {
	return context.WithValue(ctx, requestKey{}, q)
}

// errNoRequest cannot happen: only our handler leads to tusd.
var errNoRequest = errors.New("fileapi: tusd called without our request")

// uploads is the tus.DataStore: tusd's idea of an upload over files.Service.
type uploads struct {
	files *files.Service
	locks *locker
	log   *slog.Logger
}

func (s *uploads) request(ctx context.Context) (*request, error) {
	q, ok := ctx.Value(requestKey{}).(*request)
	if !ok {
		return nil, errNoRequest
	}
	return q, nil
}

// fault turns an error into one that tusd answers with, as a problem.
func (s *uploads) fault(err error) error {
	var known tus.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	p := problem(s.log, err)
	return tus.Error{ErrorCode: string(p.Code), Message: p.Detail, HTTPResponse: tus.HTTPResponse{
		StatusCode: p.Status,
		Body:       string(encode(p)),
		Header:     tus.HTTPHeader{"Content-Type": problemType},
	}}
}

// NewUpload implements tus.DataStore: our handler has made it already.
func (s *uploads) NewUpload(ctx context.Context, info tus.FileInfo) (tus.Upload, error) {
	q, err := s.request(ctx)
	if err != nil || q.created.ID == "" {
		return nil, s.fault(errNoRequest)
	}
	return &upload{s, q, q.created}, nil
}

// GetUpload implements tus.DataStore.
func (s *uploads) GetUpload(ctx context.Context, id string) (tus.Upload, error) {
	q, err := s.request(ctx)
	if err != nil {
		return nil, s.fault(err)
	}
	r, err := s.files.Upload(ctx, q.tenant, q.device, wire.FileID(id))
	if err != nil {
		return nil, s.fault(err)
	}
	return &upload{s, q, r}, nil
}

// AsTerminatableUpload implements tus.TerminaterDataStore.
func (s *uploads) AsTerminatableUpload(u tus.Upload) tus.TerminatableUpload { return u.(*upload) }

// upload is one upload during one request.
type upload struct {
	s *uploads
	q *request
	r files.Record
}

func (u *upload) GetInfo(context.Context) (tus.FileInfo, error) {
	return tus.FileInfo{ID: string(u.r.ID), Size: u.r.Length, Offset: u.r.Offset, MetaData: tus.MetaData{
		"session": string(u.r.Session), "filename": u.r.Name,
	}}, nil
}

// WriteChunk returns once the bytes are confirmed: synced, and recorded.
func (u *upload) WriteChunk(ctx context.Context, offset int64, src io.Reader) (int64, error) {
	u.s.locks.startReading(string(u.r.ID))
	n, err := u.s.files.Append(ctx, u.q.tenant, u.q.device, u.r.ID, offset, src, u.q.sum)
	u.q.stopped = u.s.locks.stopReading(string(u.r.ID))
	return n, u.s.fault(err)
}

func (u *upload) FinishUpload(ctx context.Context) error {
	return u.s.fault(u.s.files.Finish(ctx, u.q.tenant, u.q.device, u.r.ID))
}

func (u *upload) Terminate(ctx context.Context) error {
	return u.s.fault(u.s.files.Delete(ctx, u.q.tenant, u.q.device, u.r.ID))
}

// GetReader implements tus.Upload; downloads do not go through tusd.
func (u *upload) GetReader(context.Context) (io.ReadCloser, error) {
	return nil, tus.ErrNotImplemented
}
