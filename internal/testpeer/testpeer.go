// Package testpeer finds the parts of the real programs that tests talk to, and writes what configures them.
package testpeer

import (
	"errors"
	"path/filepath"
)

// kamailioModules are the directories where distributions put them: Debian by architecture,
// others in one of these.
var kamailioModules = []string{
	"/usr/lib/*/kamailio/modules", "/usr/lib/kamailio/modules", "/usr/lib64/kamailio/modules", "/usr/local/lib*/kamailio/modules",
}

// KamailioModules returns the directory of Kamailio's modules (its setting mpath).
func KamailioModules() (string, error) {
	for _, pattern := range kamailioModules {
		found, err := filepath.Glob(filepath.Join(pattern, "tm.so"))
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return filepath.Dir(found[0]), nil
		}
	}
	return "", errors.New("testpeer: kamailio's modules are not installed (scripts/test-deps installs them)")
}
