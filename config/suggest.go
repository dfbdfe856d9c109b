package config

import "strings"

// suggest returns the name that the writer of an unknown one most likely
// meant, or "" where none is close. separator stands between a section and its
// key: "." in files, "_" in variables.
func suggest(unknown string, known []string, separator string) string {
	unknown = strings.ToLower(strings.ReplaceAll(unknown, "-", "_"))
	leaf := unknown[strings.LastIndex(unknown, separator)+1:]
	best, closest := "", 1+max(1, len(leaf)/3)
	for _, name := range known {
		if d := distance(unknown, strings.ToLower(name)); d < closest {
			best, closest = name, d
		}
	}
	if best != "" {
		return best
	}
	// The right key in the wrong section: good only where there is one such.
	for _, name := range known {
		if lower := strings.ToLower(name); lower != leaf && !strings.HasSuffix(lower, separator+leaf) {
			continue
		}
		if best != "" {
			return ""
		}
		best = name
	}
	return best
}

// distance is the number of letters to insert, remove, replace or swap with
// their neighbour to make one word of the other (optimal string alignment).
func distance(a, b string) int {
	const far = 1 << 10
	if len(a) > far || len(b) > far {
		return far
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
