package secret

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestTextIsShownByNoVerbAndNoEncoder(t *testing.T) {
	type section struct {
		Password Text
		All      []Text
		ByName   map[string]Text
	}
	const marker = "hunter2"
	v := section{marker, []Text{marker}, map[string]Text{"a": marker}}
	var shown strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s"} {
		fmt.Fprintf(&shown, verb+verb+verb, v, &v, v.Password)
	}
	fmt.Fprintln(&shown, v, v.Password, fmt.Errorf("wrong: %w%v", fmt.Errorf("%s", v.Password), v))
	encoded, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(encoded)
	if text := shown.String(); strings.Contains(text, marker) || strings.Contains(text, fmt.Sprintf("%x", marker)) || !strings.Contains(text, Hidden) {
		t.Error(text)
	}
	if string(v.Password) != marker {
		t.Error("the secret itself is lost")
	}
}
