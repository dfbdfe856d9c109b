package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// LoadOptions says what Load reads. The zero value gives the defaults.
type LoadOptions struct {
	// File is the YAML file's path; "" reads none. An empty file is fine.
	File string
	// Flags may hold flags named like keys (AddFlags makes them); those that
	// were given on the command line win over everything else. Others, and
	// nil, are fine.
	Flags *pflag.FlagSet
	// Only names the keys that matter, where not all do: other keys may be wrong then, and
	// no two are held against each other. A file that is no YAML is wrong all the same. Nil:
	// all keys.
	Only []string
	// Environ is NAME=VALUE pairs as os.Environ returns them; nil is none. Of
	// these, only POD_IP and names with PUSHPOD_ are looked at.
	Environ []string
}

// Load reads the configuration, flags before environment before file before
// defaults, and checks all of it. Its error is a *Problems with everything
// that is wrong; the Config is then the zero one. Load keeps nothing and may be
// called at any time, by several goroutines too.
func Load(o LoadOptions) (Config, error) {
	r := load(o, nil)
	return r.config, r.err
}

// Read reads the configuration as Load does, for Loaded.Over.
func Read(o LoadOptions) Loaded { return load(o, nil) }

// load is Load of a file's text that has been read already; nil: it has not.
func load(o LoadOptions, text []byte) Loaded {
	l := newLoader(o.Environ)
	if text != nil {
		l.readText(o.File, text)
	} else if o.File != "" {
		l.readFile(o.File)
	}
	l.readEnvironment()
	c := l.decode(o.Flags)
	if o.Only != nil {
		if !l.unread {
			l.problems.List = slices.DeleteFunc(l.problems.List, func(p Problem) bool { return p.Key != "" && !slices.Contains(o.Only, p.Key) })
		}
		return l.loaded(c)
	}
	l.derive(&c)
	l.check(c)
	return l.loaded(c)
}

func newLoader(environ []string) *loader {
	return &loader{keys: keys(), env: newEnvironment(environ), given: map[string]given{}, faulty: map[string]bool{}}
}

// Loaded is what one reading of the configuration gave.
type Loaded struct {
	config Config // the zero one where err is not nil
	err    error  // a *Problems
	given  map[string]given
}

// loaded is the result of the loader's work.
func (l *loader) loaded(c Config) Loaded {
	l.sort()
	if err := l.problems.errorOrNil(); err != nil {
		return Loaded{err: err}
	}
	return Loaded{config: c, given: l.given}
}

// A loader is the state of one Load.
type loader struct {
	keys     []key
	env      environment
	given    map[string]given // by path; flags apart
	faulty   map[string]bool  // paths that have a problem: rules between keys leave these alone
	unread   bool             // there is a file, and nothing of it is known
	problems Problems
}

// given is a raw value and where it stood.
type given struct {
	value  any
	source string
}

// decode lets viper settle who wins and fills the Config.
func (l *loader) decode(flags *pflag.FlagSet) Config {
	l.refuseSecretFlags(func(name string) bool { return lookup(flags, name) != nil })
	v := viper.New()
	layer := map[string]any{}
	for _, k := range l.keys {
		v.SetDefault(k.path, k.preset)
		if g, ok := l.given[k.path]; ok {
			nest(layer, k, g.value)
		}
		if flag := lookup(flags, k.path); flag != nil && !k.secret {
			l.given[k.path] = given{flag.Value.String(), "--" + k.path}
			l.cause(v.BindPFlag(k.path, flag))
		}
	}
	l.cause(v.MergeConfigMap(layer))

	var c Config
	for _, k := range l.keys {
		g, isGiven := l.given[k.path]
		if k.derived != "" && !isGiven {
			continue
		}
		raw := v.Get(k.path)
		if err := k.set(&c, raw); err != nil {
			l.refuse(k, raw, g.source, err)
		}
	}
	l.problems.LogFormat = c.Log.Format
	return c
}

// lookup returns the flag where it was given on the command line.
func lookup(flags *pflag.FlagSet, name string) *pflag.Flag {
	if flags == nil {
		return nil
	}
	if flag := flags.Lookup(name); flag != nil && flag.Changed {
		return flag
	}
	return nil
}

// nest puts a value where viper looks for it, which is in maps within maps.
func nest(layer map[string]any, k key, value any) {
	if k.section() == "" {
		layer[k.leaf()] = value
		return
	}
	section, ok := layer[k.section()].(map[string]any)
	if !ok {
		section = map[string]any{}
		layer[k.section()] = section
	}
	section[k.leaf()] = value
}

// refuse records that a key's value is wrong.
func (l *loader) refuse(k key, raw any, source string, err error) {
	problem := Problem{Key: k.path, Value: show(raw), Source: source, Allowed: k.allowed}
	if !errors.Is(err, errNotAllowed) {
		problem.Message = err.Error()
	}
	if k.secret {
		problem.Value = hidden
	}
	l.add(problem)
}

func (l *loader) add(p Problem) {
	l.faulty[p.Key] = true
	l.problems.add(p)
}

// cause records an error from below which is no fault of a value.
func (l *loader) cause(err error) {
	if err != nil {
		l.add(Problem{Source: "viper", Message: err.Error()})
		l.problems.causes = append(l.problems.causes, err)
	}
}

// readEnvironment takes the keys' variables and refuses unknown ones.
func (l *loader) readEnvironment() {
	known := map[string]bool{scriptPrefix: true}
	var names []string
	for _, k := range l.keys {
		name := k.variable()
		known[name] = true
		names = append(names, name)
		if value := l.env[name]; value != "" {
			l.given[k.path] = given{value, name}
		}
	}
	for _, name := range sortedKeys(l.env) {
		if !strings.HasPrefix(name, envPrefix) || known[name] || isServiceLink(name, l.env[name]) {
			continue
		}
		meant := suggest(name, names, "_")
		l.add(Problem{
			Key: name, Value: l.showUnknown(name, meant, l.env[name]), Source: "environment",
			Message: unknown("variable", meant),
			Allowed: envPrefix + " and a key's path with _ (redis.addresses: " + envPrefix + "REDIS_ADDRESSES)",
		})
	}
}

// showUnknown hides the value of what might be a misspelt password.
func (l *loader) showUnknown(name, meant string, value any) string {
	for _, k := range l.keys {
		if k.secret && (meant == k.path || meant == k.variable()) {
			return hidden
		}
	}
	name = strings.ToLower(name)
	if mayHoldSecret(name) || meant == "" && (strings.Contains(name, "auth") || strings.Contains(name, "key")) {
		return hidden
	}
	return show(value)
}

func unknown(what, meant string) string {
	if meant == "" {
		return "unknown " + what
	}
	return fmt.Sprintf("unknown %s; did you mean %s?", what, meant)
}

// sort puts problems into the order of the table: what has no place in it
// (a broken file, unknown keys) first.
func (l *loader) sort() {
	place := map[string]int{}
	for i, k := range l.keys {
		place[k.path] = i + 1
	}
	slices.SortStableFunc(l.problems.List, func(a, b Problem) int { return place[a.Key] - place[b.Key] })
}

func sortedKeys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
