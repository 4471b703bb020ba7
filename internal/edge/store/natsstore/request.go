package natsstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tandem-call/tandem/internal/store"
)

// tryFor is how long one request waits for its answer before it is sent again, and
// pause how long a refused one waits: an election takes a few seconds.
const (
	tryFor = time.Second
	pause  = 20 * time.Millisecond
)

var (
	errMissing  = errors.New("natsstore: no message")           // the leader has no such message
	errNotYet   = errors.New("natsstore: stream not known yet") // it was made, but not every server has heard of it
	errRefused  = errors.New("natsstore: condition not met")    // the subject's last message is another one
	errDisjoint = errors.New("natsstore: log changed course")   // what was read is not one life of the log
)

// message is one stored message.
type message struct {
	subject string
	seq     uint64 // in the stream
	header  nats.Header
	data    []byte
	time    time.Time
}

func (m message) number(key string) uint64 {
	n, _ := strconv.ParseUint(m.header.Get(key), 10, 64)
	return n
}

// appended is when an entry was appended, here or elsewhere before it was carried here.
func (m message) appended() time.Time {
	if at, err := time.Parse(time.RFC3339Nano, m.header.Get(headerTime)); err == nil {
		return at
	}
	return m.time
}

// retry calls f, each time with its own share of ctx, until it succeeds or fails for
// good. It returns the last error, with the context's when that has ended.
func (s *Store) retry(ctx context.Context, f func(try context.Context) error) error {
	return s.retryLonger(ctx, 1, f)
}

// retryLonger is retry with so many times the time of the try before for each.
func (s *Store) retryLonger(ctx context.Context, factor time.Duration, f func(try context.Context) error) error {
	for within := tryFor; ; within *= factor {
		try, cancel := context.WithTimeout(ctx, within)
		err := f(try)
		cancel()
		if err == nil || !passing(err) {
			return err
		}
		if over := s.rest(ctx); over != nil {
			return fmt.Errorf("%w (%w)", err, over)
		}
	}
}

// rest waits a little; an error when there is no time left.
func (s *Store) rest(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.life.Done():
		return store.ErrClosed
	case <-time.After(pause):
		return nil
	}
}

// passing reports whether an error may be gone at the next try.
func passing(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode {
		case 10008, // the cluster has no leader now
			10009,                             // asked one who is not the leader
			10158,                             // our first try is still in process
			10005,                             // not enough peers yet
			10202,                             // membership is changing
			jetstream.JSErrCodeStreamNotFound: // asked for what exists: one who has not heard of it
			return true
		}
		return false
	}
	for _, e := range []error{errNotYet, context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected,
		nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded, jetstream.ErrNoStreamResponse, jetstream.ErrInvalidJSAck} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// unsent reports whether an error says that nobody received the request.
func unsent(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrReconnectBufExceeded)
}

// publish stores a message if the last one of its subject is still expected (zero:
// if there is none) and returns its sequence. The message is sent again, under the
// same id, until an answer comes. errRefused when the condition failed, or when the
// server is busy with another message of the subject; maybe says that an earlier try
// may have been stored: compare ids.
func (s *Store) publish(ctx context.Context, m *nats.Msg, expected uint64, id string) (seq uint64, maybe bool, err error) {
	m.Header.Set(jetstream.MsgIDHeader, id)
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(expected, 10))
	err = s.retry(ctx, func(try context.Context) error {
		ack, err := s.js.PublishMsg(try, m, jetstream.WithRetryAttempts(0))
		switch {
		case err == nil:
			seq = ack.Sequence
		case passing(err) && !unsent(err):
			maybe = true
		}
		return err
	})
	return seq, maybe, s.writeError(err)
}

// writeError turns the error of a write into the contract's.
func (s *Store) writeError(err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		s.full.Store(false)
		return nil
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("natsstore: %w", store.ErrTooLarge)
	case errors.As(err, &api):
		switch {
		case api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence,
			api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return errRefused
		case api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
			return fmt.Errorf("natsstore: %w", store.ErrTooLarge)
		case noRoom(api):
			s.full.Store(true)
			return fmt.Errorf("natsstore: %s: %w", api.Description, store.ErrFull)
		case !passing(err):
			return fmt.Errorf("natsstore: %w", err)
		}
	}
	return fmt.Errorf("natsstore: %w (%w)", store.ErrUncertain, err)
}

// noRoom reports whether a write was refused since a limit of the stream, the account or the server is reached.
func noRoom(api *jetstream.APIError) bool {
	switch api.ErrorCode {
	case 10002, 10023, 10028, 10047:
		return true
	}
	return api.ErrorCode == 10077 && strings.Contains(api.Description, "maximum")
}

// getRequest is the body of the server's message get requests.
type getRequest struct {
	Seq       uint64   `json:"seq,omitempty"`
	LastFor   string   `json:"last_by_subj,omitempty"`
	NextFor   string   `json:"next_by_subj,omitempty"`
	Batch     int      `json:"batch,omitempty"`
	MaxBytes  int      `json:"max_bytes,omitempty"`
	MultiLast []string `json:"multi_last,omitempty"`
}

// last returns the last message of a subject, from the stream's leader. errMissing.
func (s *Store) last(ctx context.Context, stream, subject string) (message, error) {
	return s.get(ctx, stream, getRequest{LastFor: subject})
}

// next returns the first message of a subject at or after seq, from the stream's
// leader. errMissing.
func (s *Store) next(ctx context.Context, stream, subject string, seq uint64) (message, error) {
	return s.get(ctx, stream, getRequest{NextFor: subject, Seq: max(seq, 1)})
}

// get asks the leader of a stream that exists. nats.go would ask any replica of a stream that allows
// direct gets, so the request is written here.
func (s *Store) get(ctx context.Context, stream string, req getRequest) (message, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	body, err := json.Marshal(req)
	if err != nil {
		return message{}, fmt.Errorf("natsstore: get request: %w", err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	err = s.retry(ctx, func(try context.Context) error {
		r, err := s.nc.RequestWithContext(try, "$JS.API.STREAM.MSG.GET."+stream, body)
		if err != nil {
			return err
		}
		answer.Error = nil
		if err := json.Unmarshal(r.Data, &answer); err != nil {
			return err
		}
		if answer.Error != nil {
			return answer.Error
		}
		return nil
	})
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return message{}, errMissing
	case err != nil:
		return message{}, fmt.Errorf("natsstore: read from the leader of %s: %w", stream, err)
	}
	m := message{subject: answer.Message.Subject, seq: answer.Message.Seq, data: answer.Message.Data, time: answer.Message.Time}
	if len(answer.Message.Header) > 0 {
		if m.header, err = nats.DecodeHeadersMsg(answer.Message.Header); err != nil {
			return message{}, fmt.Errorf("natsstore: headers of message %d of %s: %w", m.seq, stream, err)
		}
	}
	return m, nil
}

// published reads a stored message that came as a plain one, by a direct get or by
// republishing: the server has put where it is stored into headers.
func published(r *nats.Msg) message {
	m := message{subject: r.Header.Get(jetstream.SubjectHeader), header: r.Header, data: r.Data}
	m.seq = m.number(jetstream.SequenceHeader)
	m.time, _ = time.Parse(time.RFC3339Nano, r.Header.Get(jetstream.TimeStampHeaer))
	return m
}
