package main

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"pushpod/config"
	"pushpod/internal/secret"
)

// TestEveryKeyIsAppliedOrNeedsARestart walks through all fields of the configuration, of
// which each has a key (config's tests hold that): what is said to change at a reload is
// given to a part, and what is given to a part is not said to need a restart.
func TestEveryKeyIsAppliedOrNeedsARestart(t *testing.T) {
	before := config.Default()
	onlyChecked := map[string]bool{"admin.insecure": true, "auth.insecure": true} // when the configuration is read
	walked := 0
	eachField(reflect.ValueOf(&config.Config{}).Elem(), nil, func(path []int) {
		after := before
		change(t, reflect.ValueOf(&after).Elem().FieldByIndex(path))
		changes := config.Diff(before, after)
		if len(changes) != 1 {
			t.Errorf("field %v: %v", path, changes)
			return
		}
		walked++
		c := changes[0]
		reaches := !reflect.DeepEqual(liveOf(&before), liveOf(&after))
		switch {
		case c.Key == "log.level" && reaches, onlyChecked[c.Key]:
		case c.Restart && reaches && c.Key != "presence.renew": // which has its old value by then
			t.Errorf("%s needs a restart, and is given to a part", c.Key)
		case !c.Restart && !reaches:
			t.Errorf("%s is said to change at a reload, and no part gets it", c.Key)
		}
	})
	if all := len(before.Settings()); walked != all {
		t.Errorf("%d of %d keys", walked, all)
	}
}

// eachField calls f with the path of each field that is no section.
func eachField(of reflect.Value, at []int, f func(path []int)) {
	for i := range of.NumField() {
		path := append(append([]int{}, at...), i)
		if of.Field(i).Kind() == reflect.Struct {
			eachField(of.Field(i), path, f)
			continue
		}
		f(path)
	}
}

// change gives a field another value.
func change(t *testing.T, field reflect.Value) {
	t.Helper()
	switch v := field.Addr().Interface().(type) {
	case *string:
		switch *v {
		case "disconnect":
			*v = "drop_newest"
		case "info":
			*v = "debug"
		default:
			*v += "x"
		}
	case *secret.Text:
		*v += "x"
	case *bool:
		*v = !*v
	case *int:
		*v++
	case *int64:
		*v++
	case *config.Size:
		*v++
	case *time.Duration:
		*v += time.Second
	case *[]string:
		*v = append([]string{"x"}, *v...)
	case *[]netip.Prefix:
		*v = append([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, *v...)
	default:
		t.Fatalf("a field of %T", v)
	}
}
