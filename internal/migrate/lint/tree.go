package lint

import (
	"bytes"
	"encoding/json"
)

// These are the parts of PostgreSQL's tree that rules look at, named as libpg_query names them.

// node is one of many: its kind is the only key.
type node struct {
	kind string
	raw  json.RawMessage
}

// UnmarshalJSON reads {"Kind":{...}}, as libpg_query writes it, without spaces.
func (n *node) UnmarshalJSON(b []byte) error {
	if len(b) < 5 || b[0] != '{' {
		return nil
	}
	end := bytes.IndexByte(b[2:], '"')
	if end < 0 {
		return nil
	}
	n.kind = string(b[2 : 2+end])
	n.raw = bytes.Clone(b[2+end+2 : len(b)-1])
	return nil
}

// as reads a node of a kind; nil if it is of another.
func as[T any](n node, kind string) *T {
	if n.kind != kind {
		return nil
	}
	var v T
	if json.Unmarshal(n.raw, &v) != nil {
		return nil
	}
	return &v
}

// text is a String node's.
func (n node) text() string {
	if s := as[struct {
		Sval string `json:"sval"`
	}](n, "String"); s != nil {
		return s.Sval
	}
	return ""
}

func texts(all []node) []string {
	var out []string
	for _, n := range all {
		switch n.kind {
		case "String":
			out = append(out, n.text())
		case "List":
			out = append(out, n.list()...)
		case "TypeName":
			if t := as[typeName](n, "TypeName"); t != nil {
				out = append(out, texts(t.Names)...)
			}
		}
	}
	return out
}

func (n node) list() []string {
	if l := as[struct {
		Items []node `json:"items"`
	}](n, "List"); l != nil {
		return texts(l.Items)
	}
	if s := n.text(); s != "" {
		return []string{s}
	}
	if n.kind == "TypeName" {
		return texts([]node{n})
	}
	return nil
}

type tree struct {
	Stmts []struct {
		Stmt     node `json:"stmt"`
		Location int  `json:"stmt_location"`
		Len      int  `json:"stmt_len"`
	} `json:"stmts"`
}

type rangeVar struct {
	Schema      string `json:"schemaname"`
	Rel         string `json:"relname"`
	Inh         bool   `json:"inh"` // false: ONLY
	Persistence string `json:"relpersistence"`
}

func (r *rangeVar) name() Name {
	if r == nil {
		return Name{}
	}
	return Name{r.Schema, r.Rel}
}

type typeName struct {
	Names   []node `json:"names"`
	Mods    []node `json:"typmods"`
	Bounds  []node `json:"arrayBounds"`
	Setof   bool   `json:"setof"`
	Typemod int    `json:"typemod"`
}

type constraint struct {
	Type     string    `json:"contype"`
	Name     string    `json:"conname"`
	Expr     node      `json:"raw_expr"`
	Keys     []node    `json:"keys"`
	FK       []node    `json:"fk_attrs"`
	PK       []node    `json:"pk_attrs"`
	Table    *rangeVar `json:"pktable"`
	Skip     bool      `json:"skip_validation"`
	Index    string    `json:"indexname"`
	When     string    `json:"generated_when"`
	Location int       `json:"location"`
}

type columnDef struct {
	Name        string    `json:"colname"`
	Type        *typeName `json:"typeName"`
	Constraints []node    `json:"constraints"`
	Using       node      `json:"raw_default"` // of ALTER TYPE
	Collate     *struct {
		Names []node `json:"collname"`
	} `json:"collClause"`
	Location int `json:"location"`
}

// has returns the column's constraint of a type.
func (c *columnDef) has(kind string) *constraint {
	for _, n := range c.Constraints {
		if k := as[constraint](n, "Constraint"); k != nil && k.Type == kind {
			return k
		}
	}
	return nil
}

type alterCmd struct {
	Subtype  string `json:"subtype"`
	Name     string `json:"name"`
	Def      node   `json:"def"`
	Behavior string `json:"behavior"`
}

type alterTable struct {
	Relation *rangeVar `json:"relation"`
	Cmds     []node    `json:"cmds"`
	Object   string    `json:"objtype"`
	cmds     []*alterCmd
}

type partitionCmd struct {
	Name       *rangeVar `json:"name"`
	Concurrent bool      `json:"concurrent"`
}

type createTable struct {
	Relation  *rangeVar       `json:"relation"`
	Elements  []node          `json:"tableElts"`
	Inherits  []node          `json:"inhRelations"`
	Bound     json.RawMessage `json:"partbound"`
	Partition json.RawMessage `json:"partspec"`
	Maybe     bool            `json:"if_not_exists"`
}

type createTableAs struct {
	Into *struct {
		Rel *rangeVar `json:"rel"`
	} `json:"into"`
}

type createIndex struct {
	Name        string    `json:"idxname"`
	Relation    *rangeVar `json:"relation"`
	Unique      bool      `json:"unique"`
	Concurrent  bool      `json:"concurrent"`
	IfNotExists bool      `json:"if_not_exists"`
}

type drop struct {
	Objects    []node `json:"objects"`
	Type       string `json:"removeType"`
	Behavior   string `json:"behavior"`
	Concurrent bool   `json:"concurrent"`
	names      [][]string
}

type rename struct {
	Type     string    `json:"renameType"`
	Of       string    `json:"relationType"`
	Relation *rangeVar `json:"relation"`
	Sub      string    `json:"subname"`
	New      string    `json:"newname"`
}

type alterEnum struct {
	Type []node `json:"typeName"`
	Old  string `json:"oldVal"`
	New  string `json:"newVal"`
}

type createEnum struct {
	Type []node `json:"typeName"`
}

type truncate struct {
	Relations []node `json:"relations"`
	Behavior  string `json:"behavior"`
}

type defElem struct {
	Name string `json:"defname"`
	Arg  node   `json:"arg"`
}

func options(all []node) map[string]node {
	out := map[string]node{}
	for _, n := range all {
		if d := as[defElem](n, "DefElem"); d != nil {
			out[d.Name] = d.Arg
		}
	}
	return out
}

type vacuum struct {
	Options []node `json:"options"`
	Rels    []node `json:"rels"`
	Vacuum  bool   `json:"is_vacuumcmd"`
}

type onRelation struct { // of CLUSTER, REFRESH, CREATE TRIGGER, CREATE RULE, UPDATE, DELETE, INSERT, COPY
	Relation   *rangeVar `json:"relation"`
	Table      *rangeVar `json:"table"` // of policies
	Where      node      `json:"whereClause"`
	Using      []node    `json:"usingClause"`
	Concurrent bool      `json:"concurrent"`
	Name       string    `json:"trigname"`
	Index      string    `json:"indexname"`
	From       bool      `json:"is_from"`
	Program    bool      `json:"is_program"`
	File       string    `json:"filename"`
}

func (o *onRelation) name() Name {
	if o.Relation == nil {
		return o.Table.name()
	}
	return o.Relation.name()
}

type reindex struct {
	Kind     string    `json:"kind"`
	Relation *rangeVar `json:"relation"`
	Name     string    `json:"name"`
	Params   []node    `json:"params"`
}

type lockTable struct {
	Relations []node `json:"relations"`
	Mode      int    `json:"mode"`
}

type alterDomain struct {
	Subtype string `json:"subtype"`
	Type    []node `json:"typeName"`
	Def     node   `json:"def"`
}

type transaction struct {
	Kind string `json:"kind"`
}

type setVariable struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Args  []node `json:"args"`
	Local bool   `json:"is_local"`
}

type selectStmt struct {
	Targets []node `json:"targetList"`
}

type createExtension struct {
	Name string `json:"extname"`
}

type createRole struct {
	Role    string `json:"role"`
	Options []node `json:"options"`
}

type comment struct {
	Object string `json:"objtype"`
	Target node   `json:"object"`
}

type createStats struct {
	Relations []node `json:"relations"`
}

type publication struct {
	Objects []node `json:"pubobjects"`
}

type funcCall struct {
	Name []node `json:"funcname"`
	Args []node `json:"args"`
}

type constant struct {
	Sval *struct {
		Sval string `json:"sval"`
	} `json:"sval"`
	Ival *struct {
		Ival int `json:"ival"`
	} `json:"ival"`
	Boolval *struct {
		Boolval bool `json:"boolval"`
	} `json:"boolval"`
}

func relations(all []node) []Name {
	var out []Name
	for _, n := range all {
		if r := as[rangeVar](n, "RangeVar"); r != nil {
			out = append(out, r.name())
		}
	}
	return out
}

// decode reads the statements that some rule or lock is about; nil for others.
func decode(n node) any {
	read, ok := decoders[n.kind]
	if !ok {
		return nil
	}
	v := read()
	if json.Unmarshal(n.raw, v) != nil {
		return nil
	}
	switch v := v.(type) {
	case *alterTable:
		for _, c := range v.Cmds {
			if cmd := as[alterCmd](c, "AlterTableCmd"); cmd != nil {
				v.cmds = append(v.cmds, cmd)
			}
		}
		v.Cmds = nil
	case *drop:
		for _, o := range v.Objects {
			v.names = append(v.names, o.list())
		}
	}
	return v
}

func of[T any]() any { return new(T) }

var decoders = map[string]func() any{
	"AlterTableStmt": of[alterTable], "CreateStmt": of[createTable], "CreateTableAsStmt": of[createTableAs], "IndexStmt": of[createIndex],
	"DropStmt": of[drop], "RenameStmt": of[rename], "AlterEnumStmt": of[alterEnum], "CreateEnumStmt": of[createEnum],
	"TruncateStmt": of[truncate], "VacuumStmt": of[vacuum], "ClusterStmt": of[onRelation], "RefreshMatViewStmt": of[onRelation],
	"CreateTrigStmt": of[onRelation], "RuleStmt": of[onRelation], "CreatePolicyStmt": of[onRelation], "AlterPolicyStmt": of[onRelation],
	"UpdateStmt": of[onRelation], "DeleteStmt": of[onRelation], "InsertStmt": of[onRelation], "CopyStmt": of[onRelation],
	"ReindexStmt": of[reindex], "LockStmt": of[lockTable], "AlterDomainStmt": of[alterDomain], "TransactionStmt": of[transaction],
	"VariableSetStmt": of[setVariable], "SelectStmt": of[selectStmt], "CreateExtensionStmt": of[createExtension], "CreateRoleStmt": of[createRole],
	"CommentStmt": of[comment], "CreateStatsStmt": of[createStats], "CreatePublicationStmt": of[publication], "AlterPublicationStmt": of[publication],
	"DoStmt": of[struct{}], "AlterSystemStmt": of[struct{}], "CreateTableSpaceStmt": of[struct{}],
}
