package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"pushpod/conformance"
	"pushpod/internal/schematest"
)

// docs/asyncapi.yaml is a document of AsyncAPI 3, and what it refers to is there.
func TestAsyncAPI(t *testing.T) {
	var document any
	if err := yaml.Unmarshal([]byte(readFile(t, "docs/asyncapi.yaml")), &document); err != nil {
		t.Fatal(err)
	}
	schema := schematest.AsyncAPI(t)
	if err := schema.FaultOf(document); err != nil {
		t.Error(err)
	}
	refs := 0
	eachRef(document, func(ref string) {
		refs++
		file, pointer, _ := strings.Cut(ref, "#")
		of := document
		if file != "" {
			of = nil
			if err := json.Unmarshal([]byte(readFile(t, filepath.Join("docs", file))), &of); err != nil {
				t.Errorf("%s: %v", ref, err)
			}
		}
		for _, name := range strings.Split(strings.TrimPrefix(pointer, "/"), "/") {
			if name != "" {
				members, _ := of.(map[string]any)
				of = members[name]
			}
		}
		if of == nil {
			t.Errorf("%s leads nowhere", ref)
		}
	})
	if refs < 40 {
		t.Errorf("%d references", refs)
	}
	// Each frame of the schemas is a message of the document.
	text := readFile(t, "docs/asyncapi.yaml")
	for _, file := range []string{"frames-server.json", "frames-client.json"} {
		for _, kind := range frameTypes(t, file) {
			if !strings.Contains(text, "schemas/"+file+"#/$defs/"+kind) {
				t.Errorf("the frame %s of %s is no message", kind, file)
			}
		}
	}
	for _, wrong := range []string{`{"asyncapi":"3.0.0"}`, `{"asyncapi":"3.0.0","info":{"title":"x","version":"1"},"chanels":{}}`} {
		if schema.Fault(wrong) == nil {
			t.Errorf("the schema of AsyncAPI takes %s", wrong)
		}
	}
}

func eachRef(v any, see func(ref string)) {
	switch v := v.(type) {
	case map[string]any:
		for name, below := range v {
			if ref, ok := below.(string); ok && name == "$ref" {
				see(ref)
			}
			eachRef(below, see)
		}
	case []any:
		for _, below := range v {
			eachRef(below, see)
		}
	}
}

// frameTypes are the types of frames that a schema knows.
func frameTypes(t *testing.T, file string) []string {
	t.Helper()
	var schema struct {
		OneOf []struct {
			Ref string `json:"$ref"`
		} `json:"oneOf"`
	}
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join("docs", "schemas", file))), &schema); err != nil || len(schema.OneOf) == 0 {
		t.Fatalf("%s: %v", file, err)
	}
	var kinds []string
	for _, one := range schema.OneOf {
		kinds = append(kinds, strings.TrimPrefix(one.Ref, "#/$defs/"))
	}
	return kinds
}

// The frames that docs/protocol.md shows are good, and it shows all types of both sides.
func TestFramesInTheDocsAreGood(t *testing.T) {
	text := readFile(t, "docs/protocol.md")
	fences := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(text, -1)
	if len(fences) != 2 {
		t.Fatalf("%d examples of frames, want the server's and the client's", len(fences))
	}
	for i, file := range []string{"frames-server.json", "frames-client.json"} {
		schema := schematest.LoadStrict(t, "docs/schemas/"+file)
		for line := range strings.Lines(fences[i][1]) {
			if err := schema.Fault(line); err != nil {
				t.Errorf("%s%v", line, err)
			}
		}
		for _, kind := range frameTypes(t, file) {
			if !strings.Contains(fences[i][1], `{"type":"`+kind+`"`) || !strings.Contains(text, "| `"+kind+"` |") {
				t.Errorf("no example of %s", kind)
			}
		}
	}
}

// Each code that a pod closes with has its row, which says what to do.
func TestDocsNameAllCloseCodes(t *testing.T) {
	_, section, _ := strings.Cut(readFile(t, "docs/protocol.md"), "## When it ends")
	section, _, _ = strings.Cut(section, "\n## ")
	codes := regexp.MustCompile(`(?m)^\tCode[A-Za-z]+ +(?:Code )?= ([0-9]{4})`).FindAllStringSubmatch(readFile(t, "conn/internal/wire/codes.go"), -1)
	if len(codes) < 15 {
		t.Fatalf("%d codes", len(codes))
	}
	for _, m := range codes {
		if !regexp.MustCompile(`(?m)^\| (?:[0-9]{4}, )*` + m[1] + `\b[^|]*\|`).MatchString(section) {
			t.Errorf("docs/protocol.md has no row for the close code %s", m[1])
		}
	}
}

func TestDocsNameAllRulesOfConformance(t *testing.T) {
	_, section, _ := strings.Cut(readFile(t, "docs/protocol.md"), "## Does my client behave?")
	for _, r := range conformance.Rules() {
		if !strings.Contains(section, "`"+r.Rule+"`") {
			t.Errorf("docs/protocol.md does not name %s", r.Rule)
		}
	}
}

// Schemas stand beside the pages that name them.
func TestLinksOfTheProtocolLeadSomewhere(t *testing.T) {
	for _, page := range []string{"docs/protocol.md", "examples/README.md"} {
		for _, m := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(readFile(t, page), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}
