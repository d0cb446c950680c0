package sandbox

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"dbops/internal/config"
	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/containers"
	"dbops/internal/sandbox/ecsapi"
	"dbops/internal/sandbox/runapi"
	"dbops/internal/sandbox/seed"
)

// What a container runs on, and so where its credential is delivered and how it is rolled out.
const (
	onECS      = "ecs"       // AWS Secrets Manager; UpdateService
	onCloudRun = "cloud_run" // GCP Secret Manager; a new revision
	onCommand  = "command"   // a file; `dbops sandbox rollout`
)

// app is one program of the sandbox's customer. It runs once in every environment that has its database.
type app struct {
	name     string
	access   config.Access
	platform string
	load     containers.Load
}

// apps are all of them, by database.
var apps = map[string][]app{
	"shop": {
		{name: "shop-api", access: config.Write, platform: onCloudRun, load: containers.Load{
			Read:  "SELECT number, status FROM shop.orders WHERE id = $1",
			Write: "UPDATE shop.products SET name = name WHERE id = $1",
		}},
		{name: "shop-worker", access: config.Write, platform: onCloudRun, load: containers.Load{
			Read:  "SELECT sum(quantity) FROM inventory.stock WHERE product_id = $1",
			Write: "UPDATE inventory.stock SET reserved = reserved WHERE product_id = $1 AND warehouse = 'BER'",
		}},
		{name: "shop-reporting", access: config.Read, platform: onCommand, load: containers.Load{
			Read: "SELECT count(*), max(placed_at) FROM shop.orders WHERE customer_id = $1",
		}},
	},
	"billing": {{name: "billing-invoicing", access: config.Write, platform: onECS, load: containers.Load{
		Read:  "SELECT count(*), max(due_on) FROM billing.invoices WHERE account_id = $1",
		Write: "UPDATE billing.accounts SET name = name WHERE id = $1",
	}}},
	"events": {{name: "events-collector", access: config.Write, platform: onCommand, load: containers.Load{
		Read:  "SELECT name FROM events.sources WHERE id = 1 + $1 % 3",
		Write: "UPDATE events.sources SET name = name WHERE id = 1 + $1 % 3",
	}}},
}

func (a app) slot(letter string) string { return seed.Container{Name: a.name}.Slot(letter) }

// task is the identity of the container in AWS.
func (a app) task(i instance) string { return "role/" + a.name + "-" + i.env }

// account is the identity of the container in Google Cloud.
func (a app) account(i instance) string { return a.name + "@" + i.project + ".iam.gserviceaccount.com" }

// secretName is where the credential is delivered, in the words of the place.
func (a app) secretName(dir string, i instance) string {
	switch a.platform {
	case onECS:
		return i.env + "/billing/invoicing"
	case onCloudRun:
		return "projects/" + i.project + "/secrets/" + a.name
	default:
		return filepath.Join(dir, secretsDir, i.env+"-"+a.name)
	}
}

// taskPrincipals are the identities of the containers in AWS. Each may read its own secret.
func taskPrincipals() (out []awsid.Principal) {
	for _, i := range instances {
		for _, a := range apps[i.database] {
			if a.platform == onECS {
				out = append(out, awsid.Principal{Name: a.task(i), Allow: []awsid.Rule{{
					Action: "secretsmanager:GetSecretValue", Resource: "arn:aws:secretsmanager:*:*:secret:" + a.secretName("", i) + "-*",
				}}})
			}
		}
	}
	return out
}

// startContainers starts every container and waits until each has tried to.
func (s *Sandbox) startContainers(ctx context.Context) error {
	for _, i := range instances {
		if s.Server(i.env, i.name) == nil {
			continue
		}
		for _, a := range apps[i.database] {
			source, err := s.source(a, i)
			if err != nil {
				return fmt.Errorf("container %s/%s: %w", i.env, a.name, err)
			}
			c := containers.Start(ctx, containers.Spec{
				Environment: i.env, Name: a.name, Platform: a.platform, Source: source, Trust: s.trust(i),
				Load: map[string]containers.Load{i.database: a.load},
			}, containers.Options{Rate: s.opts.Rate, Log: s.opts.Log})
			s.containers = append(s.containers, c)
			if err := s.deployed(a, i, c); err != nil {
				return fmt.Errorf("container %s/%s: %w", i.env, a.name, err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, c := range s.containers {
		if err := c.Started(ctx); err != nil {
			s.opts.Log.Warn("a container takes long to start", "container", c.ID())
		}
	}
	return nil
}

// deployed makes the service that deploys a container, in the cloud that it runs on.
func (s *Sandbox) deployed(a app, i instance, c *containers.Container) error {
	switch a.platform {
	case onECS:
		return s.ecs.Add(ecsapi.Seed{
			Cluster: a.cluster(i), Name: ecsService, Image: "registry.example.com/" + a.name + ":1", Secret: a.secretName("", i), Workload: c,
		})
	case onCloudRun:
		return s.run.Add(runapi.Seed{
			Project: i.project, Region: googleRegion, Name: a.name, Image: "registry.example.com/" + a.name + ":1",
			ServiceAccount: a.account(i), Secret: a.name, Workload: c,
		})
	default:
		return nil
	}
}

// ecsService is the name of the one service that each cluster has.
const ecsService = "invoicing"

// cluster is the ECS cluster of an environment: billing, billing-staging.
func (app) cluster(i instance) string {
	if i.env == "prod" {
		return "billing"
	}
	return "billing-" + i.env
}

// Container is a container by the names of dbops.yaml; nil if there is none.
func (s *Sandbox) Container(env, name string) *containers.Container {
	i := slices.IndexFunc(s.containers, func(c *containers.Container) bool { return c.ID() == env+"/"+name })
	if i < 0 {
		return nil
	}
	return s.containers[i]
}

// trust is what the containers know of the servers' certificates.
func (s *Sandbox) trust(i instance) containers.Trust {
	return func(sslmode, host string) (*tls.Config, error) {
		var pems []byte
		name := ""
		switch i.provider {
		case playedRDS:
			pems = s.rds.CABundle()
		case playedCloud:
			// A deployment brings the CA of the instance that its credential names: each has its own. A certificate of Cloud SQL names the
			// instance and no address: that is what Google's own clients compare.
			id := cmp.Or(s.google.At(i.project, host), i.id)
			pems, name = s.google.CABundle(i.project, id), i.project+":"+id
		default:
			var err error
			if pems, err = os.ReadFile(filepath.Join(s.opts.Dir, caDir, "local.pem")); err != nil {
				return nil, err
			}
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pems) {
			return nil, errors.New("there is no CA certificate to trust")
		}
		return clientTLS(sslmode, host, name, roots)
	}
}

// clientTLS checks a server as libpq does. With a common name that is compared in place of the host.
func clientTLS(sslmode, host, commonName string, roots *x509.CertPool) (*tls.Config, error) {
	switch sslmode {
	case "", "verify-full":
	case "verify-ca":
		host, commonName = "", ""
	default:
		return nil, fmt.Errorf("its sslmode is %.20q, want verify-full or verify-ca", sslmode)
	}
	if host != "" && commonName == "" {
		return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: host}, nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does it
		VerifyConnection: func(state tls.ConnectionState) error {
			between := x509.NewCertPool()
			for _, c := range state.PeerCertificates[1:] {
				between.AddCert(c)
			}
			leaf := state.PeerCertificates[0]
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err != nil {
				return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
			}
			if commonName != "" && leaf.Subject.CommonName != commonName {
				err := fmt.Errorf("the certificate is that of %.100q, want %q", leaf.Subject.CommonName, commonName)
				return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
			}
			return nil
		},
	}, nil
}
