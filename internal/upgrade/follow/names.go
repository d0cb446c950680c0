package follow

// Names are what the replication of a database in a run is called, forth and back: its publications, slots, subscriptions, and the logins and
// applications of the sessions that serve it.
func Names(run, database string) []string {
	j := Job{Name: run, From: Address{Database: database}, Back: Address{Database: database}}
	return []string{j.called(""), j.called("_back")}
}
