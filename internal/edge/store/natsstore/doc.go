// Package natsstore is the storage engine for Tandem on several machines: a
// [store.Engine] on an existing NATS JetStream cluster. Nodes that use it keep nothing
// of their own, so any node may serve any device.
//
// # How the contract maps
//
// A table is one key-value bucket, made when it is first written; a record's revision
// is the sequence of the bucket's stream, which grows with each change and is never
// used twice. A delete leaves a marker, which the server removes after an hour.
//
// A log is one subject; all logs share a fixed number of streams ([logStreams]). One
// entry is one message. The stream's sequence has holes from a log's point of view,
// so each entry carries its own, dense one in a header, and is published on condition
// that the log's last message is still the one that the number was counted from: of
// two nodes that count at once, one is refused and counts again. Append therefore
// costs one round trip and returns when the entry is stored; [store.Pending] is then
// already settled, and [store.DeliverFirst] makes no difference. Appends of one node
// to one log queue up behind each other; other logs do not wait.
//
// Live delivery is the stream's own republishing to plain subjects: it happens after
// the entry is stored by a quorum, from the stream's leader. A watch subscribes to one
// of these subjects, checks that each entry follows the one before and reads from the
// log what is missing. Republishing is at most once, so a watch also asks for the
// log's head shortly after it begins, after each reconnection, and then regularly
// (Options.Recheck); this bounds how late an entry can be whose live copy was lost.
// There are no consumers, neither per device nor per log.
//
// The epoch of a log is the time at which its stream was created, in microseconds and
// kept in the stream's metadata, plus the stream sequence of the log's first entry.
// Both only grow, so a log that was dropped and written again, or whose stream was
// lost and made again, has a higher epoch. Who restores a stream from a backup must
// raise [epochKey] in its metadata to the present time, with the nodes stopped, as
// [Store.Renew] does for an import, and so gives all its logs new epochs.
//
// Counters are a counter stream (nats-server 2.12); the bus is plain subjects.
//
// # Which reads ask whom
//
// Get, Head, and the end of what Read returns come from the stream's leader, which has
// applied whatever it acknowledged: a node reads its own writes. Direct gets may be
// answered by a replica that lags; Read and Scan use them for bulk only, check what
// they got (entries must be consecutive; the replica must have reached the sequence
// that the leader had when the scan began) and fetch the rest from the leader.
//
// A leader that is cut off from its peers goes on answering from its old state until it
// notices, some seconds. Decisions are safe, since writes need the quorum. What must not
// be old is read with [store.Linearizable]: a fence is written first, see prove.go.
//
// # A lost answer
//
// Each write carries an id and a condition. When no answer comes, the same message is
// sent again: the server drops it by its id (for two minutes) or refuses it by its
// condition, and in the second case the record or entry is read back and its id
// compared. Only when the caller's time is over, or when a record was meanwhile
// replaced by another write, the outcome is [store.ErrUncertain]. A counter has no
// condition, so there a lost answer is always ErrUncertain.
//
// # What is proved and what is not
//
// The suite in internal/store/storetest runs here against one embedded server, and
// tables, logs, counters and bus also run on three clustered servers with replicas 3 and one node
// per server. Lost answers, lost live copies, racing nodes, a full store, replicas that
// do not help and a restart of the server have tests of their own. internal/server runs
// three nodes on three nats-server processes, kills nodes under load, and cuts, stops and
// kills machines of network namespaces (make chaos-cluster, docs/reliability.md); spec kills a
// server and runs the requirement scripts. Known limits (docs/scaling.md has more):
//   - power loss of a whole quorum: servers sync every two minutes unless their
//     sync_interval is "always", so acknowledged entries can be lost and their
//     sequence given out again under the same epoch;
//   - a server that has just been elected may answer other reads before it has applied all
//     that was acknowledged by the one before;
//   - a table is NotFound through a server that has not heard yet of its first write;
//   - a subscription takes a moment to be known on the other servers: bus messages
//     sent in that moment are lost (log entries are found by the recheck);
//   - throughput of one log: entries that wait could travel as one atomic batch;
//   - changing the number of replicas of streams that exist is left to the operator.
package natsstore
