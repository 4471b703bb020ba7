// Package pebblestore is the storage engine of one process: store.Engine on Pebble, in
// a directory. [Open] opens or makes a [Store]; [Verify], [Repair] and [Restore] work on
// a directory that is not open, [Store.Backup] on a running store.
//
// # What an acknowledgement means
//
// A change is acknowledged after the fsync of Pebble's log. Operations queue up; the
// committer numbers them, makes one batch of all that wait, and applies the next batch
// while the last one is being synced. Pebble shows a batch before its sync, so nothing
// is answered from Pebble alone: whoever asks for a key with a change under way waits
// for it, a scan waits before a record that is not durable, and for removals under way,
// and a log shows its entries up to the durable end. No lock is held across a sync. After
// a failed sync nothing is answered any more and the process has to be started again.
//
// The keys of small tables are known in memory (roster.go): what is not among them is
// not there, and Pebble is not asked.
//
// [Options.Relaxed] acknowledges before the fsync, for tests and benchmarks; Durability
// says which it is.
//
// # What is in the directory
//
//	TANDEM-STORE  what the directory is: "TANDEM-STORE 1", or being created or restored
//	WITNESS       the number of a change that was acknowledged, with a checksum
//	LOCK          locked while a process has the store open
//	db/           Pebble's files
//	lost/         what a repair set aside
//
// # The witness
//
// When the newest log file of Pebble loses its end, or is gone, Pebble opens without a
// word, and acknowledged changes are missing. The witness file is outside Pebble and
// is written and synced while changes are being acknowledged, at most every 200 ms and
// never ahead of them; a store whose data ends before it does not open. So a loss of
// what was acknowledged in the last 200 ms or so before a crash, together with a damaged
// log file, can go unnoticed; at a close the file is exact. A store without the file
// does not open either, nor does one start empty where there was data. [Repair] with
// [AcceptLoss] opens such a store again, after the operator has looked for a backup.
// A loss of an older log file, while a newer one is there, and flipped bits in tables
// are found by [Verify] only as far as they leave traces: a broken checksum, or a log
// with a gap.
//
// # Epochs of logs
//
// A watcher may see an entry before it is durable (store.DeliverFirst), so a crash may
// take away what was seen. After an unclean stop, a repair or a restore all logs
// therefore go on in a new epoch. It is one number for the whole store, durable before
// the store takes its first change, and recorded in each log with the first entry that
// bears it. The first entry of a log in a new epoch is shown to watchers only when it
// is durable, whatever its delivery.
//
// # A full disk
//
// Pebble does not survive a full disk. With less free space than [Options.Headroom] the
// store refuses writes with store.ErrFull, deletes only below half of it; reading goes
// on, and writing as soon as there is room again.
package pebblestore
