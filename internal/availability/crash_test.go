package availability

const childEnv = "DBOPS_AVAILABILITY_TEST_CHILD"

func child(string) int { return 1 }
