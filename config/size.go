package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Size is a number of bytes. It is written as `512B`, `64KiB`, `1MiB`,
// `2GiB`, or as a plain number of bytes.
type Size int64

const (
	kib Size = 1 << 10
	mib Size = 1 << 20
	gib Size = 1 << 30
)

// String writes the size with the largest unit that divides it: `64KiB`,
// `1500B`. ParseSize reads it back.
func (s Size) String() string {
	switch {
	case s != 0 && s%gib == 0:
		return fmt.Sprintf("%dGiB", int64(s/gib))
	case s != 0 && s%mib == 0:
		return fmt.Sprintf("%dMiB", int64(s/mib))
	case s != 0 && s%kib == 0:
		return fmt.Sprintf("%dKiB", int64(s/kib))
	}
	return fmt.Sprintf("%dB", int64(s))
}

// ParseSize reads a whole number and its unit: B, KiB, MiB, GiB (in any case),
// or none for bytes. Decimal units such as KB are refused, since people
// disagree about what they mean.
func ParseSize(text string) (Size, error) {
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit := Size(1)
	switch strings.ToLower(text[len(digits):]) {
	case "", "b":
	case "kib":
		unit = kib
	case "mib":
		unit = mib
	case "gib":
		unit = gib
	default:
		return 0, fmt.Errorf("config: size %q: the unit is one of B, KiB, MiB, GiB", text)
	}
	n, err := strconv.ParseInt(strings.TrimRight(digits, " "), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("config: size %q: not a whole number and a unit, such as 64KiB", text)
	}
	if n > math.MaxInt64/int64(unit) || n < math.MinInt64/int64(unit) {
		return 0, fmt.Errorf("config: size %q: too large", text)
	}
	return Size(n) * unit, nil
}
