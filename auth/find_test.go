package auth

import (
	"context"
	"errors"
	"testing"
)

func TestFirstPlaceWithATokenDecides(t *testing.T) {
	all := Places{Authorization: "Bearer a", Cookie: "x=1; session=b", CookieName: "session", Subprotocols: "pushpod.v1, bearer.c", Query: "d", HasQuery: true}
	for name, c := range map[string]struct {
		change func(*Places)
		token  string
		place  Place
	}{
		"all":                      {func(p *Places) {}, "a", InAuthorization},
		"a scheme in any case":     {func(p *Places) { p.Authorization = "bEARER  a" }, "a", InAuthorization},
		"an empty Bearer":          {func(p *Places) { p.Authorization = "Bearer" }, "", InAuthorization},
		"two Bearers":              {func(p *Places) { p.Authorization = "Bearer a, Bearer b" }, "a, Bearer b", InAuthorization},
		"another scheme":           {func(p *Places) { p.Authorization = "Basic YTpi" }, "b", InCookie},
		"a scheme like it":         {func(p *Places) { p.Authorization = "Bearerx a" }, "b", InCookie},
		"no field":                 {func(p *Places) { p.Authorization = "" }, "b", InCookie},
		"a quoted cookie":          {func(p *Places) { p.Authorization, p.Cookie = "", `session="b"` }, "b", InCookie},
		"the same cookie twice":    {func(p *Places) { p.Authorization, p.Cookie = "", "session=b;session=b" }, "b", InCookie},
		"two cookies that differ":  {func(p *Places) { p.Authorization, p.Cookie = "", "session=b; session=evil" }, "", InCookie},
		"a deleted cookie":         {func(p *Places) { p.Authorization, p.Cookie = "", "session=" }, "c", InSubprotocol},
		"a cookie's name in case":  {func(p *Places) { p.Authorization, p.Cookie = "", "Session=b" }, "c", InSubprotocol},
		"no cookie configured":     {func(p *Places) { p.Authorization, p.CookieName = "", "" }, "c", InSubprotocol},
		"subprotocol without room": {func(p *Places) { p.Authorization, p.Cookie, p.Subprotocols = "", "", "pushpod.v1,bearer.c,bearer.e" }, "c", InSubprotocol},
		"the query":                {func(p *Places) { p.Authorization, p.Cookie, p.Subprotocols = "", "", "pushpod.v1" }, "d", InQuery},
		"an empty query":           {func(p *Places) { *p = Places{HasQuery: true} }, "", InQuery},
		"nothing":                  {func(p *Places) { *p = Places{} }, "", Nowhere},
	} {
		t.Run(name, func(t *testing.T) {
			p := all
			c.change(&p)
			if token, place := Find(p); token != c.token || place != c.place {
				t.Errorf("got %q at %d, want %q at %d", token, place, c.token, c.place)
			}
		})
	}
}

func TestBadTokenIsNotMadeUpForByAGoodOne(t *testing.T) {
	v := newVerifier(t, nil)
	token, _ := Find(Places{Authorization: "Bearer bad", Query: hs256(t, hsHeader, goodClaims), HasQuery: true})
	if _, err := v.Verify(context.Background(), token); !errors.Is(err, ErrMalformed) {
		t.Errorf("got %v", err)
	}
}
