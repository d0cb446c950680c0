package lint

// claim is a lock that a statement takes.
type claim struct {
	name Name
	lock string
}

// shareUpdate are the commands of ALTER TABLE with which reads and writes go on.
var shareUpdate = map[string]bool{
	"AT_SetStatistics": true, "AT_SetOptions": true, "AT_ResetOptions": true, "AT_SetRelOptions": true, "AT_ResetRelOptions": true,
	"AT_ClusterOn": true, "AT_DropCluster": true, "AT_ValidateConstraint": true, "AT_AttachPartition": true, "AT_DetachPartitionFinalize": true,
}

// triggerStates switch triggers on and off.
var triggerStates = map[string]bool{
	"AT_EnableTrig": true, "AT_EnableAlwaysTrig": true, "AT_EnableReplicaTrig": true, "AT_DisableTrig": true, "AT_EnableTrigAll": true,
	"AT_DisableTrigAll": true, "AT_EnableTrigUser": true, "AT_DisableTrigUser": true,
}

// claims are the locks that a statement takes on tables and indexes.
func (w *world) claims(s any, kind string) []claim {
	switch s := s.(type) {
	case *alterTable:
		return w.alterClaims(s)
	case *createTable:
		return createClaims(s)
	case *createIndex:
		if s.Concurrent {
			return []claim{{s.Relation.name(), shareUpdateExclusive}}
		}
		return []claim{{s.Relation.name(), share}}
	case *drop:
		return w.dropClaims(s)
	case *rename:
		return w.renameClaims(s)
	case *truncate:
		return each(relations(s.Relations), accessExclusive)
	case *vacuum:
		return vacuumClaims(s)
	case *reindex:
		return w.reindexClaims(s)
	case *lockTable:
		if s.Mode > 0 && s.Mode < len(lockOrder) {
			return each(relations(s.Relations), lockOrder[s.Mode])
		}
	case *comment:
		switch s.Object {
		case "OBJECT_TABLE":
			return []claim{{nameOf(s.Target.list()), shareUpdateExclusive}}
		case "OBJECT_COLUMN":
			if l := s.Target.list(); len(l) > 1 {
				return []claim{{nameOf(l[:len(l)-1]), shareUpdateExclusive}}
			}
		}
	case *createStats:
		return each(relations(s.Relations), shareUpdateExclusive)
	case *publication:
		return each(s.tables(), shareUpdateExclusive)
	case *onRelation:
		return onClaims(s, kind)
	}
	return nil
}

func each(names []Name, lock string) []claim {
	var out []claim
	for _, n := range names {
		out = append(out, claim{n, lock})
	}
	return out
}

func (p *publication) tables() []Name {
	var out []Name
	for _, o := range p.Objects {
		if spec := as[struct {
			Table struct {
				Relation *rangeVar `json:"relation"`
			} `json:"pubtable"`
		}](o, "PublicationObjSpec"); spec != nil && spec.Table.Relation != nil {
			out = append(out, spec.Table.Relation.name())
		}
	}
	return out
}

func onClaims(s *onRelation, kind string) []claim {
	n := s.name()
	if n.Rel == "" {
		return nil
	}
	switch kind {
	case "ClusterStmt", "RuleStmt", "CreatePolicyStmt", "AlterPolicyStmt":
		return []claim{{n, accessExclusive}}
	case "RefreshMatViewStmt":
		if s.Concurrent {
			return []claim{{n, exclusive}}
		}
		return []claim{{n, accessExclusive}}
	case "CreateTrigStmt":
		return []claim{{n, shareRowExclusive}}
	case "UpdateStmt", "DeleteStmt", "InsertStmt":
		return []claim{{n, rowExclusive}}
	case "CopyStmt":
		if s.From {
			return []claim{{n, rowExclusive}}
		}
		return []claim{{n, accessShare}}
	}
	return nil
}

func (w *world) alterClaims(s *alterTable) []claim {
	t := s.Relation.name()
	strongest := ""
	var out []claim
	take := func(lock string) {
		if stronger(lock, strongest) {
			strongest = lock
		}
	}
	for _, c := range s.cmds {
		switch {
		case c.Subtype == "AT_AttachPartition" && s.Object == "OBJECT_INDEX":
			take(accessExclusive)
		case shareUpdate[c.Subtype]:
			take(shareUpdateExclusive)
		case triggerStates[c.Subtype]:
			take(shareRowExclusive)
		case c.Subtype == "AT_DetachPartition":
			p := as[partitionCmd](c.Def, "PartitionCmd")
			if p != nil && p.Concurrent {
				take(shareUpdateExclusive)
			} else {
				take(accessExclusive)
			}
		case c.Subtype == "AT_AddConstraint":
			k := as[constraint](c.Def, "Constraint")
			if k != nil && k.Type == "CONSTR_FOREIGN" {
				take(shareRowExclusive)
				out = append(out, claim{k.Table.name(), shareRowExclusive})
			} else {
				take(accessExclusive)
			}
		default:
			take(accessExclusive)
		}
		out = append(out, w.otherClaims(t, c)...)
	}
	return append([]claim{{t, strongest}}, out...)
}

// otherClaims are those of a command on tables besides its own.
func (w *world) otherClaims(t Name, c *alterCmd) []claim {
	switch c.Subtype {
	case "AT_AddColumn":
		if d := as[columnDef](c.Def, "ColumnDef"); d != nil {
			if fk := d.has("CONSTR_FOREIGN"); fk != nil {
				return []claim{{fk.Table.name(), shareRowExclusive}}
			}
		}
	case "AT_DropConstraint":
		if k, ok := w.constraint(t, c.Name); ok && k.Kind == "f" {
			return []claim{{k.Other, accessExclusive}}
		}
	case "AT_AttachPartition":
		if p := as[partitionCmd](c.Def, "PartitionCmd"); p != nil {
			return []claim{{p.Name.name(), accessExclusive}}
		}
	case "AT_DetachPartition":
		if p := as[partitionCmd](c.Def, "PartitionCmd"); p != nil && !p.Concurrent {
			return []claim{{p.Name.name(), accessExclusive}}
		}
	case "AT_AddInherit":
		if r := as[rangeVar](c.Def, "RangeVar"); r != nil {
			return []claim{{r.name(), shareUpdateExclusive}}
		}
	}
	return nil
}

func createClaims(s *createTable) []claim {
	lock := shareUpdateExclusive // of INHERITS
	if len(s.Bound) > 0 {
		lock = accessExclusive
	}
	out := each(relations(s.Inherits), lock)
	for _, k := range s.foreignKeys() {
		if k.Table.name().key() != s.Relation.name().key() {
			out = append(out, claim{k.Table.name(), shareRowExclusive})
		}
	}
	return out
}

func (s *createTable) columns() []*columnDef {
	var out []*columnDef
	for _, e := range s.Elements {
		if d := as[columnDef](e, "ColumnDef"); d != nil {
			out = append(out, d)
		}
	}
	return out
}

func (s *createTable) foreignKeys() []*constraint {
	var out []*constraint
	for _, d := range s.columns() {
		if k := d.has("CONSTR_FOREIGN"); k != nil {
			out = append(out, k)
		}
	}
	for _, e := range s.Elements {
		if k := as[constraint](e, "Constraint"); k != nil && k.Type == "CONSTR_FOREIGN" {
			out = append(out, k)
		}
	}
	return out
}

func (w *world) dropClaims(s *drop) []claim {
	var out []claim
	for _, parts := range s.names {
		n := nameOf(parts)
		switch s.Type {
		case "OBJECT_TABLE", "OBJECT_MATVIEW", "OBJECT_VIEW", "OBJECT_FOREIGN_TABLE":
			out = append(out, claim{n, accessExclusive})
			for _, other := range w.referenced(n) {
				out = append(out, claim{other, accessExclusive})
			}
		case "OBJECT_INDEX":
			lock := accessExclusive
			if s.Concurrent {
				lock = shareUpdateExclusive
			}
			if t, ok := w.tableOf(n); ok {
				out = append(out, claim{t, lock})
			}
			out = append(out, claim{n, lock})
		case "OBJECT_TRIGGER", "OBJECT_POLICY", "OBJECT_RULE":
			if len(parts) > 1 {
				out = append(out, claim{nameOf(parts[:len(parts)-1]), accessExclusive})
			}
		}
	}
	return out
}

func (w *world) renameClaims(s *rename) []claim {
	n := s.Relation.name()
	if n.Rel == "" {
		return nil
	}
	if s.Type == "OBJECT_INDEX" {
		return []claim{{n, shareUpdateExclusive}}
	}
	return []claim{{n, accessExclusive}}
}

func vacuumClaims(s *vacuum) []claim {
	lock := shareUpdateExclusive
	if _, full := options(s.Options)["full"]; full {
		lock = accessExclusive
	}
	var out []claim
	for _, n := range s.Rels {
		if r := as[struct {
			Relation *rangeVar `json:"relation"`
		}](n, "VacuumRelation"); r != nil && r.Relation != nil {
			out = append(out, claim{r.Relation.name(), lock})
		}
	}
	return out
}

func (s *reindex) concurrent() bool {
	_, ok := options(s.Params)["concurrently"]
	return ok
}

func (w *world) reindexClaims(s *reindex) []claim {
	n := s.Relation.name()
	if n.Rel == "" {
		return nil
	}
	table, index := share, accessExclusive
	if s.concurrent() {
		table, index = shareUpdateExclusive, shareUpdateExclusive
	}
	if s.Kind == "REINDEX_OBJECT_TABLE" {
		return []claim{{n, table}}
	}
	out := []claim{{n, index}}
	if t, ok := w.tableOf(n); ok {
		out = append(out, claim{t, table})
	}
	return out
}
