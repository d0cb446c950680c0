package secret

// Stepping is a File that asks step before everything that reaches the disk.
func Stepping(step func(what string) error) File { return File{step: step} }
