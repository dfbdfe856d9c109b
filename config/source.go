package config

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync/atomic"

	"pushpod/internal/filewatch"
)

// Source is where a pod's configuration comes from, and is read again. What the process
// was given as flags and environment stays as it was, and goes on to win over the file.
type Source struct {
	// Static.
	o        LoadOptions
	files    *filewatch.Files // nil: there is nothing to read again
	unread   string           // why
	readings chan Reading

	asked atomic.Bool // Again was called, and no reading has told so

	// Owned by Run.
	text []byte          // that was read last
	done <-chan struct{} // Run's context has ended
}

// Reading is what was found when the file was read again.
type Reading struct {
	Loaded
	Asked bool // it was read because Again was called, whether or not it has changed
}

// Open loads the configuration as Load does, and returns where it comes from.
func Open(o LoadOptions) (*Source, Config, error) {
	s := &Source{o: o, readings: make(chan Reading)}
	if o.File == "" {
		s.unread = "the pod was started without --config; flags and environment do not change while it runs"
		c, err := Load(o)
		return s, c, err
	}
	text, err := filewatch.Read(o.File)
	if err != nil {
		c, err := Load(o) // says why
		return s, c, err
	}
	l := load(o, text)
	s.text = text
	if info, err := os.Stat(o.File); err == nil && !info.Mode().IsRegular() {
		s.unread = o.File + " is no regular file, and can be read once only" // a pipe: empty from now on
		return s, l.config, l.err
	}
	s.files = filewatch.From(filewatch.Options{Paths: []string{o.File}, Apply: s.apply, Log: s.failed}, [][]byte{text})
	return s, l.config, l.err
}

// File is the file's name; "": there is none.
func (s *Source) File() string { return s.o.File }

// Again has the file read again, soon, and a Reading told whether it has changed or not.
// Where there is nothing to read, the error says why. It does not wait, and may be called
// from any goroutine.
func (s *Source) Again() error {
	if s.files == nil {
		return errors.New(s.unread)
	}
	s.asked.Store(true)
	s.files.Again()
	return nil
}

// Readings tells what was read, while Run runs: after Again, and when the text of the file
// has changed and then stood still for a second. A file that is written anew with the same
// text has not changed.
func (s *Source) Readings() <-chan Reading { return s.readings }

// Run reads the file again until ctx ends. Its caller waits for it.
func (s *Source) Run(ctx context.Context) {
	if s.files == nil {
		return
	}
	s.done = ctx.Done()
	s.files.Run(ctx)
}

// apply tells what stands in the file. It refuses nothing: who hears of it judges.
func (s *Source) apply(contents [][]byte) error {
	text := contents[0]
	if len(bytes.TrimSpace(text)) == 0 && len(bytes.TrimSpace(s.text)) > 0 {
		// A full disk leaves such a file, and all limits and keys would be gone.
		l := newLoader(nil)
		l.add(Problem{Source: s.o.File, Message: "is empty now", Allowed: "keys, or a comment alone, which says that all keys are to have their defaults"})
		s.tell(l.loaded(Config{}))
		return nil
	}
	s.text = text
	s.tell(load(s.o, text))
	return nil
}

// failed tells why the file can't be read.
func (s *Source) failed(err error) {
	if err == nil {
		return
	}
	l := newLoader(nil)
	l.unreadable(s.o.File, err)
	s.tell(l.loaded(Config{}))
}

func (s *Source) tell(l Loaded) {
	select {
	case s.readings <- Reading{Loaded: l, Asked: s.asked.Swap(false)}:
	case <-s.done:
	}
}

// Over says what becomes of a pod that runs with a configuration where this one takes its
// place: which keys change, and what the pod has then, which keeps the values of those that
// need a restart. Where anything is wrong, by itself or together with what can't change, the
// error is a *Problems, and nothing is to change.
func (l Loaded) Over(running Config) (now Config, changes []Change, err error) {
	if l.err != nil {
		return running, nil, l.err
	}
	changes = Diff(running, l.config)
	now = l.config
	check := newLoader(nil)
	for path, g := range l.given {
		check.given[path] = g
	}
	for _, k := range check.keys {
		if k.restart() {
			if !k.same(&now, &running) {
				check.given[k.path] = given{k.text(&running), "as the pod runs; another value needs a restart"}
			}
			k.copy(&now, &running)
		}
	}
	check.check(now)
	if err := check.loaded(now).err; err != nil {
		return running, changes, err
	}
	return now, changes, nil
}
