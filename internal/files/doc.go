// Package files holds the rules for the files that members of a session exchange (SPEC
// C1): who may upload and download, how much, what the server makes of the content, and
// how long it stays. Sending by reference is not here: that is a message of kind link.
//
// A [Service] keeps one [Record] per file. An upload goes through these steps; each is
// durable before the next, so a crash anywhere loses at most the bytes that were not yet
// confirmed:
//
//	Create   the record, state uploading, with its place on the disk reserved
//	Append   bytes, synced, then the record's offset: what is confirmed stays
//	Finish   metadata removed, type recognised, digest, preview; state stored
//	         offer: the message of kind file in the session; offered
//
// What a crash cut short is completed by [Service.Sweep], which [Service.Run] calls at
// the start and from time to time; it also removes unfinished uploads that have expired
// and the files of sessions that are no longer kept.
//
// The bytes are on a [Disk] (internal/edge/filestore); the protocol is in
// internal/edge/transport/fileapi. A Service believes that it is the only one on its
// disk and its table: limits are counted in memory.
package files
