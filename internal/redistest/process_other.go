//go:build !linux

package redistest

import "syscall"

// dieWithParent does nothing here: only Linux can bind a child's life to its
// parent's.
func dieWithParent() *syscall.SysProcAttr { return nil }
