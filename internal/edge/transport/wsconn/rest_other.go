//go:build !linux

package wsconn

// lounge lets no connection rest on this system.
type lounge struct{}

type seat struct{}

func (*lounge) init(*Handler)      {}
func (*lounge) wake(*socket)       {}
func (*lounge) leave(*socket)      {}
func (*lounge) enter(*socket) bool { return false }
func (*lounge) disturb(*socket)    {}
func (*lounge) close()             {}
