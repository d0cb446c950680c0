package cloud

// LeaseLabel marks an instance that somebody changes with dbops: the run, and when the mark ends. It is about one instance at one time, so
// a restored copy does not get it.
const LeaseLabel = "dbops-lease"
