package googleid

// role lists what a predefined role may do, as far as a played service asks for it. It is nil for a role that the sandbox does
// not know.
func role(name string) []string {
	switch name {
	case "roles/owner":
		return []string{"*"}
	case "roles/cloudsql.admin":
		return []string{"cloudsql.*"}
	case "roles/cloudsql.client":
		return []string{"cloudsql.instances.connect", "cloudsql.instances.get"}
	case "roles/cloudsql.instanceUser":
		return []string{"cloudsql.instances.get", "cloudsql.instances.login"}
	case "roles/cloudsql.viewer":
		return []string{
			"cloudsql.instances.get", "cloudsql.instances.list", "cloudsql.instances.listServerCas",
			"cloudsql.backupRuns.get", "cloudsql.backupRuns.list", "cloudsql.databases.get", "cloudsql.databases.list",
			"cloudsql.sslCerts.get", "cloudsql.sslCerts.list", "cloudsql.users.get", "cloudsql.users.list",
		}
	case "roles/cloudsql.editor":
		return append(role("roles/cloudsql.viewer"),
			"cloudsql.instances.connect", "cloudsql.instances.update", "cloudsql.instances.restart",
			"cloudsql.instances.failover", "cloudsql.instances.addServerCa", "cloudsql.instances.rotateServerCa",
			"cloudsql.backupRuns.create", "cloudsql.databases.create", "cloudsql.databases.update")
	case "roles/monitoring.viewer":
		return []string{"monitoring.timeSeries.list"}
	case "roles/run.viewer":
		return []string{"run.operations.get", "run.revisions.get", "run.revisions.list", "run.services.get", "run.services.list"}
	case "roles/run.developer":
		return append(role("roles/run.viewer"), "run.services.create", "run.services.delete", "run.services.update")
	case "roles/iam.serviceAccountUser":
		return []string{"iam.serviceAccounts.actAs"}
	case "roles/secretmanager.admin":
		return []string{"secretmanager.*"}
	case "roles/secretmanager.secretAccessor":
		return []string{"secretmanager.versions.access"}
	case "roles/secretmanager.secretVersionAdder":
		return []string{"secretmanager.versions.add"}
	case "roles/secretmanager.secretVersionManager":
		return []string{
			"secretmanager.versions.add", "secretmanager.versions.destroy", "secretmanager.versions.disable",
			"secretmanager.versions.enable", "secretmanager.versions.get", "secretmanager.versions.list",
		}
	case "roles/secretmanager.viewer":
		return []string{
			"secretmanager.secrets.get", "secretmanager.secrets.list",
			"secretmanager.versions.get", "secretmanager.versions.list",
		}
	}
	return nil
}
