package admin

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	sessionCookie = "pushpod_admin"
	sessionLasts  = 12 * time.Hour
)

// sessions makes and checks the cookies of browsers in which the token was given. A
// cookie says when it ends, and that this process has made it for this token; nothing
// is kept, so a restart ends them all.
type sessions struct {
	key []byte
	now func() time.Time
}

func newSessions(token [sha256.Size]byte) sessions {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails; see crypto/rand
	return sessions{key: append(key, token[:]...), now: time.Now}
}

// cookie makes one; secure where the browser came by TLS.
func (s sessions) cookie(secure bool) *http.Cookie {
	ends := strconv.FormatInt(s.now().Add(sessionLasts).Unix(), 10)
	c := endedSession(secure)
	c.Value, c.MaxAge = ends+"."+s.sign(ends), int(sessionLasts/time.Second)
	return c
}

// endedSession takes the cookie away.
func endedSession(secure bool) *http.Cookie {
	return &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1, HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode}
}

// has reports whether a request brings a session that has not ended.
func (s sessions) has(r *http.Request) bool {
	for _, c := range r.CookiesNamed(sessionCookie) {
		ends, signature, _ := strings.Cut(c.Value, ".")
		at, err := strconv.ParseInt(ends, 10, 64)
		if hmac.Equal([]byte(signature), []byte(s.sign(ends))) && err == nil && s.now().Unix() < at {
			return true
		}
	}
	return false
}

func (s sessions) sign(ends string) string {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte("session until " + ends))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
