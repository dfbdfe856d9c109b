package redistest

import "syscall"

// dieWithParent lets the kernel end the server when the test's process is
// killed and cannot clean up. (The signal is bound to the thread that started
// the child; Go ends a thread early only where a goroutine dies locked to it.)
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
