package admin

import (
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// pages writes what people see.
type pages struct{ templates *template.Template }

// view is what a page tells.
type view struct {
	Reason string // why the form for the token comes again
	Next   string // the path to go to then
	Logout bool   // there is a session that can be ended
	Live   bool   // there is something to show
	Demo   bool   // there is a demo
	Config bool   // the configuration can be asked for
}

func newPages() pages { return pages{pageTemplates()} }

func (p pages) write(w http.ResponseWriter, status int, name string, v view) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = p.templates.ExecuteTemplate(w, name, v) // the peer has gone: nobody to tell
}

// unauthorized answers who has not shown the token; a person gets the form for it.
func (p pages) unauthorized(w http.ResponseWriter, r *http.Request, reason string) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="pushpod admin"`)
	if wantsJSON(r) {
		answer(w, http.StatusUnauthorized, map[string]any{"status": "refused", "reason": "admin.token is needed, as Authorization: Bearer"})
		return
	}
	p.form(w, r, http.StatusUnauthorized, reason)
}

// form is for the token, which then leads where the request wanted to go.
func (p pages) form(w http.ResponseWriter, r *http.Request, status int, reason string) {
	next := "/"
	switch {
	case r.Method == http.MethodGet:
		next = r.URL.RequestURI()
	case r.URL.Path == "/login":
		next = r.PostFormValue("next")
	}
	p.write(w, status, "login.html", view{Reason: reason, Next: ownPath(next)})
}

// ownPath is a path of this server, whatever is asked for.
func ownPath(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.Contains(path, `\`) {
		return "/"
	}
	return path
}

// console is the page for people.
func (o *Options) console(g *gate) http.HandlerFunc {
	v := view{Logout: g.asks(), Live: o.Console != nil, Demo: o.Console != nil && o.Console.Demo, Config: o.Config != nil}
	return func(w http.ResponseWriter, r *http.Request) {
		if o.Console != nil {
			o.Console.sockets(w, r, false)
		}
		g.pages.write(w, http.StatusOK, "index.html", v)
	}
}

const (
	maxForm     = 16 << 10 // bytes
	formTimeout = 5 * time.Second
)

// login takes the form with the token, and gives a session for it.
func (g *gate) login(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(formTimeout))
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		g.refuse(w, r, http.StatusBadRequest, "the form can't be read")
		return
	}
	if g.try(w, r, r.PostFormValue("token")) {
		http.SetCookie(w, g.sessions.cookie(r.TLS != nil))
		http.Redirect(w, r, ownPath(r.PostFormValue("next")), http.StatusSeeOther)
	}
}

// logout takes the session away.
func (g *gate) logout(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, endedSession(r.TLS != nil))
	toConsole(w, r)
}
