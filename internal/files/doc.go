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
// internal/edge/transport/fileapi.
//
// A Service counts limits in memory, unless Config.BySession says that other nodes share
// its table and its disk (internal/edge/s3store). Then an upload is reserved by a
// compare-and-set in that index and in the table first, and the limits are looked at
// afterwards: of two nodes that reserve at once each sees the other's reservation, so a
// session is never over its limit. The limit of unfinished uploads of a device then
// counts within each session, and a tenant's bytes are not counted.
package files
