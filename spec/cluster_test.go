package spec

import (
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tandem-call/tandem/internal/edge/store/natsstore/natstest"
)

// startCluster runs scripts/cluster, as make cluster does.
func startCluster(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: cluster")
	}
	script, err := filepath.Abs("../scripts/cluster")
	ts.Check(err)
	base := freeBase(ts)
	p := start(ts, "server", environ(ts, fmt.Sprintf("BASE=%d", base), "TANDEM="+tandem, "NATS_SERVER="+nats), script, filepath.Join(ts.Getenv("WORK"), "cluster"))
	if p.await(regexp.MustCompile(`Ctrl-C stops all`)) == "" {
		ts.Fatalf("the cluster does not start; it said:\n%s", p.text())
	}
	for n := 1; n <= 3; n++ {
		ts.Setenv(fmt.Sprintf("node%d", n), fmt.Sprintf("http://127.0.0.1:%d", base+n))
	}
}

// freeBase is a port from which scripts/cluster can count. It is looked for below the range
// that the system takes ports for outgoing connections from.
func freeBase(ts *testscript.TestScript) int {
	for range 100 {
		n, err := rand.Int(rand.Reader, big.NewInt(300))
		ts.Check(err)
		base := 20_000 + 40*int(n.Int64())
		if slices.IndexFunc(offsets, func(n int) bool { return !free(base + n) }) < 0 {
			return base
		}
	}
	ts.Fatalf("no free ports")
	return 0
}

// offsets of the ports that scripts/cluster uses.
var offsets = []int{1, 2, 3, 11, 12, 13, 21, 22, 23}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		l.Close()
	}
	return err == nil
}

// onDisk are the scripts about the embedded engine, or that start what they need themselves.
var onDisk = map[string]string{
	"B12":           "starts a cluster of its own",
	"B13":           "starts a cluster of its own",
	"damaged_store": "damages the files of the embedded engine",
	"demo":          "starts a server of its own, on the embedded engine",
	"keys":          "looks at once for what the audit log takes down a moment later",
	"privacy_erase": "looks into the files of the embedded engine",
}

// oneNode are the scripts that have one server on the cluster, the others two behind a
// balancer: docs/operations.md says what needs one node.
var oneNode = map[string]string{
	"A4":          "telephones register with the SIP element of one node",
	"B4":          "asks one node for its connections",
	"B7":          "asks one node for its counts",
	"D4":          "asks one node for its counts",
	"G3":          "asks one node for its counts",
	"texts":       "asks one node for its counts",
	"C5":          "a device that is connected to another node is woken",
	"pbx_diverts": "telephones register with the SIP element of one node",
	"sip_restart": "telephones register with the SIP element of one node",
	"sip_place":   "telephones register with the SIP element of one node",
	"two_servers": "is about two servers on one data directory",
}

// few are the scripts that run against a cluster every time; all of them with
// SPEC_CLUSTER=all, by make test-cluster.
var few = []string{"B1", "B4", "B6", "B10", "store_move"}

// clusterEnv are the settings of servers on the cluster.
var clusterEnv = []string{
	"TANDEM_ENGINE_NATS", "TANDEM_ENGINE_PREFIX", "TANDEM_FILES_S3_ENDPOINT", "TANDEM_FILES_S3_BUCKET",
	"TANDEM_FILES_S3_ACCESS_KEY", "TANDEM_FILES_S3_SECRET_KEY",
}

// TestSpecOnCluster runs requirement scripts against a NATS cluster of three servers, an
// object store, and two nodes behind a load balancer.
func TestSpecOnCluster(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := natstest.Start(ctx, t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	// After the scripts, which run beside each other.
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	objects := s3mem.New()
	s3 := httptest.NewServer(gofakes3.New(objects, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	t.Cleanup(s3.Close)
	all, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]string{}
	for _, path := range all {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		if onDisk[name] == "" && (os.Getenv("SPEC_CLUSTER") == "all" || slices.Contains(few, name)) {
			nodes := "2"
			if oneNode[name] != "" {
				nodes = "1"
			}
			files[nodes] = append(files[nodes], path)
		}
	}
	for nodes, files := range files {
		t.Run(nodes+"nodes", func(t *testing.T) {
			testscript.Run(t, testscript.Params{
				Files: files,
				Cmds:  commands,
				Setup: func(env *testscript.Env) error {
					prefix := strings.ToLower(rand.Text())
					if err := objects.CreateBucket(prefix); err != nil {
						return err
					}
					for i, value := range []string{c.URL(), prefix, s3.URL, prefix, "a", "s"} {
						env.Setenv(clusterEnv[i], value)
					}
					if nodes != "1" {
						env.Setenv(fleetNodes, nodes)
					}
					env.Defer(func() {
						ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
						defer cancel()
						if err := c.Forget(ctx, prefix); err != nil {
							fmt.Fprintln(os.Stderr, err)
						}
					})
					return setup(env)
				},
			})
		})
	}
}
