//go:build peers

package docs_test

import (
	"os/exec"
	"testing"
)

// TestAlertRules: Prometheus' own tool takes the alert rules.
func TestAlertRules(t *testing.T) {
	out, err := exec.Command("promtool", "check", "rules", "../deploy/prometheus/alerts.yaml").CombinedOutput()
	if err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
