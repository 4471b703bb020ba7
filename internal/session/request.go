package session

import "hash/maphash"

// request names a request for the life of its log: who sent it, and the id it chose. All
// requests of a log are kept in memory, so this is their hash, of 128 bits and by secret
// seeds, instead of the words themselves: 16 bytes in which the garbage collector finds
// nothing to follow. That two of a log's requests have the same one is as good as
// impossible (with 100,000 of them, one in 10^28).
type request struct{ a, b uint64 }

var requestSeeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func requestOf[T ~string | ~[]byte](from uint32, id T) request {
	return request{
		maphash.String(requestSeeds[0], string(id)) + uint64(from),
		maphash.String(requestSeeds[1], string(id)),
	}
}
