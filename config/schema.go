package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"strconv"
)

// A node is a JSON Schema, or a part of one (draft 7, which editors know best).
type node = map[string]any

const (
	hostPattern = `([A-Za-z0-9._-]+|\[[0-9A-Za-z:.%_-]+\])`
	portPattern = `(0|[1-9][0-9]{0,4})`
	// What time.ParseDuration reads, but for signs and leading dots.
	durationPattern = `^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$`
	sizePattern     = `^[0-9]+ *([bB]|[kKmMgG][iI][bB])?$`
)

// Schema returns the JSON Schema of a configuration file, for editors. What it refuses a pod
// refuses too; but pods look at more: the range of sizes and durations, and what keys are to each
// other.
func Schema() string {
	root := node{
		"$schema":              "http://json-schema.org/draft-07/schema#",
		"title":                "pushpod: configuration",
		"type":                 []any{"object", "null"},
		"additionalProperties": false,
		"properties":           node{},
	}
	sections := map[string]node{"": root}
	for _, k := range keys() {
		of := sections[k.section()]
		if of == nil {
			of = node{"type": []any{"object", "null"}, "additionalProperties": false, "properties": node{}}
			sections[k.section()] = of
			root["properties"].(node)[k.section()] = of
		}
		of["properties"].(node)[k.leaf()] = k.describe()
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(root); err != nil {
		panic(fmt.Sprintf("config: encode the schema: %v", err)) // it holds nothing but text, numbers and switches
	}
	return b.String()
}

// describe is the key's schema with what an editor shows.
func (k key) describe() node {
	s := maps.Clone(k.schema)
	s["description"] = fmt.Sprintf("%s\n\nAllowed: %s.\nEnvironment: %s", k.doc, k.allowed, k.variable())
	if k.derived == "" {
		s["default"] = k.presetValue()
	}
	return s
}

// presetValue is the default as the reference writes it.
func (k key) presetValue() any {
	if k.list && k.preset == "" {
		return []any{}
	}
	if n, err := strconv.ParseInt(k.preset, 10, 64); err == nil && k.name == "number" {
		return n
	}
	return k.preset
}

func wordSchema(words ...any) node { return node{"enum": words} }

func numberSchema(low, high int64) node {
	return node{"type": "integer", "minimum": low, "maximum": high}
}

func patternSchema(pattern string) node { return node{"type": "string", "pattern": pattern} }

func sizeSchema(low, high Size) node {
	return node{"anyOf": []any{numberSchema(int64(low), int64(high)), patternSchema(sizePattern)}}
}

func durationSchema[T ~int64](low T) node {
	return orZero(low <= 0, patternSchema(durationPattern))
}

// textSchema counts characters, of which each has a byte at least.
func textSchema(limit int, never string) node {
	s := patternSchema("^[^\u0000-\u001f\u007f-\u009f" + regexp.QuoteMeta(never) + "]*$")
	s["maxLength"] = limit
	return s
}

// listSchema takes a YAML list, or text with commas.
func listSchema(one node) node {
	return node{"anyOf": []any{
		node{"type": "array", "items": one},
		patternSchema("^ *$|^[^,]+(,[^,]+)+$"),
		node{"allOf": []any{one, patternSchema("^[^,]*$")}},
	}}
}

// orOff also takes the word off, and 0.
func orOff(off bool, s node) node {
	if !off {
		return s
	}
	return node{"anyOf": []any{s, wordSchema("off", false, 0)}}
}

func orZero(zero bool, s node) node {
	if !zero {
		return s
	}
	return node{"anyOf": []any{s, wordSchema(0)}}
}

func anys(words []string) []any {
	all := make([]any, len(words))
	for i, w := range words {
		all[i] = w
	}
	return all
}
