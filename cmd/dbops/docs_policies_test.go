package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const policyDir = "../../docs/policies"

// policy is a file of docs/policies: the permissions that its task always needs, and those that only some of its ways do.
type policy struct {
	always, only []string
}

func (p policy) has(permission string) bool {
	return slices.Contains(p.always, permission) || slices.Contains(p.only, permission)
}

// policies are all files, by name.
func policies(t *testing.T) map[string]policy {
	t.Helper()
	files, err := os.ReadDir(policyDir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]policy{}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(policyDir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		var p policy
		if strings.HasPrefix(f.Name(), "aws-") {
			p, err = awsPolicy(text)
		} else {
			p, err = googleRole(text)
		}
		if err != nil {
			t.Fatalf("%s: %v", f.Name(), err)
		}
		all[f.Name()] = p
	}
	return all
}

// awsPolicy reads an IAM policy. The Sid of a statement that only some ways need begins with Only.
func awsPolicy(text []byte) (policy, error) {
	var doc struct {
		Version   string
		Statement []struct {
			Sid, Effect string
			Action      []string
			Resource    any
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return policy{}, err
	}
	var p policy
	for _, s := range doc.Statement {
		if doc.Version != "2012-10-17" || s.Effect != "Allow" || s.Resource == nil || !regexp.MustCompile(`^[A-Za-z0-9]+$`).MatchString(s.Sid) {
			return policy{}, fmt.Errorf("IAM would not take the statement %q", s.Sid)
		}
		if strings.HasPrefix(s.Sid, "Only") {
			p.only = append(p.only, s.Action...)
		} else {
			p.always = append(p.always, s.Action...)
		}
	}
	return p, nil
}

// googleRole reads the file of a custom role. What only some ways need has a comment that begins with only.
func googleRole(text []byte) (policy, error) {
	var doc struct {
		Title, Description, Stage string
		IncludedPermissions       []string `yaml:"includedPermissions"`
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return policy{}, err
	}
	if doc.Title == "" || doc.Stage != "GA" {
		return policy{}, fmt.Errorf("gcloud would not take it: title %q, stage %q", doc.Title, doc.Stage)
	}
	var p policy
	for _, permission := range doc.IncludedPermissions {
		if strings.Contains(string(text), "- "+permission+" # only ") {
			p.only = append(p.only, permission)
		} else {
			p.always = append(p.always, permission)
		}
	}
	return p, nil
}

// task is a row of the first table of docs/permissions.md: the pages whose commands it needs, and its policies beside those to look and connect.
type task struct {
	name     string
	pages    []string
	policies []string
}

var (
	taskRow    = regexp.MustCompile(`(?m)^\| ([^|]+) \| (\[[^|]*\.md\)) \| (\[[^|]*\.json\)) \| (\[[^|]*\.yaml\)) \|$`)
	linkedPage = regexp.MustCompile(`\]\(([a-z-]+\.md)[)#]`)
	linkedRule = regexp.MustCompile(`\]\(policies/([a-z.-]+)\)`)
)

func tasks(t *testing.T) []task {
	t.Helper()
	text, err := os.ReadFile("../../docs/permissions.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []task
	for _, row := range taskRow.FindAllStringSubmatch(string(text), -1) {
		one := task{name: row[1]}
		for _, m := range linkedPage.FindAllStringSubmatch(row[2], -1) {
			one.pages = append(one.pages, "docs/"+m[1])
		}
		for _, m := range linkedRule.FindAllStringSubmatch(row[3]+row[4], -1) {
			one.policies = append(one.policies, m[1])
		}
		all = append(all, one)
	}
	if len(all) < 6 {
		t.Fatalf("docs/permissions.md has %d tasks", len(all))
	}
	return all
}

// beside are the policies that everybody has.
var beside = []string{"aws-look.json", "aws-connect.json", "gcp-look.yaml", "gcp-connect.yaml"}

const upgradePage = "docs/upgrade.md"

// free are those that nobody needs to be granted.
var free = []string{"sts:GetCallerIdentity"}

// judgePolicies compares what each page asked the clouds for with the policies of its tasks: nothing else may have been asked for, and
// everything in a policy but what only some ways need must have been.
//
// The page on upgrades goes one way of several on one cloud only: what its policies need is judged by [TestScriptsWithUpgrades].
func judgePolicies(t *testing.T, asked map[string][]string, byScripts bool) {
	t.Helper()
	files := policies(t)
	for _, one := range tasks(t) {
		upgrades := slices.Equal(one.pages, []string{upgradePage})
		if byScripts && !upgrades {
			continue
		}
		var during []string
		for _, p := range one.pages {
			if asked[p] == nil {
				t.Errorf("%s: the commands of %s are not run: nobody knows what they need", one.name, p)
			}
			during = append(during, asked[p]...)
		}
		for _, permission := range during {
			if slices.Contains(free, permission) {
				continue
			}
			if !slices.ContainsFunc(append(slices.Clone(beside), one.policies...), func(f string) bool { return files[f].has(permission) }) {
				t.Errorf("%s asked for %s, which is in none of %s", one.pages, permission, one.policies)
			}
		}
		for _, f := range one.policies {
			if upgrades && !byScripts {
				continue
			}
			for _, permission := range files[f].always {
				if !slices.Contains(during, permission) {
					t.Errorf("%s has %s, which %s did not ask for: say when only it is needed, or take it out", f, permission, one.pages)
				}
			}
		}
	}
}

// Every call to a cloud that is in the code is in a policy, and nothing else is.
func TestPoliciesHoldWhatTheCodeCalls(t *testing.T) {
	t.Parallel()
	held := map[string]bool{}
	for name, p := range policies(t) {
		for _, permission := range append(p.always, p.only...) {
			held[permission] = true
		}
		seen := map[string]bool{}
		for _, permission := range append(p.always, p.only...) {
			if seen[permission] {
				t.Errorf("%s has %s twice", name, permission)
			}
			seen[permission] = true
		}
	}
	called := callsInCode(t)
	if len(called) < 50 {
		t.Fatalf("only %d calls were found: %v", len(called), called)
	}
	for permission, where := range called {
		if !held[permission] && !slices.Contains(free, permission) {
			t.Errorf("%s is called in %s, and is in no policy", permission, where)
		}
	}
	for permission := range held {
		if called[permission] == "" && noCall[permission] == "" {
			t.Errorf("%s is in a policy, and nothing calls it", permission)
		}
	}
	for permission := range noCall {
		if !held[permission] {
			t.Errorf("%s is in no policy", permission)
		}
	}
}

// noCall are permissions that a cloud asks for without a call of dbops with that name.
var noCall = map[string]string{
	"rds-db:connect":                  "the token of a login",
	"cloudsql.instances.login":        "the token of a login",
	"kms:Decrypt":                     "Secrets Manager, in the caller's name",
	"kms:GenerateDataKey":             "Secrets Manager, in the caller's name",
	"kms:CreateGrant":                 "RDS, in the caller's name",
	"kms:DescribeKey":                 "RDS, in the caller's name",
	"ssm:ResumeSession":               "the plugin of Systems Manager",
	"ssmmessages:OpenDataChannel":     "the plugin of Systems Manager",
	"rds:CreateDBInstanceReadReplica": "a blue/green deployment, in the caller's name",
	"rds:PromoteReadReplica":          "a blue/green deployment, in the caller's name",
	"iam.serviceAccounts.actAs":       "a new revision of Cloud Run",
	"secretmanager.secrets.create":    "CreateSecret, which names no permission",
}

var (
	awsInput  = regexp.MustCompile(`\b(sdk|sts|cloudwatch|secretsmanager)\.([A-Z][A-Za-z]+)Input\b`)
	googleAsk = regexp.MustCompile(`"((?:cloudsql|secretmanager|run|monitoring)\.[a-z][A-Za-z]+\.[a-z][A-Za-z]+)"`)
)

// callsInCode are the permissions of all calls, each with a file that has it. Those of AWS are called as the call; for those of Google
// the code says the permission beside each call, to name it in an error.
func callsInCode(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for dir, sdk := range map[string]string{
		"cloud/rds": "rds", "cloud/ecs": "ecs", "dial": "ssm", "secret/awssm": "secretsmanager", "cloud/cloudsql": "", "cloud/cloudrun": "", "secret/gcpsm": "",
	} {
		files, err := filepath.Glob(filepath.Join("../../internal", dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(dir, err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range awsInput.FindAllSubmatch(text, -1) {
				service := string(m[1])
				if service == "sdk" {
					service = sdk
				}
				found[service+":"+string(m[2])] = f
			}
			for _, m := range googleAsk.FindAllSubmatch(text, -1) {
				if permission := string(m[1]); !strings.HasSuffix(permission, ".googleapis.com") && !strings.Contains(permission, ".googleapis.") {
					found[permission] = f
				}
			}
		}
	}
	return found
}
