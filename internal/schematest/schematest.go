// Package schematest holds texts against the JSON Schemas of the project, in
// tests. A relative path is one below the project's directory.
package schematest

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// AsyncAPI's own schema of its documents, version 3.0.0, from the npm package
// @asyncapi/specs 6.11.1 (Apache License 2.0, beside it).
//
//go:embed testdata/asyncapi-3.0.0.json.gz
var asyncAPI []byte

// A Schema is a JSON Schema that can be asked.
type Schema struct{ schema *jsonschema.Schema }

// Load returns the schema in a file of the project, such as
// docs/schemas/envelope.json. What is no JSON Schema ends the test.
func Load(t testing.TB, path string) *Schema {
	t.Helper()
	return load(t, path, func(any) {})
}

// LoadStrict is Load, but that no object has members that are not described:
// what is sent has to be documented, although who receives it must not mind.
func LoadStrict(t testing.TB, path string) *Schema {
	t.Helper()
	return load(t, path, closeObjects)
}

// AsyncAPI returns the schema of documents of AsyncAPI 3.0.0.
func AsyncAPI(t testing.TB) *Schema {
	t.Helper()
	unzip, err := gzip.NewReader(bytes.NewReader(asyncAPI))
	if err != nil {
		t.Fatal(err)
	}
	text, err := jsonschema.UnmarshalJSON(unzip)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	const name = "http://asyncapi.com/definitions/3.0.0/asyncapi.json"
	if err := c.AddResource(name, text); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return &Schema{s}
}

func load(t testing.TB, path string, change func(schema any)) *Schema {
	t.Helper()
	full := filepath.Join(root(t), path)
	c := jsonschema.NewCompiler()
	for _, file := range siblings(t, full) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		change(schema)
		if err := c.AddResource(file, schema); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile(full)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return &Schema{s}
}

// siblings are the schemas that a schema may refer to, itself among them.
func siblings(t testing.TB, path string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no schemas beside %s: %v", path, err)
	}
	return files
}

// closeObjects gives each schema of an object additionalProperties: false, which
// those of a condition are not: they require nothing.
func closeObjects(schema any) {
	switch s := schema.(type) {
	case map[string]any:
		if _, has := s["properties"]; has && s["required"] != nil {
			s["additionalProperties"] = false
		}
		for _, below := range s {
			closeObjects(below)
		}
	case []any:
		for _, below := range s {
			closeObjects(below)
		}
	}
}

// Fault says what is wrong with a JSON text; nil: nothing. What is no JSON
// ends in an error too.
func (s *Schema) Fault(text string) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(text)))
	if err != nil {
		return err
	}
	return s.schema.Validate(value)
}

// FaultOf is Fault for a value as encoding/json or YAML would give it.
func (s *Schema) FaultOf(value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.Fault(string(text))
}

// root is the project's directory: tests run somewhere below it.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}
