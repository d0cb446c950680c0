package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/secret"
)

// CreateRequest asks for a client certificate (cloudsql).
type CreateRequest struct {
	Name string `json:"name"` // unique for the instance
	Dir  string `json:"dir"`  // absolute; where its files go
	Host string `json:"host"` // the machine that has Dir
	// For the settings beside it.
	Database string `json:"database,omitempty"`
	User     string `json:"user,omitempty"`
}

// The steps that make a client certificate.
const (
	stepCreate = "create"
	stepFiles  = "files"
)

// maxClients is how many client certificates Google documents for one instance.
const maxClients = 10

var clientName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func createClient(d Deps) op.Kind {
	return op.Operation[CreateRequest, Facts]{
		Kind: CreateClientKind,
		Observe: func(ctx context.Context, t op.Target, r CreateRequest) (Facts, error) {
			if !clientName.MatchString(r.Name) {
				return Facts{}, fault.Newf(fault.Usage, "plan a client certificate of "+t.String(), "%q is no name for it", r.Name).
					Hint("letters, digits, dots, dashes and underscores, 63 at most")
			}
			told, f, err := d.told(ctx, t)
			if err != nil {
				return f, err
			}
			f.Full = len(told.Clients) >= maxClients
			f.about(told.Client(r.Name))
			if r.Host == d.Host {
				f.InTheWay, f.Closed = inTheWay(r.Dir)
				there := clientIn(r.Dir)
				f.Revoked = there != nil && told.Client(SHA1(there)) == nil
				f.Foreign = strangers(r.Dir, serviceOf(t.Environment, t.Instance))
			}
			return f, nil
		},
		Derive: planCreate,
		Steps: func(t op.Target, r CreateRequest, f Facts) []op.Step {
			c := creation{d, t, r, f}
			return []op.Step{
				{
					Name: stepCreate, Title: "have the certificate made, and store its key in " + r.Dir + " before anything else", Do: c.create,
					Undo: c.undo, UndoTitle: "revoke the certificate, and remove its files from " + r.Dir,
				},
				{Name: stepWait, Title: "wait until the server knows it", Do: c.wait},
				{Name: stepFiles, Title: "write it in the forms that clients take", Do: c.files},
				{Name: stepVerify, Title: "see in a handshake that the server takes it", Do: c.verify},
			}
		},
	}.AsKind()
}

func planCreate(t op.Target, r CreateRequest, f Facts) op.Draft {
	d := op.Draft{
		Title: fmt.Sprintf("make the client certificate %s for %s", r.Name, t), Downtime: op.Downtime{Expected: "none", Text: "servers and sessions notice nothing"},
		Findings: append(cloudSQLOnly(t, f), atRest(t, f)...),
	}
	if c := f.client(); c != nil {
		d.Findings = append(d.Findings, block("name", "there is a client certificate "+r.Name+" already, and nobody can get its key again", "SHA-1 "+c.ID,
			"take another name; or revoke it: "+command("certs revoke-client", t)+" "+r.Name+", and remove its files: "+removal(r.Dir)))
	}
	if len(f.InTheWay) > 0 {
		text, remedy := "the folder holds files of another client certificate, which are not overwritten", "name another folder with --dir"
		if f.Revoked {
			text, remedy = "the folder holds the files of a client certificate that was revoked, which are not overwritten", "they are worthless: "+removal(r.Dir)+"; or name another folder with --dir"
		}
		d.Findings = append(d.Findings, block("files", text, strings.Join(f.InTheWay, ", "), remedy))
	}
	if len(f.Foreign) > 0 {
		d.Findings = append(d.Findings, block("foreign", "the folder holds files that dbops did not write, and does not overwrite", strings.Join(f.Foreign, "; "), "name another folder with --dir"))
	}
	if f.Closed != "" {
		d.Findings = append(d.Findings, block("folder", "the key cannot be stored there: "+f.Closed, r.Dir, "name a folder that this user, and nobody else, can write to: --dir"))
	}
	if f.Full {
		d.Findings = append(d.Findings, warn("limit", fmt.Sprintf("Google documents %d client certificates of an instance at most, and it has as many", maxClients), "",
			"revoke one that nobody uses: "+command("certs list", t)))
	}
	d.Changes = []op.Change{{Setting: "client_certificates." + r.Name, From: "none", To: "a new one, its key in " + r.Dir + " on " + r.Host}}
	d.Notes = []string{"the entry in " + FileService + " is for the database " + orText(r.Database, AnyDatabase) + "; dbops certs fetch --dir prints the settings for each tool", "Google makes the key and tells it once; only its file has it. It proves a client to the server; the client logs in with its password as before"}
	d.Back = command("certs revoke-client", t) + " " + r.Name
	return d
}

// creation is one run's making of a client certificate.
type creation struct {
	Deps
	t op.Target
	r CreateRequest
	f Facts
}

func (c creation) what() string {
	return fmt.Sprintf("make the client certificate %s for %s", c.r.Name, c.t)
}

// Created is what the step that makes a certificate stores. The key is in its file only.
type Created struct {
	ID      string         `json:"id"`
	Key     string         `json:"key"` // the file
	Until   time.Time      `json:"until,omitzero"`
	Receipt *cloud.Receipt `json:"receipt,omitempty"`
}

// create has the certificate made and stores its key. A certificate whose key was lost, because a process was killed between the answer and
// the disk, or the answer never came, is deleted and made again.
func (c creation) create(ctx context.Context, s *op.Session) (op.Result, error) {
	if c.r.Host != c.Host {
		return op.Result{}, fault.Newf(fault.Invalid, c.what(), "its folder is on %s, and this is %s", c.r.Host, c.Host).
			Hint("on %s: dbops runs resume %s", c.r.Host, s.Run)
	}
	provider, name, err := c.Cloud(ctx, c.t)
	if err != nil {
		return op.Result{}, err
	}
	slot, err := openSlot(c.r.Dir, s.Run)
	if err != nil {
		return op.Result{}, c.onDisk(err)
	}
	defer slot.close()
	m := making{creation: c, s: s, cloud: provider, name: name, slot: slot}
	if err := s.Poll(ctx, c.Pace, c.what(), m.look); err != nil {
		if !m.asked {
			slot.giveBack()
		}
		return op.Result{}, err
	}
	out := Created{ID: m.made.ID, Key: slot.path(FileKey), Until: m.made.Until, Receipt: m.receipt}
	result := op.Result{
		Output: out, Text: fmt.Sprintf("made: %s, its key is in %s", out.ID, out.Key),
		Changes: []op.Change{{Setting: "client_certificates." + c.r.Name, From: "none", To: out.ID}},
	}
	if m.receipt != nil {
		result.RequestID = m.receipt.RequestID
	}
	return result, nil
}

// making is one try of a process to have a certificate and its key.
type making struct {
	creation
	s       *op.Session
	cloud   Cloud
	name    string
	slot    *slot
	asked   bool
	made    cloud.ClientCert
	receipt *cloud.Receipt
}

// skew is how far the clocks here and there may differ.
const skew = 5 * time.Minute

func (m *making) look(ctx context.Context) (done bool, status string, err error) {
	told, err := m.cloud.Certificates(ctx, m.name)
	if err != nil {
		return false, "", err
	}
	switch live := told.Instance; live.State {
	case cloud.Available:
	case cloud.Deleting, cloud.Failed, cloud.Stopped:
		return false, "", fault.Newf(fault.Invalid, m.what(), "it is %s (%s)", live.State, live.RawState).Hint("when it is available again: dbops runs retry %s", m.s.Run)
	default: // what runs may be what an earlier try asked for
		return false, live.RawState, nil
	}
	if listed := told.Client(m.r.Name); listed != nil {
		if m.slot.holdsKeyOf(*listed) {
			m.made = *listed
			return true, "", nil
		}
		return false, "the key of an earlier try is lost: its certificate is deleted", m.drop(ctx, *listed)
	}
	if err := m.slot.setAside(); err != nil {
		return false, "", m.onDisk(err)
	}
	return m.ask(ctx)
}

// drop deletes a certificate that this run had made and has no key of. One that was there before is somebody else's.
func (m *making) drop(ctx context.Context, listed cloud.ClientCert) error {
	if listed.Created.Before(m.slot.since.Add(-skew)) {
		return fault.Newf(fault.Stale, m.what(), "somebody made a client certificate of that name since it was planned").
			Hint("end this run with dbops runs abandon %s, and take another name", m.s.Run)
	}
	return m.delete(ctx, listed.ID)
}

func (m *making) delete(ctx context.Context, id string) error {
	if err := m.s.Fence(); err != nil {
		return err
	}
	r, err := m.cloud.DeleteClient(ctx, m.name, id)
	if err != nil {
		if fault.KindOf(err) == fault.NotFound {
			return nil
		}
		return err
	}
	return m.follow(ctx, m.s, m.cloud, m.what(), r)
}

func (m *making) ask(ctx context.Context) (done bool, status string, err error) {
	if err := m.s.Fence(); err != nil {
		return false, "", err
	}
	m.asked = true
	cert, key, receipt, err := m.cloud.CreateClient(ctx, m.name, m.r.Name)
	switch {
	case errors.Is(err, cloud.ErrExists): // it was not listed yet: the next look decides whose it is
		return false, "a certificate of that name is being made", nil
	case err != nil:
		return false, "", err
	}
	if err := m.slot.keep(key); err != nil {
		return false, "", m.discard(ctx, cert, receipt, err)
	}
	m.made, m.receipt = cert, &receipt
	return true, "", nil
}

// discard deletes the certificate whose key could not be stored.
func (m *making) discard(ctx context.Context, cert cloud.ClientCert, receipt cloud.Receipt, why error) error {
	err := m.follow(ctx, m.s, m.cloud, m.what(), receipt)
	if err == nil {
		err = m.s.Poll(ctx, m.Pace, m.what(), func(ctx context.Context) (bool, string, error) {
			err := m.delete(ctx, cert.ID)
			return err == nil, "deleting the certificate whose key could not be stored", err
		})
	}
	if err != nil {
		return fault.Newf(fault.Failed, m.what(), "its key could not be stored (%w), and the certificate could not be deleted again (%w)", why, err).
			Hint("revoke it when %s answers: %s %s", m.t, command("certs revoke-client", m.t), m.r.Name)
	}
	f := fault.Newf(fault.Failed, m.what(), "its key could not be stored, so the certificate was deleted again: %w", why)
	return f.Hint("%s", m.mend(why))
}

func orText(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func (c creation) wait(ctx context.Context, s *op.Session) (op.Result, error) {
	var out Created
	if ok, err := s.Output(stepCreate, &out); err != nil || !ok || out.Receipt == nil {
		return op.Result{Text: "it is known"}, err
	}
	provider, _, err := c.Cloud(ctx, c.t)
	if err != nil {
		return op.Result{}, err
	}
	return op.Result{Text: "it is known"}, c.follow(ctx, s, provider, c.what(), *out.Receipt)
}

// pair is the certificate, as the provider lists it, with its key, from its file.
func (c creation) pair(ctx context.Context, s *op.Session) (cloud.ClientCert, secret.Value, error) {
	var out Created
	fail := func(err error) (cloud.ClientCert, secret.Value, error) {
		return cloud.ClientCert{}, secret.Value{}, err
	}
	if ok, err := s.Output(stepCreate, &out); err != nil || !ok {
		return fail(errors.Join(err, fault.Newf(fault.Internal, c.what(), "the run does not know the certificate")))
	}
	if c.r.Host != c.Host {
		return fail(fault.Newf(fault.Invalid, c.what(), "its folder is on %s, and this is %s", c.r.Host, c.Host).Hint("on %s: dbops runs resume %s", c.r.Host, s.Run))
	}
	provider, name, err := c.Cloud(ctx, c.t)
	if err != nil {
		return fail(err)
	}
	told, err := provider.Certificates(ctx, name)
	if err != nil {
		return fail(err)
	}
	cert := told.Client(out.ID)
	if cert == nil {
		return fail(fault.Newf(fault.Stale, c.what(), "the certificate is gone: somebody revoked it").Hint("end this run with dbops runs abandon %s, and plan again", s.Run))
	}
	key, err := readKey(c.r.Dir)
	if err != nil {
		return fail(fault.New(fault.Failed, c.what(), err).Hint("without its key the certificate is worthless: dbops runs undo %s revokes it", s.Run))
	}
	return *cert, key, nil
}

func (c creation) files(ctx context.Context, s *op.Session) (op.Result, error) {
	cert, key, err := c.pair(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	if err := writeClient(c.r.Dir, cert, key); err != nil {
		return op.Result{}, c.onDisk(err)
	}
	subject, err := c.Subject(ctx, c.t)
	if err != nil {
		return op.Result{}, err
	}
	seen, _ := Look(ctx, c.what(), subject.Addresses, c.Dial(c.t)) // which name to verify; what cannot be seen now is not needed
	k, err := NewKit(subject, seen, KitOptions{Dir: c.r.Dir, Database: orText(c.r.Database, AnyDatabase), User: c.r.User}, time.Now())
	if err != nil {
		return op.Result{}, err
	}
	if _, err := k.Write(); err != nil {
		return op.Result{}, c.onDisk(err)
	}
	return op.Result{Text: k.Settings("psql")[0].Text}, nil
}

// verify sees that the server goes on with a client that has the certificate.
func (c creation) verify(ctx context.Context, s *op.Session) (op.Result, error) {
	cert, key, err := c.pair(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	pair, err := tls.X509KeyPair([]byte(cert.PEM), []byte(key.Reveal()))
	if err != nil {
		return op.Result{}, fault.Newf(fault.Failed, c.what(), "its key does not belong to it").Hint("dbops runs undo %s revokes it", s.Run)
	}
	subject, err := c.Subject(ctx, c.t)
	if err != nil {
		return op.Result{}, err
	}
	for _, a := range subject.Addresses {
		if a.Connector { // takes connectors' certificates only
			continue
		}
		err := accepts(ctx, a, c.Dial(c.t), pair, orText(c.r.User, "dbops_check"))
		switch {
		case err == nil:
			return op.Result{Text: "the server at " + a.HostPort + " takes it"}, nil
		case errors.Is(err, errRefused):
			return op.Result{}, fault.New(fault.Failed, c.what(), err).Hint("dbops runs retry %s tries again, dbops runs undo %s revokes it", s.Run, s.Run)
		case ctx.Err() != nil:
			return op.Result{}, context.Cause(ctx)
		default:
			return op.Result{Text: "NOT TRIED from here: " + unreached(c.what(), a, err).Error()}, nil
		}
	}
	return op.Result{Text: "NOT TRIED from here: it has no address"}, nil
}
