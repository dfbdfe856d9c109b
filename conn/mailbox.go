package conn

import (
	"sync"
	"sync/atomic"
	"time"
)

// mailbox takes messages to a loop that is at work on another core, in order:
// the Deliverer must not wait while a loop is locked for a slice of a fan-out.
// Where there is one loop only, none is needed.
type mailbox struct {
	busy atomic.Bool // the loop's sweeper is at work

	mu   sync.Mutex // protects following; held for an append or a swap
	post post

	// Under the loop's lock: what was taken out, and is not queued yet.
	hand post
	at   int
}

// post is messages to connections, and the texts of those that are plain.
type post struct {
	letters []letter
	texts   []byte
}

func (p post) trimmed() post { return post{trimmed(p.letters), trimmed(p.texts)} }

// letter is a message to c, or to all where there is no c; without m it is
// plain, and its text ends at the byte end of texts.
type letter struct {
	c   *Conn
	m   *Message
	at  int64
	end int
}

func (l *Loop) put(c *Conn, m *Message) {
	l.backlog.Add(int64(len(m.frame)))
	b := &l.box
	b.mu.Lock()
	defer b.mu.Unlock()
	b.post.letters = append(b.post.letters, letter{c: c, m: m, end: len(b.post.texts)})
}

func (l *Loop) putPlain(c *Conn, head, body []byte, tail byte, at int64) {
	l.backlog.Add(int64(len(head) + len(body) + 1))
	b := &l.box
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &b.post
	p.texts = append(append(append(p.texts, head...), body...), tail)
	p.letters = append(p.letters, letter{c: c, at: at, end: len(p.texts)})
}

func (b *mailbox) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.post.letters)
}

// collect queues letters: most of them at most. The loop is locked.
func (l *Loop) collect(most int) (left bool) {
	b := &l.box
	for ; most > 0; most-- {
		if b.at == len(b.hand.letters) {
			clear(b.hand.letters)
			b.hand.letters, b.hand.texts, b.at = b.hand.letters[:0], b.hand.texts[:0], 0
			b.mu.Lock()
			b.hand, b.post = b.post, b.hand
			b.mu.Unlock()
			if len(b.hand.letters) == 0 {
				return false
			}
		}
		from := 0
		if b.at > 0 {
			from = b.hand.letters[b.at-1].end
		}
		x := &b.hand.letters[b.at]
		b.at++
		switch {
		case x.m == nil:
			text := b.hand.texts[from:x.end]
			x.c.plain(nil, text[:len(text)-1], text[len(text)-1], x.at)
			x.c.soil()
		case x.c != nil:
			x.c.enqueue(x.m)
			x.c.soil()
		default:
			l.log.append(x.m)
		}
	}
	return true
}

// trim gives up room that is not in use. The loop is locked.
func (b *mailbox) trim() {
	if b.at == len(b.hand.letters) {
		clear(b.hand.letters)
		b.hand, b.at = post{b.hand.letters[:0], b.hand.texts[:0]}.trimmed(), 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.post = b.post.trimmed()
}

// sweeper brings out what the Deliverer has put into the loop's mailbox, on
// another core than the Deliverer's.
func (s *Server) sweeper(l *Loop) {
	for {
		select {
		case <-l.wake:
		case <-s.closing:
			return
		}
		l.box.busy.Store(true)
		for l.sweep(sliceWrites) {
			if rest := l.rest(); rest > 0 && l.box.waiting() == 0 {
				time.Sleep(min(rest, time.Millisecond))
			}
		}
		l.box.busy.Store(false)
		// What was put in since then may have been left to us.
		if l.box.waiting() > 0 {
			l.wakeSweeper()
		}
	}
}

func (l *Loop) wakeSweeper() {
	select {
	case l.wake <- struct{}{}:
	default: // it is awake
	}
}
