package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/state/audit"
)

func newAuditCmd(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Read, verify and prove what was changed",
		Long: `Every change is written down before it is made, and again with its result: who, what, from, to. The log is a signed Merkle tree: an entry that
was edited, dropped, inserted or reordered is found, and so is a log that was cut or rolled back. docs/audit.md says what cannot be found.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAuditListCmd(c), newAuditVerifyCmd(c), newAuditProveCmd(c), newAuditExportCmd(c), newAuditAnchorCmd(c), newAuditKeyCmd(c))
	return cmd
}

// auditLog opens the log for reading, whatever was done to it. The caller closes it.
func (c *cli) auditLog(ctx context.Context) (*state.Store, error) {
	a, err := c.app()
	if err != nil {
		return nil, err
	}
	s, err := a.ReadStore(ctx)
	return s, closing(a, err)
}

// store opens the state. The caller closes the app.
func (c *cli) store(ctx context.Context) (*app.App, *state.Store, error) {
	a, err := c.app()
	if err != nil {
		return nil, nil, err
	}
	s, err := a.Store(ctx)
	if err != nil {
		_ = a.Close()
		return nil, nil, err
	}
	return a, s, nil
}

type auditListOptions struct {
	run, target, actor string
	since              time.Duration
	limit              int
}

func newAuditListCmd(c *cli) *cobra.Command {
	o := &auditListOptions{}
	cmd := &cobra.Command{
		Use: "list", Short: "List what was changed, oldest first", Args: cobra.NoArgs,
		Example: "  dbops audit list --target prod/main\n  dbops audit list --run r1a2b3c4d5 -o json\n  dbops audit list --since 24h",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runAuditList(cmd.Context(), c, o) },
	}
	fs := cmd.Flags()
	fs.StringVar(&o.run, "run", "", "only of this run")
	fs.StringVar(&o.target, "target", "", "only of this instance, as in prod/main")
	fs.StringVar(&o.actor, "actor", "", "only by this person or robot")
	fs.DurationVar(&o.since, "since", 0, "only of the last so long, as in 24h")
	fs.IntVar(&o.limit, "limit", 100, "the latest so many")
	return cmd
}

// entryJSON is dbops/audit-entry/v1.
type entryJSON struct {
	Schema string `json:"schema"`
	audit.Entry
}

func runAuditList(ctx context.Context, c *cli, o *auditListOptions) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	f := audit.Filter{Run: o.run, Target: o.target, Actor: o.actor, Limit: o.limit}
	if o.since > 0 {
		f.Since = time.Now().Add(-o.since)
	}
	all, err := a.AuditEntries(ctx, f)
	if err != nil {
		return err
	}
	if c.json() { // a stream
		for _, e := range all {
			if err := printJSON(c.out, entryJSON{"dbops/audit-entry/v1", e}); err != nil {
				return err
			}
		}
		return nil
	}
	rows := make([][]string, len(all))
	for i, e := range all {
		what := e.Text
		for _, ch := range e.Changes {
			what = strings.TrimSpace(what + fmt.Sprintf(" [%s: %s -> %s]", ch.Setting, orText(ch.From, "-"), orText(ch.To, "-")))
		}
		rows[i] = []string{
			fmt.Sprint(e.Seq), stamp(e.At), e.Actor, e.Target, orText(e.Run, "-"),
			strings.TrimSpace(string(e.Phase) + " " + e.Step), orText(e.Outcome, "-"), oneBlock(what),
		}
	}
	return printTable(c.out, []string{"SEQ", "AT", "WHO", "INSTANCE", "RUN", "PHASE", "OUTCOME", "WHAT"}, rows)
}

func newAuditVerifyCmd(c *cli) *cobra.Command {
	since, anchor, proof, keys := int64(0), "", "", ""
	cmd := &cobra.Command{
		Use: "verify", Short: "Find manipulation of the log", Args: cobra.NoArgs,
		Long: `Compute the whole tree anew from the entries, and compare it with what was signed, and with what this machine has seen before. --anchor compares
it with a checkpoint that was kept elsewhere, too. --proof verifies a bundle of dbops audit prove, without the store.

Exit status: 0 the log is what was signed; 1 it could not be read; 5 it is not.`,
		Example: `  dbops audit verify
  dbops audit verify --anchor checkpoint.txt
  dbops audit verify --proof ticket-4711.json --keys keys.txt`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if proof != "" {
				return c.verifyProof(proof, keys)
			}
			return runAuditVerify(cmd.Context(), c, since, anchor)
		},
	}
	cmd.Flags().Int64Var(&since, "since", 0, "read the entries from this number on only; what is before is taken from its hashes")
	cmd.Flags().StringVar(&anchor, "anchor", "", "a file with a checkpoint that dbops audit anchor wrote; - is standard input")
	cmd.Flags().StringVar(&proof, "proof", "", "verify a bundle of dbops audit prove instead")
	cmd.Flags().StringVar(&keys, "keys", "", "with --proof: a file of verifier keys that may sign, one a line (default: audit.keys of dbops.yaml)")
	return cmd
}

func runAuditVerify(ctx context.Context, c *cli, since int64, anchor string) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	start := time.Now()
	r, err := a.VerifyAudit(ctx, since)
	if err != nil {
		return err
	}
	if c.json() {
		err = printJSON(c.out, struct {
			Schema string `json:"schema"`
			audit.Report
		}{"dbops/audit-verify/v1", r})
	} else {
		err = c.printVerify(r, time.Since(start))
	}
	if err != nil {
		return err
	}
	if err := r.Err(); err != nil || anchor == "" {
		return err
	}
	text, err := c.readText(anchor)
	if err != nil {
		return err
	}
	s, err := a.ReadStore(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	kept, err := s.Log.CheckAnchor(ctx, text)
	if err == nil && !c.json() {
		_, err = fmt.Fprintf(c.out, "it extends the anchored checkpoint of %d entries\n", kept.Size)
	}
	return err
}

func (c *cli) printVerify(r audit.Report, took time.Duration) error {
	for _, p := range r.Problems {
		where := "the log"
		if p.Seq >= 0 {
			where = fmt.Sprintf("entry %d", p.Seq)
		}
		fmt.Fprintf(c.out, "x %s: %s\n", where, oneBlock(p.Text))
	}
	for _, e := range r.OpenIntents {
		fmt.Fprintf(c.out, "! entry %d: %s %s of run %s began at %s, and has no result\n", e.Seq, e.Target, e.Step, e.Run, stamp(e.At))
	}
	if !r.OK() {
		return nil // the error says it
	}
	_, err := fmt.Fprintf(c.out, "%d entries are what was signed by %s (%s)\nroot %s\n", r.Size, orText(strings.Join(r.Signers, ", "), "nobody yet"), took.Round(time.Millisecond), r.Root)
	return err
}

func (c *cli) verifyProof(path, keysFile string) error {
	var keys []string
	if keysFile != "" {
		text, err := c.readText(keysFile)
		if err != nil {
			return err
		}
		keys = strings.Fields(text)
	} else {
		cfg, err := c.load()
		if err != nil {
			return err
		}
		keys = cfg.Audit.Keys
	}
	text, err := c.readText(path)
	if err != nil {
		return err
	}
	e, err := audit.VerifyProof([]byte(text), keys)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(c.out, struct {
			Schema string `json:"schema"`
			audit.Evidence
		}{"dbops/audit-evidence/v1", e})
	}
	_, err = fmt.Fprintf(c.out, "%d entries are in the log %s, of %d entries, signed by %s\n", len(e.Entries), e.Origin, e.Size, strings.Join(e.Signers, ", "))
	return err
}

// maxText bounds what is read of a file that somebody names.
const maxText = 64 << 20

func (c *cli) readText(path string) (string, error) {
	in := c.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", fault.New(fault.Usage, "read "+path, err)
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxText))
	if err != nil {
		return "", fault.New(fault.Usage, "read "+path, err)
	}
	return string(b), nil
}

func newAuditProveCmd(c *cli) *cobra.Command {
	run, target, out := "", "", ""
	cmd := &cobra.Command{
		Use: "prove --run RUN", Short: "Prove entries to somebody without access to the store", Args: cobra.NoArgs,
		Long:    "Write the entries of a run with their inclusion proofs and the signed checkpoint: dbops audit verify --proof checks it anywhere.",
		Example: "  dbops audit prove --run r1a2b3c4d5 --out ticket-4711.json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runAuditProve(cmd.Context(), c, run, target, out) },
	}
	cmd.Flags().StringVar(&run, "run", "", "the run")
	cmd.Flags().StringVar(&target, "target", "", "or an instance, as in prod/main")
	cmd.Flags().StringVar(&out, "out", "", "the file to write (default: standard output)")
	return cmd
}

func runAuditProve(ctx context.Context, c *cli, run, target, out string) error {
	if run == "" && target == "" {
		return fault.Newf(fault.Usage, "read the flags", "which entries to prove is not said").Hint("give --run RUN or --target ENV/INSTANCE")
	}
	s, err := c.auditLog(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	p, err := s.Log.Prove(ctx, s.DB.Read(), audit.Filter{Run: run, Target: target})
	if err != nil {
		return err
	}
	if out == "" {
		return printJSON(c.out, p)
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err == nil {
		err = renameio.WriteFile(out, append(b, '\n'), 0o644)
	}
	if err != nil {
		return fault.New(fault.Usage, "write "+out, err)
	}
	_, err = fmt.Fprintf(c.err, "%d entries are proven in %s: dbops audit verify --proof %s\n", len(p.Entries), out, out)
	return err
}

func newAuditExportCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "export", Short: "Write the whole log as JSON Lines, with its signed checkpoint at the end", Args: cobra.NoArgs,
		Example: "  dbops audit export >audit.jsonl",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runAuditExport(cmd.Context(), c) },
	}
}

func runAuditExport(ctx context.Context, c *cli) error {
	s, err := c.auditLog(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.Log.Export(ctx, c.out)
	return err
}

func newAuditAnchorCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "anchor", Short: "Write the signed checkpoint, to be kept where nobody can change it", Args: cobra.NoArgs,
		Long:    "Write the log's signed checkpoint. Kept elsewhere (S3 Object Lock, a git repository, a CI log), it finds a history that was rewritten: dbops audit verify --anchor FILE.",
		Example: "  dbops audit anchor >checkpoint.txt",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runAuditAnchor(cmd.Context(), c) },
	}
}

func runAuditAnchor(ctx context.Context, c *cli) error {
	s, err := c.auditLog(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	p, err := s.Log.Anchor(ctx)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(c.out, struct {
			Schema     string `json:"schema"`
			Origin     string `json:"origin"`
			Size       int64  `json:"size"`
			Root       string `json:"root"`
			Checkpoint string `json:"checkpoint"`
		}{"dbops/audit-anchor/v1", p.Origin, p.Size, p.Root.String(), p.Text})
	}
	_, err = io.WriteString(c.out, p.Text)
	return err
}

func newAuditKeyCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "key", Short: "Print this user's verifier key, for audit.keys of dbops.yaml", Args: cobra.NoArgs,
		Example: "  dbops audit key",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runAuditKey(cmd.Context(), c) },
	}
}

func runAuditKey(ctx context.Context, c *cli) error {
	a, s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	if c.json() {
		return printJSON(c.out, struct {
			Schema string `json:"schema"`
			Key    string `json:"key"`
		}{"dbops/audit-key/v1", s.Log.VerifierKey()})
	}
	_, err = fmt.Fprintln(c.out, s.Log.VerifierKey())
	return err
}
