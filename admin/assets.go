package admin

import (
	"embed"
	"html/template"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// assets are the console's pages, scripts and styles. They need no build step.
//
//go:embed console
var assets embed.FS

// types of what is in assets, by the end of its name.
var types = map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}

// assetRoutes serve scripts and styles, which tell nothing of the pod: the form for the token
// needs them before there is a session.
func assetRoutes() (list []route) {
	files, err := assets.ReadDir("console")
	if err != nil {
		panic(err) // they are in the program
	}
	for _, file := range files {
		name := file.Name()
		kind, is := types[name[strings.LastIndexByte(name, '.'):]]
		if !is {
			continue // pages are templates
		}
		content, err := assets.ReadFile("console/" + name)
		if err != nil {
			panic(err)
		}
		list = append(list, route{"/console/" + name, open, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write(content) // the peer has gone: nobody to tell
		}})
	}
	return list
}

func pageTemplates() *template.Template {
	return template.Must(template.ParseFS(assets, "console/*.html"))
}

// policy is the Content-Security-Policy of all answers: what is not ours is not loaded, and
// nothing stands inline.
func policy(connect string) string {
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'" + connect +
		"; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
}

// sockets allows a page to connect where clients do; the demo's also to other pods on this
// machine.
func (c *Console) sockets(w http.ResponseWriter, r *http.Request, others bool) {
	address, tls := c.Clients()
	host, port, _ := net.SplitHostPort(address)
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		if host, _, err = net.SplitHostPort(r.Host); err != nil {
			host = r.Host
		}
	}
	scheme := " ws://"
	if tls {
		scheme = " wss://"
	}
	connect := scheme + host + ":" + port
	if strings.ContainsFunc(host, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-'
	}) {
		connect = " ws: wss:" // no policy can name an address of IPv6
	}
	if others {
		connect += " ws://127.0.0.1:* ws://localhost:*"
	}
	w.Header().Set("Content-Security-Policy", policy(connect))
}

// demo is the page that shows the system at work.
func (c *Console) demo(w http.ResponseWriter, r *http.Request) {
	c.sockets(w, r, true)
	newPages().write(w, http.StatusOK, "demo.html", view{})
}
