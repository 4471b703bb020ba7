package natsstore

import "context"

// pending is an append that is stored: there is nothing to wait for.
type pending struct {
	seq   uint64
	epoch uint64
}

func (p pending) Seq() uint64              { return p.seq }
func (p pending) Epoch() uint64            { return p.epoch }
func (pending) Wait(context.Context) error { return nil }
func (pending) Done(fn func(error))        { fn(nil) }
