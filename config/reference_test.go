package config

import (
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
)

const referenceFile = "../configs/pushpod.yaml"

// go test ./config -run TestReferenceFile -update
func update() bool { return flag.Lookup("update").Value.String() == "true" }

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write configs/pushpod.yaml and docs/configuration.md")
	os.Exit(m.Run())
}

func TestReferenceFileIsTheReference(t *testing.T) {
	if update() {
		if err := os.WriteFile(referenceFile, []byte(Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != Reference() {
		t.Errorf("%s is not what the table says; write it anew with: go generate ./config", referenceFile)
	}
}

// docs/configuration.md is written by the same table.
func TestReferencePageIsTheReference(t *testing.T) {
	const file = "../docs/configuration.md"
	if update() {
		if err := os.WriteFile(file, []byte(Page()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != Page() {
		t.Errorf("%s is not what the table says; write it anew with: go generate ./config", file)
	}
	for _, k := range keys() {
		if !strings.Contains(Page(), "| `"+k.path+"`<br>`"+k.variable()+"` |") {
			t.Errorf("%s is not in the page", k.path)
		}
	}
}

func TestReferenceFileLoadsAsTheDefaults(t *testing.T) {
	if c := wantLoaded(t, LoadOptions{File: referenceFile}); !reflect.DeepEqual(c, Default()) {
		t.Errorf("\n got %+v\nwant %+v", c, Default())
	}
}

// TestCommentedOutExamplesAreAllowed takes the # from the keys whose default
// depends on others: what stands there must work too.
func TestCommentedOutExamplesAreAllowed(t *testing.T) {
	text := Reference()
	for _, k := range keys() {
		if k.derived != "" {
			bare := k.leaf() + ": " + k.derived
			if !strings.Contains(text, "  # "+bare+"\n") {
				t.Errorf("%s is not commented out", k.path)
			}
			text = strings.ReplaceAll(text, "# "+bare, bare)
		}
	}
	if c := wantLoaded(t, LoadOptions{File: write(t, text)}); !reflect.DeepEqual(c, Default()) {
		t.Errorf("%+v", c)
	}
}

func TestReferenceExplainsEveryKey(t *testing.T) {
	for _, k := range keys() {
		if !strings.HasSuffix(k.doc, ".") || strings.Contains(k.doc, "\n") {
			t.Errorf("%s: the doc is no sentence: %q", k.path, k.doc)
		}
		if !strings.Contains(Reference(), "# Environment: "+k.variable()+"\n") {
			t.Errorf("%s: the reference lacks %s", k.path, k.variable())
		}
	}
	for line := range strings.Lines(Reference()) {
		if len(line) > referenceWidth+1 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
}
