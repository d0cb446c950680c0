package certs

import (
	"context"
	"fmt"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// RevokeRequest asks for the end of a client certificate (cloudsql).
type RevokeRequest struct {
	Client string `json:"client"` // its name, or its fingerprint
}

const stepRevoke = "revoke"

func revokeClient(d Deps) op.Kind {
	return op.Operation[RevokeRequest, Facts]{
		Kind: RevokeClientKind,
		Observe: func(ctx context.Context, t op.Target, r RevokeRequest) (Facts, error) {
			if r.Client == "" {
				return Facts{}, fault.Newf(fault.Usage, "plan a revocation for "+t.String(), "no client certificate is named")
			}
			told, f, err := d.told(ctx, t)
			if err != nil {
				return f, err
			}
			f.Mode = told.Instance.TLS.Mode
			f.about(FindClient(told.Clients, r.Client))
			return f, nil
		},
		Derive: planRevoke,
		Steps: func(t op.Target, r RevokeRequest, f Facts) []op.Step {
			c := revocation{d, t, r, f}
			return []op.Step{
				{Name: stepRevoke, Title: "delete the client certificate " + r.Client, Do: c.revoke},
				{Name: stepWait, Title: "wait until the server refuses it", Do: c.wait},
			}
		},
	}.AsKind()
}

func planRevoke(t op.Target, r RevokeRequest, f Facts) op.Draft {
	d := op.Draft{Title: fmt.Sprintf("revoke the client certificate %s of %s", r.Client, t), Findings: append(cloudSQLOnly(t, f), atRest(t, f)...)}
	d.Downtime = op.Downtime{Expected: "none", Text: "the server goes on, and so do sessions that are open"}
	c := f.client()
	if c == nil {
		d.Findings = append(d.Findings, block("client", fmt.Sprintf("%s has no client certificate %s", t, r.Client), "", command("certs list", t)))
		return d
	}
	d.Changes = []op.Change{{Setting: "client_certificates." + c.Name, From: c.ID, To: "none"}}
	d.Findings = append(d.Findings, warn("final", "it cannot be taken back: who uses it needs another", "SHA-1 "+c.ID, "make and deliver the new one first: "+command("certs create-client", t)+" NAME"))
	if f.Mode == "TRUSTED_CLIENT_CERTIFICATE_REQUIRED" {
		d.Findings = append(d.Findings, warn("demanded", "the server lets nobody in without a client certificate: who has no other is locked out", f.Mode, "see that no deployed client uses it"))
	}
	d.Notes = []string{"its files, wherever they were copied to, are worthless afterwards; dbops removes none"}
	return d
}

// revocation is one run's deletion of a client certificate.
type revocation struct {
	Deps
	t op.Target
	r RevokeRequest
	f Facts
}

func (c revocation) what() string {
	return fmt.Sprintf("revoke the client certificate %s of %s", c.r.Client, c.t)
}

// Revoked is what the step that deletes stores.
type Revoked struct {
	ID      string         `json:"id"`
	Receipt *cloud.Receipt `json:"receipt,omitempty"` // none: it was found gone
}

func (c revocation) revoke(ctx context.Context, s *op.Session) (op.Result, error) {
	provider, name, err := c.Cloud(ctx, c.t)
	if err != nil {
		return op.Result{}, err
	}
	client := c.f.client()
	out := Revoked{ID: client.ID}
	err = s.Poll(ctx, c.Pace, c.what(), func(ctx context.Context) (bool, string, error) {
		told, err := provider.Certificates(ctx, name)
		if err != nil {
			return false, "", err
		}
		switch live := told.Instance; {
		case live.State == cloud.Available && told.Client(client.ID) == nil:
			return true, "", nil
		case live.State == cloud.Deleting, live.State == cloud.Failed, live.State == cloud.Stopped:
			return false, "", fault.Newf(fault.Invalid, c.what(), "it is %s (%s)", live.State, live.RawState).Hint("when it is available again: dbops runs retry %s", s.Run)
		case live.State != cloud.Available:
			return false, live.RawState, nil
		}
		if err := s.Fence(); err != nil {
			return false, "", err
		}
		r, err := provider.DeleteClient(ctx, name, client.ID)
		if fault.KindOf(err) == fault.NotFound {
			return false, "it is gone", nil
		}
		if err == nil {
			out.Receipt = &r
		}
		return err == nil, "", err
	})
	if err != nil {
		return op.Result{}, err
	}
	result := op.Result{Output: out, Text: "accepted", Changes: []op.Change{{Setting: "client_certificates." + client.Name, From: client.ID, To: "none"}}}
	if out.Receipt == nil {
		result.Text = "found gone: an earlier try of this run deleted it, or somebody else did since it was planned"
	} else {
		result.RequestID = out.Receipt.RequestID
	}
	return result, nil
}

func (c revocation) wait(ctx context.Context, s *op.Session) (op.Result, error) {
	var out Revoked
	if _, err := s.Output(stepRevoke, &out); err != nil {
		return op.Result{}, err
	}
	provider, name, err := c.Cloud(ctx, c.t)
	if err != nil {
		return op.Result{}, err
	}
	if out.Receipt != nil {
		if err := c.follow(ctx, s, provider, c.what(), *out.Receipt); err != nil {
			return op.Result{}, err
		}
	}
	told, err := provider.Certificates(ctx, name)
	if err != nil {
		return op.Result{}, err
	}
	if told.Client(out.ID) != nil {
		return op.Result{}, fault.Newf(fault.Stale, c.what(), "it is still listed").Hint("dbops runs retry %s", s.Run)
	}
	return op.Result{Text: "it is worthless: " + out.ID + "; its files are, too, and dbops removes none"}, nil
}
