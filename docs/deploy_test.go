package docs_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/tandem-call/tandem/internal/server"
)

// TestDeployedMetrics: alert rules and dashboard name metrics that there are.
func TestDeployedMetrics(t *testing.T) {
	real := metrics(t)
	for _, path := range []string{"../deploy/prometheus/alerts.yaml", "../deploy/grafana/tandem.json"} {
		found := regexp.MustCompile(`\btandem_\w+`).FindAllString(read(t, path), -1)
		if len(found) < 10 {
			t.Errorf("%s: only %v were found", path, found)
		}
		for _, name := range found {
			if !slices.Contains(real, name) {
				t.Errorf("%s: there is no metric %s", path, name)
			}
		}
	}
	var dashboard struct {
		UID    string
		Panels []struct {
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "../deploy/grafana/tandem.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	taken := map[[2]int]string{}
	for _, p := range dashboard.Panels {
		at := [2]int{p.GridPos.X, p.GridPos.Y}
		if p.Title == "" || len(p.Targets) == 0 || taken[at] != "" || p.GridPos.W == 0 || p.GridPos.H == 0 {
			t.Errorf("panel %q: nothing in it, or no place of its own", p.Title)
		}
		taken[at] = p.Title
	}
}

// TestCompose: the nodes' environment is a configuration that the server takes, and what is
// named is there.
func TestCompose(t *testing.T) {
	var compose struct {
		Services map[string]struct {
			Image       string
			Environment map[string]string
			Volumes     []string
			DependsOn   []string `yaml:"depends_on"`
			Command     []string
		}
		Volumes map[string]any
	}
	if err := yaml.Unmarshal([]byte(read(t, "../deploy/compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	balancer := read(t, "../deploy/haproxy.cfg")
	nodes := 0
	for name, s := range compose.Services {
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(from, "./") {
				if _, err := os.Stat(filepath.Join("../deploy", from)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			} else if _, ok := compose.Volumes[from]; !ok {
				t.Errorf("%s: there is no volume %s", name, from)
			}
		}
		for _, other := range s.DependsOn {
			if _, ok := compose.Services[other]; !ok {
				t.Errorf("%s: there is no service %s", name, other)
			}
		}
		if s.Image != "tandem" {
			continue
		}
		nodes++
		if !strings.Contains(balancer, name+":8080 ") && !strings.Contains(balancer, name+":8080\n") {
			t.Errorf("%s is not behind the load balancer", name)
		}
		for _, u := range strings.Split(s.Environment["TANDEM_ENGINE_NATS"], ",") {
			host := strings.TrimSuffix(strings.TrimPrefix(u, "nats://"), ":4222")
			if _, ok := compose.Services[host]; !ok {
				t.Errorf("%s: there is no NATS server %s", name, host)
			}
		}
		filled := map[string]string{
			"TANDEM_PUBLIC_URL": "https://tandem.example", "TANDEM_FILES_S3_ENDPOINT": "https://s3.example", "TANDEM_CODES_URL": "https://sms.example",
			"TANDEM_FILES_S3_BUCKET": "tandem", "TANDEM_FILES_S3_ACCESS_KEY": "a", "TANDEM_FILES_S3_SECRET_KEY": "s",
		}
		var environ []string
		for k, v := range s.Environment {
			reference := regexp.MustCompile(`\$\{(\w+)(:-(\w*)|:\?)\}`)
			v = reference.ReplaceAllStringFunc(v, func(ref string) string {
				m := reference.FindStringSubmatch(ref)
				if m[2] == ":?" && filled[m[1]] == "" {
					t.Errorf("%s is not set", m[1])
				}
				return filled[m[1]] + m[3]
			})
			environ = append(environ, k+"="+v)
		}
		cfg, err := server.Load("", environ)
		if err == nil {
			err = cfg.Validate()
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if nodes != 3 {
		t.Errorf("%d nodes", nodes)
	}
}

const chart = "../deploy/helm/tandem/"

// render fills the chart's templates, with the few of Helm's functions that they use.
func render(t *testing.T, values string) ([]map[string]any, error) {
	t.Helper()
	var v map[string]any
	if err := yaml.Unmarshal([]byte(values), &v); err != nil {
		t.Fatal(err)
	}
	schema, err := jsonschema.NewCompiler().Compile(chart + "values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(v); err != nil {
		return nil, err
	}
	functions := template.FuncMap{
		"toYaml": func(v any) (string, error) {
			b, err := yaml.Marshal(v)
			return strings.TrimSuffix(string(b), "\n"), err
		},
		"indent": func(n int, s string) string {
			pad := strings.Repeat(" ", n)
			return pad + strings.ReplaceAll(s, "\n", "\n"+pad)
		},
		"int":       func(v any) int { n, _ := v.(int); return n },
		"quote":     func(v any) string { return fmt.Sprintf("%q", fmt.Sprint(v)) },
		"sha256sum": func(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) },
		"fail":      func(s string) (string, error) { return "", errors.New(s) },
	}
	var objects []map[string]any
	files, err := filepath.Glob(chart + "templates/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		tmpl, err := template.New(filepath.Base(path)).Funcs(functions).Option("missingkey=error").Parse(read(t, path))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := tmpl.Execute(&out, map[string]any{"Values": v, "Release": map[string]any{"Name": "tandem"}}); err != nil {
			return nil, err
		}
		for d := yaml.NewDecoder(&out); ; {
			var object map[string]any
			if err := d.Decode(&object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			objects = append(objects, object)
		}
	}
	return objects, nil
}

// TestChart: the chart's values give objects of Kubernetes, in which the server gets a
// configuration that it takes.
func TestChart(t *testing.T) {
	values := read(t, chart+"values.yaml")
	cluster := strings.NewReplacer("replicas: 1", "replicas: 3", `url: ""`, "url: nats://nats:4222", `secret: ""`, "secret: tandem", "enabled: false", "enabled: true", `files: ""`, "files: keys",
		"public_url: https://tandem.example", "public_url: https://tandem.example\n  files:\n    s3: {endpoint: https://s3.example, bucket: tandem, access_key: a, secret_key: s}").Replace(values)
	for name, c := range map[string]struct {
		values string
		kinds  []string
	}{
		"one machine": {values, []string{"ConfigMap", "Service", "StatefulSet"}},
		"a cluster":   {cluster, []string{"ConfigMap", "PodDisruptionBudget", "Service", "ServiceMonitor", "StatefulSet"}},
	} {
		objects, err := render(t, c.values)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var kinds []string
		for _, o := range objects {
			kinds = append(kinds, fmt.Sprint(o["kind"]))
			if o["kind"] == "StatefulSet" {
				pod := o["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
				if pod["enableServiceLinks"] != false {
					t.Error("Kubernetes gives the pod variables for its Service, which the server refuses")
				}
			}
			if o["kind"] != "ConfigMap" {
				continue
			}
			config := filepath.Join(t.TempDir(), "tandem.yaml")
			if err := os.WriteFile(config, []byte(o["data"].(map[string]any)["tandem.yaml"].(string)), 0o600); err != nil {
				t.Fatal(err)
			}
			environ := []string{"TANDEM_LISTEN=0.0.0.0:8080", "TANDEM_DATA=/data"}
			if name == "a cluster" {
				environ = append(environ, "TANDEM_ENGINE_NATS=nats://nats:4222")
			}
			cfg, err := server.Load(config, environ)
			if err == nil {
				err = cfg.Validate()
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		slices.Sort(kinds)
		if !slices.Equal(kinds, c.kinds) {
			t.Errorf("%s: objects %v, want %v", name, kinds, c.kinds)
		}
	}
	for name, wrong := range map[string]string{
		"pods with data of their own": strings.Replace(values, "replicas: 1", "replicas: 2", 1),
		"an unknown value":            values + "\nreplicaCount: 3\n",
		"no pod":                      strings.Replace(values, "replicas: 1", "replicas: 0", 1),
	} {
		if _, err := render(t, wrong); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
