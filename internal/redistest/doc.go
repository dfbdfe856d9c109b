// Package redistest runs a real redis-server for tests, and a TCP proxy that
// puts faults between it and its clients.
//
// A Server listens on 127.0.0.1 on a free port, keeps nothing on disk, and is
// gone when its test ends, or when the test's process does. It can be killed,
// restarted empty on the same port, and stopped in time (SIGSTOP):
//
//	s := redistest.Start(t)
//	client := s.Client()
//	s.Kill()
//	s.Restart()
//
// A Proxy stands before any address and cuts or stalls what passes:
//
//	p := redistest.NewProxy(t, s.Addr())
//	p.CutAfter(17) // in the middle of a reply
package redistest
