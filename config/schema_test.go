package config

import (
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"pushpod/internal/schematest"
)

const schemaFile = "../configs/pushpod.schema.json"

func TestSchemaFileIsTheSchema(t *testing.T) {
	if update() {
		if err := os.WriteFile(schemaFile, []byte(Schema()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != Schema() {
		t.Errorf("%s is not what the table says; write it anew with: go generate ./config", schemaFile)
	}
}

// faultOf holds a YAML text against the schema.
func faultOf(t *testing.T, schema *schematest.Schema, text string) error {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		return err
	}
	return schema.FaultOf(value)
}

func TestTheReferenceIsGoodBySchema(t *testing.T) {
	schema := schematest.Load(t, "configs/pushpod.schema.json")
	if err := faultOf(t, schema, Reference()); err != nil {
		t.Error(err)
	}
	bare := Reference()
	for _, k := range keys() {
		if k.derived != "" {
			bare = strings.ReplaceAll(bare, "# "+k.leaf()+": "+k.derived, k.leaf()+": "+k.derived)
		}
	}
	if err := faultOf(t, schema, bare); err != nil {
		t.Errorf("with the keys that are commented out: %v", err)
	}
	if !strings.HasPrefix(Reference(), "# yaml-language-server: $schema=pushpod.schema.json\n") {
		t.Error("the reference does not name its schema")
	}
	for _, good := range []string{
		"", "conn:\n", "conn: {ping: 30.5s, max_age: off}", "conn: {max_message: 1024, send_buffer: false}", "admin: {pprof: true}", "shutdown: {delay: 0, drain: 0s}",
		"redis: {addresses: [a:1, 'b:2']}", "redis: {addresses: 'a:1, b:2'}", "redis: {addresses: unix:/run/redis}", "redis: {addresses: []}", "listen: '[::1]:80'",
		"auth: {origins: ['https://*.example.com', 'null'], trusted_proxies: [loopback, 10.0.0.0/8, '::1']}", "auth: {audience: 'a, b'}", "limits: {per_ip: 0, per_user: off}",
	} {
		if _, err := Load(LoadOptions{File: write(t, good)}); err != nil {
			t.Errorf("%s: %v", good, err)
		}
		if err := faultOf(t, schema, good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

// The schema refuses all that each key must refuse, but for what needs more than a schema: ranges of what has a unit, what
// numbers in text are, and which hosts and networks there are.
func TestTheSchemaRefusesWrongValues(t *testing.T) {
	schema := schematest.Load(t, "configs/pushpod.schema.json")
	total, taken := 0, 0
	for path, values := range wrong {
		k, _ := (&loader{keys: keys()}).find(path)
		for _, value := range values {
			text := strings.TrimPrefix(k.section()+":\n  "+k.leaf()+": "+value+"\n", ":\n  ")
			total++
			if faultOf(t, schema, text) != nil {
				continue
			}
			taken++
			if !slices.Contains([]string{"size", "duration", "host:port", "url", "networks", "origins", "field"}, k.name) && value != "1.0" {
				t.Errorf("the schema takes %s: %s", path, value)
			}
		}
	}
	if taken > total/4 {
		t.Errorf("of %d wrong values the schema takes %d", total, taken)
	}
	for _, text := range []string{"lisen: :8080", "conn: {pings: 1s}", "conn: 1s", "conn.ping: 1s", "[]", "conn: {ping: }", "log: {level: info, levels: 1}"} {
		if faultOf(t, schema, text) == nil {
			t.Errorf("the schema takes %s", text)
		}
	}
}
