//go:build !unix

package secret

import "io/fs"

// openTo says nothing: there are no modes to go by.
func openTo(fs.FileInfo) string { return "" }
