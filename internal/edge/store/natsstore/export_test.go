package natsstore

import "context"

// Keys lists the keys of a table, with those that have been deleted lately.
func (s *Store) Keys(ctx context.Context, table string) ([]string, error) {
	b, err := bucketName(s.opt.Prefix, table)
	if err != nil {
		return nil, err
	}
	keys, _, err := s.keys(ctx, table, "$KV."+b+".", ">")
	return keys, err
}
