package admin

import (
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const page = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>pushpod</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;margin:3rem auto;max-width:32rem;padding:0 1rem}</style></head>
<body><h1>pushpod</h1>
{{if .Login}}{{with .Reason}}<p role="alert">{{.}}</p>
{{end}}<form method="post" action="/login">
<p><label>Admin token (<code>admin.token</code>)<br><input type="password" name="token" autocomplete="current-password" required autofocus></label>
<input type="hidden" name="next" value="{{.Next}}"> <button>Log in</button></p>
</form>
{{else}}<p><a href="/healthz">health</a>, <a href="/readyz">readiness</a>, <a href="/metrics">metrics</a></p>
{{if .Logout}}<form method="post" action="/logout"><button>Log out</button></form>
{{end}}{{end}}</body>
</html>
`

// pages writes what people see.
type pages struct{ page *template.Template }

// view is what a page tells.
type view struct {
	Login  bool   // the form for the token
	Reason string // why it comes again
	Next   string // the path to go to then
	Logout bool
}

func newPages() pages { return pages{template.Must(template.New("page").Parse(page))} }

func (p pages) write(w http.ResponseWriter, status int, v view) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = p.page.Execute(w, v) // the peer has gone: nobody to tell
}

// unauthorized answers who has not shown the token; a person gets the form for it.
func (p pages) unauthorized(w http.ResponseWriter, r *http.Request, reason string) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="pushpod admin"`)
	if wantsJSON(r) {
		answer(w, http.StatusUnauthorized, map[string]any{"status": "refused", "reason": "admin.token is needed, as Authorization: Bearer"})
		return
	}
	next := "/"
	switch {
	case r.Method == http.MethodGet:
		next = r.URL.RequestURI()
	case r.URL.Path == "/login":
		next = r.PostFormValue("next")
	}
	p.write(w, http.StatusUnauthorized, view{Login: true, Reason: reason, Next: ownPath(next)})
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
func (g *gate) console(w http.ResponseWriter, _ *http.Request) {
	g.pages.write(w, http.StatusOK, view{Logout: g.asks()})
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
