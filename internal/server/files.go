package server

import (
	"context"
	"path/filepath"

	"github.com/tandem-call/tandem/internal/edge/filestore"
	"github.com/tandem-call/tandem/internal/edge/s3store"
	"github.com/tandem-call/tandem/internal/files"
	"github.com/tandem-call/tandem/internal/store"
)

// openFiles opens where files are kept and, where nodes share the engine, the index by
// which they share the limits.
func (s *Server) openFiles(ctx context.Context) (files.Disk, files.Index, error) {
	c := s.cfg.Files.S3
	if s.cfg.Engine.NATS == "" {
		d, err := filestore.Open(filestore.Config{Dir: filepath.Join(s.cfg.Data, FilesDir)})
		return d, nil, err
	}
	index := store.TableOf[files.Place](s.engine, filesBySession)
	if c.Endpoint != "" {
		d, err := s3store.Open(ctx, s3store.Config{
			Endpoint: c.Endpoint, Bucket: c.Bucket, Region: c.Region, Prefix: c.Prefix, AccessKey: c.AccessKey, SecretKey: c.SecretKey,
		})
		return d, index, err
	}
	s.log.Warn("files are kept on this node's own disk: members at other nodes cannot fetch them; set files.s3 for more than one node")
	d, err := filestore.Open(filestore.Config{Dir: filepath.Join(s.cfg.Data, FilesDir)})
	return d, index, err
}
