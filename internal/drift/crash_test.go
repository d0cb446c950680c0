package drift

func child() bool { return false }
