// Package admin is what operators see of a pod over HTTP: /healthz (the
// process is alive), /readyz (it can do its job, and if not, why), /metrics
// (Prometheus), the console, a demo, and pprof where it is switched on.
//
// routes.go lists all that is answered, and who may ask for it; gate.go holds
// that. Health, readiness, metrics, and the scripts and styles of the pages are anyone's. The rest needs the token where
// there is one, as Authorization: Bearer or by the form that comes with 401, which
// gives a session (session.go). Where there is none, or the listener is on
// loopback, the Host of a request must be an address, localhost or the host that
// was configured: under a name of a stranger's, his pages would be of the same
// origin as ours. What acts is POST, and not for pages of other sites.
//
// The console (console.go, feed.go, act.go) reads counters and Redis, and acts by Redis
// alone. Its pages are in console/, served as they stand (assets.go).
package admin
