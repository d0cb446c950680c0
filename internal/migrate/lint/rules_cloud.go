package lint

import (
	"strings"
)

func cloudRules() []Rule {
	return []Rule{
		{
			ID: "cloud-extension", Severity: Error, Harm: fails, on: []string{"CreateExtensionStmt"}, check: cloudExtension,
			Title: "the extension {name} is not to be had", Why: "a managed server offers the extensions of its own list only", Rewrite: "SELECT name FROM pg_available_extensions; -- what the server has",
		},
		{
			ID: "cloud-superuser", Severity: Error, Harm: fails, on: []string{"AlterSystemStmt", "CopyStmt", "CreateRoleStmt", "AlterRoleStmt", "CreateTableSpaceStmt"}, check: cloudSuperuser,
			Title: "{name} needs a superuser, which RDS and Cloud SQL do not give", Why: "it works on a machine of your own and fails in the cloud",
		},
		{
			ID: "cloud-role", Severity: Warn, Harm: fails, on: []string{"CreateRoleStmt"}, check: cloudRole,
			Title: "a migration makes the role {name}", Why: "roles belong to the instance, not to the database: the second database fails, and the owner of a schema need not have CREATEROLE",
			Rewrite: "-- make roles outside of migrations (dbops creds issue); here only:\nGRANT ... TO {name};",
		},
	}
}

// common are extensions that both RDS and Cloud SQL offer, by their documentation.
var common = strings.Fields(`address_standardizer address_standardizer_data_us bloom btree_gin btree_gist citext cube dblink dict_int dict_xsyn
earthdistance fuzzystrmatch hll hstore intagg intarray ip4r isn lo ltree oracle_fdw orafce pageinspect pg_buffercache pg_cron
pg_freespacemap pg_hint_plan pg_partman pg_prewarm pg_proctab pg_repack pg_similarity pg_stat_statements pg_trgm pg_visibility pgaudit
pgcrypto pglogical pgrouting pgrowlocks pgstattuple pgtap plpgsql plv8 postgis postgis_raster postgis_sfcgal postgis_tiger_geocoder
postgis_topology postgres_fdw prefix rdkit sslinfo tablefunc tds_fdw tsm_system_rows tsm_system_time unaccent uuid-ossp vector`)

// onlyAt are those of one of them.
var onlyAt = map[string][]string{
	"rds": strings.Fields(`apg_plan_mgmt autoinc aws_commons aws_lambda aws_s3 flow_control h3-pg h3 h3_postgis insert_username jsonb_plperl
log_fdw moddatetime mysql_fdw pg_bigm pg_tle pgactive plcoffee plls plperl plprofiler pltcl refint rds_tools seg test_parser wal2json
bool_plperl hstore_plperl hypopg index_advisor pg_transport pg_ivm pgjwt xml2 amcheck`),
	"cloudsql": strings.Fields(`google_ml_integration google_columnar_engine insert_username autoinc moddatetime refint pg_background pg_bigm pg_ivm pg_squeeze
pg_wait_sampling pgfincore plproxy temporal_tables pgtt oracle_fdw decoderbufs pg_similarity amcheck hypopg xml2 seg`),
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func cloudExtension(c *checking) {
	s, ok := c.s.parsed.(*createExtension)
	if !ok || contains(common, s.Name) {
		return
	}
	h := hit{name: s.Name}
	switch p := c.facts.Provider; {
	case c.facts.Extensions != nil:
		if c.facts.Extensions[s.Name] {
			return
		}
		h.why = "the server does not offer it (pg_available_extensions)"
	case p == "postgres":
		return
	case p != "":
		if contains(onlyAt[p], s.Name) {
			return
		}
		h.severity, h.why = Warn, "it is not among those that dbops knows of "+p+"; --connect asks the server"
	default:
		if contains(onlyAt["rds"], s.Name) && contains(onlyAt["cloudsql"], s.Name) {
			return
		}
		h.severity, h.title = Warn, "the extension {name} is not on both RDS and Cloud SQL"
		h.why = "it is not among those that dbops knows of both; -e ENV says which of them counts, --connect asks the server"
	}
	c.hit(h)
}

var superuserOptions = []string{"superuser", "isreplication", "bypassrls"}

func cloudSuperuser(c *checking) {
	if c.facts.Provider == "postgres" {
		return
	}
	switch s := c.s.parsed.(type) {
	case *onRelation:
		switch {
		case s.Program:
			c.hit(hit{name: "COPY ... PROGRAM"})
		case s.File != "":
			c.hit(hit{name: "COPY with a file of the server"})
		}
	case *createRole:
		given := options(s.Options)
		for _, o := range superuserOptions {
			if arg, ok := given[o]; ok && !strings.Contains(string(arg.raw), "{}") {
				c.hit(hit{name: strings.ToUpper(strings.TrimPrefix(o, "is"))})
			}
		}
	default:
		c.hit(hit{name: c.s.Name()})
	}
}

func cloudRole(c *checking) {
	if s, ok := c.s.parsed.(*createRole); ok {
		c.hit(hit{name: s.Role})
	}
}
