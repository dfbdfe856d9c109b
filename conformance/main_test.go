package conformance

import (
	"flag"
	"os"
	"testing"
)

// More tests run at a time than there are processors, unless the command line says how many: they mostly wait.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", "12")
	}
	os.Exit(m.Run())
}
