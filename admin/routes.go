package admin

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"os"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// access says who may ask for what.
type access uint8

const (
	reading  access = iota // GET, for whoever has the token, where one is asked for
	acting                 // POST, likewise, and from no page of another site
	entering               // POST, for whoever brings the token
	open                   // GET, for anyone and under any name: balancers, Kubernetes, Prometheus, scripts and styles
)

// method is the one that a path is asked by. A GET is good for HEAD too.
func (a access) method() string {
	if a == acting || a == entering {
		return http.MethodPost
	}
	return http.MethodGet
}

// route is a path, and who may ask for it.
type route struct {
	path    string // a pattern of http.ServeMux without a method
	access  access
	handler http.HandlerFunc
}

// routes are all that the server answers. What is not here is not found, and only
// readers learn that.
func routes(o Options, g *gate) []route {
	list := []route{
		{"/healthz", open, func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusOK, map[string]any{"status": "ok"})
		}},
		{"/readyz", open, o.ready},
		{"/metrics", open, promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{}).ServeHTTP},
		{"/{$}", reading, o.console(g)},
	}
	list = append(list, assetRoutes()...)
	if o.Console != nil {
		list = append(list, o.Console.routes(o, g)...)
	}
	if o.Drain != nil {
		list = append(list, route{"/drain", acting, o.drain})
	}
	if g.asks() {
		list = append(list,
			route{"/login", entering, g.login},
			route{"/login", reading, toConsole},
			route{"/logout", acting, g.logout},
		)
	}
	if o.Config != nil {
		list = append(list, route{"/config", reading, func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, o.Config()) }})
	}
	if o.Pprof {
		list = append(list,
			route{"/debug/pprof/", reading, pprof.Index},
			route{"/debug/pprof/cmdline", reading, program},
			route{"/debug/pprof/profile", reading, pprof.Profile},
			route{"/debug/pprof/symbol", reading, pprof.Symbol},
			route{"/debug/pprof/trace", reading, pprof.Trace},
		)
	}
	return list
}

// program answers in place of pprof.Cmdline, without the arguments: somebody may have
// put a secret there.
func program(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, os.Args[0])
}

func toConsole(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
