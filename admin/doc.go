// Package admin is what operators see of a pod over HTTP: /healthz (the
// process is alive), /readyz (it can do its job, and if not, why), /metrics
// (Prometheus), and pprof where it is switched on.
package admin
