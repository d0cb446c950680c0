//go:build peers

package ecsapi_test

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"dbops/internal/sandbox/awsid"
)

// The AWS CLI deploys the service, waits for it as deployment scripts do, and sees what went wrong.
func TestTheAWSCLIDeploys(t *testing.T) {
	t.Parallel()
	program := os.Getenv("DBOPS_PEER_AWS")
	if program == "" {
		t.Fatal("DBOPS_PEER_AWS is not set: it names the AWS CLI; apt-get install awscli, or pip install awscli")
	}
	dir, started := t.TempDir(), 0
	c, _ := start(t, dir, func(context.Context) error { started++; return nil })
	keys, err := awsid.Open(awsid.Config{Account: "123456789012", Region: "eu-west-1", Dir: dir, Principals: []awsid.Principal{{Name: "user/dbops"}}})
	if err != nil {
		t.Fatal(err)
	}
	id, key, _ := keys.Credentials("user/dbops")
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_ACCESS_KEY_ID=" + id, "AWS_SECRET_ACCESS_KEY=" + key.Reveal(),
		"AWS_DEFAULT_REGION=eu-west-1", "AWS_ENDPOINT_URL=" + *c.Options().BaseEndpoint, "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_MAX_ATTEMPTS=1", "PYENV_VERSION=" + os.Getenv("PYENV_VERSION"),
	}
	aws := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), program, append([]string{"ecs"}, args...)...)
		cmd.Env = slices.Clone(env)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	want := func(text string, args ...string) {
		t.Helper()
		if out, err := aws(args...); err != nil || !strings.Contains(out, text) {
			t.Errorf("aws ecs %s: %v\n%s\nwant %s", strings.Join(args, " "), err, out, text)
		}
	}
	want("service/billing/invoicing", "list-services", "--cluster", "billing")
	want("IN_PROGRESS", "update-service", "--cluster", "billing", "--service", "invoicing", "--force-new-deployment")
	want("", "wait", "services-stable", "--cluster", "billing", "--services", "invoicing")
	want("COMPLETED", "describe-services", "--cluster", "billing", "--services", "invoicing", "--query", "services[0].deployments[].rolloutState")
	want("has reached a steady state", "describe-services", "--cluster", "billing", "--services", "invoicing", "--query", "services[0].events[0].message")
	want("prod/billing/invoicing", "describe-task-definition", "--task-definition", "billing-invoicing:1")
	if out, err := aws("update-service", "--cluster", "billing", "--service", "x", "--force-new-deployment"); err == nil || !strings.Contains(out, "(ServiceNotFoundException)") {
		t.Errorf("%v\n%s", err, out)
	}
	if started != 1 {
		t.Errorf("tasks were started %d times", started)
	}
}
