package preflight

// serverChecks are asked once, in the first database.
var serverChecks = []check{
	{
		name: "standby", severity: Block,
		what:   "the source is a read replica",
		why:    "its primary goes on writing at cut-over",
		remedy: "name the primary as the source",
	},
	{
		name: "invalid-databases", severity: Block,
		what:   "a database is invalid",
		why:    "nobody can connect to it, and a copy of the server fails on it",
		remedy: "DROP DATABASE {object};",
	},
	{
		name: "closed-databases", severity: Warn,
		what:   "a database allows no connections and would stay behind",
		why:    "it can be neither checked nor copied",
		remedy: "ALTER DATABASE {object} ALLOW_CONNECTIONS true; or leave it behind on purpose",
	},
	{
		name: "prepared-transactions", severity: Block,
		what:   "a prepared transaction is open",
		why:    "no copy holds it, it keeps its locks, and no replication slot can be made before it ends",
		remedy: "ask its owner, then in its database: COMMIT PREPARED {object}; or ROLLBACK PREPARED {object};",
	},
	{
		name: "replication-slots", severity: Warn,
		what:   "a replication slot is not carried over",
		why:    "whoever reads from it sees no change that is made on the target",
		remedy: "list the readers, and give each a slot on the target before writers come back",
	},
	{
		name: "role-settings", severity: Warn, judge: settings,
		what:   "a role or database has a setting that the target does not know",
		why:    "the target refuses it, and sessions run without what it was for",
		remedy: "ALTER {object} RESET {detail}; after looking for its successor in the release notes",
	},
	{
		name: "superuser-settings", severity: Warn,
		what:   "a role or database has a setting that only a superuser may give",
		why:    "the target's administrator may not set it",
		remedy: "set it in the target's parameter group or flags, or GRANT SET ON PARAMETER from 15 on",
	},
	{
		name: "server-settings", severity: Warn, judge: settings,
		what:   "the server's configuration has a setting that the target does not know",
		why:    "a target with the same settings does not start, or is refused by the cloud",
		remedy: "take {detail} out of the target's parameters",
	},
	{
		name: "md5-passwords", severity: Warn, target: since(18),
		what:   "new passwords are kept as MD5",
		why:    "18 warns about such passwords, and a later major takes them away",
		remedy: "set password_encryption to scram-sha-256, then set each password again",
	},
	{
		name: "role-passwords", severity: Warn, judge: passwords,
		what:   "a login role's password cannot be read, so it cannot be carried over",
		why:    "clouds show password verifiers to nobody",
		remedy: "give new passwords on the target before the switch: dbops creds issues and delivers them",
	},
	{
		name: "privileged-roles", severity: Warn,
		what:   "a role has an attribute that an administrator may be unable to give on the target",
		why:    "SUPERUSER, REPLICATION and BYPASSRLS need a superuser, or the cloud's own way",
		remedy: "give {object} the cloud's group instead, or do without",
	},
	{
		name: "long-transactions", severity: Warn, needs: stats,
		what:   "a transaction has been open for more than five minutes",
		why:    "it holds up locks, and the making of a replication slot",
		remedy: "wait for {object}, or end it with pg_terminate_backend",
	},
	{
		name: "ddl-now", severity: Warn, needs: stats,
		what:   "a session changes the schema",
		why:    "a change after the schema was copied is not on the target",
		remedy: "stop migrations until the upgrade is done",
	},
	{
		name: "connections", severity: Warn,
		what:   "there are fewer than ten connections to be had",
		why:    "each stream of the copy takes one, and some watch",
		remedy: "raise the limit, or close idle sessions",
	},
	{
		name: "timeouts", severity: Warn, judge: ownTimeouts,
		what:   "a timeout may end the copy",
		why:    "the session that holds the snapshot is idle for as long as the copy takes",
		remedy: "ALTER ROLE {role} SET {object} = 0; until the upgrade is done",
	},
	{
		name: "wraparound", severity: Warn,
		what:   "a database is half-way to transaction wraparound",
		why:    "a snapshot that is held for hours keeps vacuum from moving it on",
		remedy: "VACUUM (FREEZE) its oldest tables first",
	},
	{
		name: "logical-setup", severity: Block, engine: Logical,
		what:   "the source is not set up for logical replication",
		why:    "the catch-up reads from a slot",
		remedy: "rds: rds.logical_replication = 1 and GRANT rds_replication; cloudsql: cloudsql.logical_decoding = on and ALTER ROLE … REPLICATION; a restart follows",
	},
	{
		name: "advisory-locks", severity: Info,
		what:   "sessions hold advisory locks",
		why:    "they do not exist on the target: while clients move, two can hold the same one",
		remedy: "stop such jobs for the cut-over",
	},
}
