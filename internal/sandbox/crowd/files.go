package crowd

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"dbops/internal/sandbox/seed"
)

// Who logs in to the real servers. They are on loopback and hold nothing that anybody keeps.
const (
	adminPassword     = "crowd-admin"
	containerPassword = "crowd-container"
)

// Environment is the name of the environment in dbops.yaml that has all instances.
const Environment = "crowd"

func container(i int) string { return fmt.Sprintf("api-%03d", i+1) }

func (c *Crowd) in(name string) string { return filepath.Join(c.o.Dir, name) }

// Environ points dbops at the crowd.
func (c *Crowd) Environ() map[string]string {
	return map[string]string{
		"DBOPS_CONFIG": c.in("dbops.yaml"), "DBOPS_STATE_DIR": c.in("state"),
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": c.in("aws-credentials"), "AWS_EC2_METADATA_DISABLED": "true",
		"GOOGLE_APPLICATION_CREDENTIALS": c.in("google.json"), "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING": c.urls["google"] + "/",
	}
}

// writeFiles writes dbops.yaml, and the credentials that it is used with.
func (c *Crowd) writeFiles() error {
	var keys strings.Builder
	for _, p := range places {
		if k := c.aws[p.region]; k != nil && !strings.Contains(keys.String(), p.account) {
			id, key, _ := k.Credentials(dbopsUser)
			fmt.Fprintf(&keys, "[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n\n", p.account, id, key.Reveal())
		}
	}
	secretOf, err := c.credentials()
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(c.in("aws-credentials"), []byte(keys.String()), 0o600),
		os.WriteFile(c.in("admin"), []byte(adminPassword), 0o600),
		os.WriteFile(c.in("rds.pem"), c.rds[places[0].region].CABundle(), 0o600),
		c.google.Identity().WriteKey(robot, c.in("google.json"), c.urls["google"]+"/token"),
		os.WriteFile(c.in("dbops.yaml"), []byte(c.yaml(secretOf)), 0o600),
	)
}

// credentials delivers those of the containers.
func (c *Crowd) credentials() (files []string, err error) {
	host, port, err := net.SplitHostPort(c.server.Addr())
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.in("secrets"), 0o700); err != nil {
		return nil, err
	}
	for i := range c.o.Containers {
		text, err := json.Marshal(map[string]any{
			"engine": "postgres", "username": seed.Container{Name: container(i)}.Slot("a"), "password": containerPassword, "slot": "a",
			"host": host, "port": number, "dbname": database, "sslmode": "verify-full",
		})
		if err != nil {
			return nil, err
		}
		files = append(files, c.in(filepath.Join("secrets", container(i))))
		if err := os.WriteFile(files[i], text, 0o600); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// home is the instance of a container: one of the first two regions.
func (c *Crowd) home(i int) string { return c.names[places[i%2].region][i/2] }

// yaml is dbops.yaml.
func (c *Crowd) yaml(secretOf []string) string {
	var b strings.Builder
	b.WriteString("version: 1\nenvironments:\n  " + Environment + ":\n    profile: production\n    instances:\n")
	for _, p := range places {
		for _, name := range c.names[p.region+p.project] {
			if p.project != "" {
				fmt.Fprintf(&b, "      %[1]s: {cloudsql: {project: %[2]s, region: europe-west1, instance: %[1]s, endpoint: %[3]q}}\n", name, p.project, c.urls["google"])
				continue
			}
			fmt.Fprintf(&b, "      %[1]s: {rds: {region: %[2]s, identifier: %[1]s, profile: %[3]q, endpoint: %[4]q, ca_file: rds.pem}, "+
				"logins: {admin: {user: dbops_admin, secret: \"file:admin\"}}}\n", name, p.region, p.account, c.urls[p.region])
		}
	}
	if len(secretOf) == 0 {
		return b.String()
	}
	b.WriteString("    databases:\n")
	for i := range secretOf {
		fmt.Fprintf(&b, "      db-%[1]s: {instance: %[2]s, name: %[3]s, owner: %[3]s_owner}\n", container(i), c.home(i), database)
	}
	b.WriteString("    containers:\n")
	for i, file := range secretOf {
		fmt.Fprintf(&b, "      %[1]s: {databases: [db-%[1]s], access: write, delivery: [%[2]q]}\n", container(i), "file:"+file)
	}
	return b.String()
}
