// Package config reads pushpod's configuration: a typed Config from command
// line flags, environment variables, a YAML file and defaults, in this order
// of precedence.
//
// One table (keys.go) holds every key: its name, default, bounds, the field of
// Config it fills, and what it does. From it come the decoding, the error
// messages, the flags and the commented reference, so none of them can fall
// behind the others.
//
// Reading is strict. Whatever is unknown, misspelt, doubled, empty (null), of
// the wrong type or out of bounds is a Problem, and Load reports all of them
// at once, one line each, naming the key, the value, where it came from (a file
// with its line), and what is allowed. The password is in none of these lines.
//
// The package keeps no state, starts nothing and watches nothing: Load reads
// once. The YAML library parses the file into nodes, which know their lines; an
// instance of viper settles the precedence.
package config
