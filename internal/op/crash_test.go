package op

func child() bool { return false }
