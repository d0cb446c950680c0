package gcpapi

import "net/http"

// table lists every method that is played.
func (*Server) table() []route {
	const (
		get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete

		instances = "projects/{project}/instances"
		instance  = instances + "/{instance}"
	)
	perm := func(s string) string { return "cloudsql." + s }
	pages := []string{"maxResults", "pageToken"}
	return []route{
		{get, instances, "instances.list", perm("instances.list"), []string{"maxResults", "pageToken", "filter"}, (*Server).listInstances},
		{post, instances, "instances.insert", perm("instances.create"), nil, (*Server).insertInstance},
		{get, instance, "instances.get", perm("instances.get"), nil, (*Server).getInstance},
		{patch, instance, "instances.patch", perm("instances.update"), nil, (*Server).patchInstance},
		{put, instance, "instances.update", perm("instances.update"), nil, (*Server).updateInstance},
		{del, instance, "instances.delete", perm("instances.delete"), nil, (*Server).deleteInstance},
		{post, instance + "/clone", "instances.clone", perm("instances.clone"), nil, (*Server).cloneInstance},
		{post, instance + "/restart", "instances.restart", perm("instances.restart"), nil, (*Server).restartInstance},
		{post, instance + "/failover", "instances.failover", perm("instances.failover"), nil, (*Server).failoverInstance},
		{
			post, instance + "/preCheckMajorVersionUpgrade", "instances.preCheckMajorVersionUpgrade", perm("instances.preCheckMajorVersionUpgrade"), nil,
			(*Server).preCheckUpgrade,
		},
		{post, instance + "/restoreBackup", "instances.restoreBackup", perm("instances.restoreBackup"), nil, (*Server).restoreBackup},
		{get, instance + "/getLatestRecoveryTime", "instances.getLatestRecoveryTime", perm("instances.get"), nil, (*Server).latestRecoveryTime},

		{get, instance + "/listServerCas", "instances.listServerCas", perm("instances.listServerCas"), nil, (*Server).listServerCas},
		{post, instance + "/addServerCa", "instances.addServerCa", perm("instances.addServerCa"), nil, (*Server).addServerCa},
		{post, instance + "/rotateServerCa", "instances.rotateServerCa", perm("instances.rotateServerCa"), nil, (*Server).rotateServerCa},

		{get, instance + "/connectSettings", "connectSettings", perm("instances.get"), nil, (*Server).connectSettings},
		{post, instance + ":generateEphemeralCert", "generateEphemeralCert", perm("instances.connect"), nil, (*Server).generateEphemeralCert},

		{get, instance + "/users", "users.list", perm("users.list"), nil, (*Server).listUsers},
		{post, instance + "/users", "users.insert", perm("users.create"), nil, (*Server).insertUser},
		{
			put, instance + "/users", "users.update", perm("users.update"),
			[]string{"name", "host", "databaseRoles", "revokeExistingRoles"},
			(*Server).updateUser,
		},
		{del, instance + "/users", "users.delete", perm("users.delete"), []string{"name", "host"}, (*Server).deleteUser},
		{get, instance + "/users/{name}", "users.get", perm("users.get"), []string{"host"}, (*Server).getUser},

		{get, instance + "/databases", "databases.list", perm("databases.list"), nil, (*Server).listDatabases},
		{post, instance + "/databases", "databases.insert", perm("databases.create"), nil, (*Server).insertDatabase},
		{get, instance + "/databases/{database}", "databases.get", perm("databases.get"), nil, (*Server).getDatabase},
		{del, instance + "/databases/{database}", "databases.delete", perm("databases.delete"), nil, (*Server).deleteDatabase},

		{get, instance + "/sslCerts", "sslCerts.list", perm("sslCerts.list"), nil, (*Server).listSSLCerts},
		{post, instance + "/sslCerts", "sslCerts.insert", perm("sslCerts.create"), nil, (*Server).insertSSLCert},
		{get, instance + "/sslCerts/{sha1}", "sslCerts.get", perm("sslCerts.get"), nil, (*Server).getSSLCert},
		{del, instance + "/sslCerts/{sha1}", "sslCerts.delete", perm("sslCerts.delete"), nil, (*Server).deleteSSLCert},

		{get, instance + "/backupRuns", "backupRuns.list", perm("backupRuns.list"), pages, (*Server).listBackupRuns},
		{post, instance + "/backupRuns", "backupRuns.insert", perm("backupRuns.create"), nil, (*Server).insertBackupRun},
		{get, instance + "/backupRuns/{id}", "backupRuns.get", perm("backupRuns.get"), nil, (*Server).getBackupRun},
		{del, instance + "/backupRuns/{id}", "backupRuns.delete", perm("backupRuns.delete"), nil, (*Server).deleteBackupRun},

		{
			get, "projects/{project}/operations", "operations.list", perm("instances.get"),
			[]string{"instance", "maxResults", "pageToken"},
			(*Server).listOperations,
		},
		{get, "projects/{project}/operations/{operation}", "operations.get", perm("instances.get"), nil, (*Server).getOperation},

		{get, "flags", "flags.list", "", []string{"databaseVersion"}, (*Server).listFlags},
		{get, "projects/{project}/tiers", "tiers.list", "", nil, (*Server).listTiers},
	}
}
