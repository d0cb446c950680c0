//go:build peers

package cwapi

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The AWS CLI reads metrics, in the protocol that its version speaks.
func TestTheAWSCLIReadsMetrics(t *testing.T) {
	t.Parallel()
	program := os.Getenv("DBOPS_PEER_AWS")
	if program == "" {
		t.Fatal("DBOPS_PEER_AWS is not set: it names the AWS CLI; apt-get install awscli, or pip install awscli")
	}
	p := start(t)
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte("[default]\ncli_timestamp_format = iso8601\n"), 0o600); err != nil { // else each version has its own form
		t.Fatal(err)
	}
	aws := func(who string, args ...string) (string, error) {
		id, key, _ := p.keys.Credentials(who)
		cmd := exec.CommandContext(t.Context(), program, append([]string{"cloudwatch"}, args...)...)
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_CONFIG_FILE=" + config, "AWS_ACCESS_KEY_ID=" + id, "AWS_SECRET_ACCESS_KEY=" + key.Reveal(), "AWS_DEFAULT_REGION=" + region,
			"AWS_ENDPOINT_URL=" + p.url, "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1", "PYENV_VERSION=" + os.Getenv("PYENV_VERSION"),
		}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	queries := filepath.Join(t.TempDir(), "queries.json")
	err := os.WriteFile(queries, []byte(`[{"Id": "a", "MetricStat": {"Period": 60, "Stat": "Average", "Metric": {
		"Namespace": "AWS/RDS", "MetricName": "DatabaseConnections", "Dimensions": [{"Name": "DBInstanceIdentifier", "Value": "orders"}]}}}]`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ask := []string{
		"get-metric-data", "--metric-data-queries", "file://" + queries, "--start-time", "2026-11-30T12:00:00Z", "--end-time", "2026-11-30T13:00:00Z", "--output", "json",
	}
	out, err := aws("user/watcher", ask...)
	var got struct {
		MetricDataResults []struct {
			Id         string
			Timestamps []string
			Values     []float64
		}
	}
	if err != nil || json.Unmarshal([]byte(out), &got) != nil || len(got.MetricDataResults) != 1 {
		t.Fatalf("%v\n%s", err, out)
	}
	if r := got.MetricDataResults[0]; r.Id != "a" || !slices.Equal(r.Values, []float64{4, 3, 2, 1}) || !strings.HasPrefix(r.Timestamps[0], "2026-11-30T12:03:00") {
		t.Errorf("got %+v", r)
	}
	if out, err := aws("user/nobody", ask...); err == nil || !strings.Contains(out, "AccessDenied") {
		t.Errorf("without the permission: %v\n%s", err, out)
	}
	if out, err := aws("user/watcher", "list-metrics"); err == nil || !strings.Contains(out, "not emulated: cloudwatch ListMetrics") {
		t.Errorf("another action: %v\n%s", err, out)
	}
}
