package upgrade

func child() bool { return false }
