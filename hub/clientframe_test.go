package hub

import (
	"encoding/json"
	"strings"
	"testing"

	"pushpod/internal/schematest"
)

func TestClientFrames(t *testing.T) {
	long := strings.Repeat("x", 256)
	cases := []struct {
		frame    string
		ok       bool
		kind, id string // id as it stands
		data     string
	}{
		{`{"type":"request","id":"1","data":{"a":[1, 2]}}`, true, "request", `"1"`, `{"a":[1, 2]}`},
		{` {"data":null , "id":"\u0031","type":"request"} `, true, "request", `"\u0031"`, `null`},
		{`{"type":"ping"}`, true, "ping", "", ""},
		{`{"type":"pong","more":{"type":"x"}}`, true, "pong", "", ""},
		{`{"type":"token","id":"a","token":"t"}`, true, "token", `"a"`, ""},
		{`{"type":"other","id":"` + long + `"}`, true, "other", `"` + long + `"`, ""},
		{`{"t\u0079pe":"ping"}`, true, "ping", "", ""},
		{`{"type":"ping","id":"` + long + `x"}`, false, "", "", ""},
		{`{"type":"ping","id":""}`, false, "", "", ""},
		{`{"type":"ping","id":1}`, false, "", "", ""},
		{`{"type":"ping","id":null}`, false, "", "", ""},
		{`{"type":"ping","id":["a"]}`, false, "", "", ""},
		{`{"type":"ping","id":{}}`, false, "", "", ""},
		{`{"type":"ping","id":"a","id":"a"}`, false, "", "", ""},
		{`{"type":1,"id":"a"}`, false, "", `"a"`, ""},
		{`{"type":"a","type":"a","id":"a"}`, false, "", `"a"`, ""},
		{`{"id":"a","data":1}`, false, "", `"a"`, ""},
		{`{"type":"request","id":"a","data":1,"data":1}`, false, "", `"a"`, ""},
		{`{"type":"token","id":"a","token":"t","token":"t"}`, false, "", `"a"`, ""},
		{`{"type":"token","id":"a","token":1}`, false, "", `"a"`, ""},
		{`{"type":"request","id":"a","data":01}`, false, "", "", ""},
		{`{"type":"request","id":"a"} x`, false, "", "", ""},
		{`{"type":"ping",}`, false, "", "", ""}, {`{}`, false, "", "", ""}, {` `, false, "", "", ""}, {`null`, false, "", "", ""},
		{`[]`, false, "", "", ""}, {`"x"`, false, "", "", ""}, {``, false, "", "", ""}, {`{`, false, "", "", ""},
	}
	schema := schematest.Load(t, "docs/schemas/frames-client.json")
	for _, tc := range cases {
		twice := strings.Count(tc.frame, `"type"`) > 1 || strings.Count(tc.frame, `"id":`) > 1 || strings.Count(tc.frame, `"data":1`) > 1 || strings.Count(tc.frame, `"token":`) > 1
		if err := schema.Fault(tc.frame); (err == nil) != (tc.ok && tc.kind != "other") && !twice {
			t.Errorf("%.80s: the schema says %v", tc.frame, err)
		}
		var f clientFrame
		reason := f.parse([]byte(tc.frame))
		if ok := reason == ""; ok != tc.ok {
			t.Errorf("%.80s: reason %q", tc.frame, reason)
			continue
		}
		if string(f.id) != tc.id {
			t.Errorf("%.80s: id %s, want %s", tc.frame, f.id, tc.id)
		}
		if tc.ok && (string(f.kind) != tc.kind || string(f.data) != tc.data) {
			t.Errorf("%.80s: read as %q %q", tc.frame, f.kind, f.data)
		}
	}
}

func TestReceiptsAreExact(t *testing.T) {
	schema := schematest.LoadStrict(t, "docs/schemas/frames-server.json")
	for want, got := range map[string][]byte{
		`{"type":"receipt","id":"a","status":"accepted"}`:                                              receipt([]byte(`"a"`), "", ""),
		`{"type":"receipt","id":"\u0061","status":"rejected","error":"rate","reason":"slow \"down\""}`: receipt([]byte(`"\u0061"`), errorRate, `slow "down"`),
		`{"type":"error","error":"bad_frame","reason":"why"}`:                                          receipt(nil, errorBadFrame, "why"),
	} {
		if string(got) != want || !json.Valid(got) {
			t.Errorf("got %s, want %s", got, want)
		}
		if err := schema.Fault(want); err != nil {
			t.Errorf("%s: %v", want, err)
		}
	}
}
