//go:build linux

package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// parsed is a frame that outlives the parser.
type parsed struct {
	op   byte
	head string // at most maxControl bytes
}

// parseAll feeds a stream in pieces of a size.
func parseAll(t *testing.T, stream []byte, size int) []parsed {
	t.Helper()
	var p parser
	var all []parsed
	for piece := range slices.Chunk(stream, size) {
		for in := piece; len(in) > 0; {
			f, rest, ok, err := p.next(in)
			if err != nil {
				t.Fatalf("pieces of %d bytes: %v", size, err)
			}
			if !ok {
				break
			}
			all = append(all, parsed{f.op, string(f.head[:min(len(f.head), maxControl)])})
			in = rest
		}
	}
	return all
}

func TestFramesAreFoundHoweverTheyAreCut(t *testing.T) {
	var stream []byte
	var want []parsed
	for _, n := range []int{0, 1, 125, 126, 127, 300, 65535, 65536, 70000} {
		payload := strings.Repeat("x", n)
		stream = appendServerFrame(stream, opText, []byte(payload))
		want = append(want, parsed{opText, payload[:min(n, maxControl)]})
		stream = appendServerFrame(stream, opPing, []byte("are you there"))
		want = append(want, parsed{opPing, "are you there"})
	}
	for _, size := range []int{1, 2, 3, 7, 127, 4096, len(stream)} {
		if got := parseAll(t, stream, size); !slices.Equal(got, want) {
			t.Errorf("pieces of %d bytes: got %d frames, want %d, or others", size, len(got), len(want))
		}
	}
}

func TestFramesThatNoServerMaySendAreRefused(t *testing.T) {
	for name, b := range map[string][]byte{
		"masked":             appendClientFrame(nil, opText, []byte("x")),
		"long ping":          appendServerFrame(nil, opPing, make([]byte, 126)),
		"fragment of a ping": {opPing, 0},
	} {
		var p parser
		if _, _, _, err := p.next(b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAnyBytesAreParsedWithoutPanic(t *testing.T) {
	for first := range 256 {
		for second := range 256 {
			var p parser
			b := append([]byte{byte(first), byte(second)}, bytes.Repeat([]byte{0xff}, 20)...)
			for in := b; len(in) > 0; {
				_, rest, ok, err := p.next(in)
				if !ok || err != nil {
					break
				}
				in = rest
			}
		}
	}
}

func TestAnswersOfManyPiecesAndRefusals(t *testing.T) {
	if _, ok, err := takeAnswer([]byte(bareAnswer[:40])); ok || err != nil {
		t.Errorf("half an answer: ok %v, err %v, want to wait", ok, err)
	}
	rest, ok, err := takeAnswer([]byte(bareAnswer + "behind"))
	if !ok || err != nil || string(rest) != "behind" {
		t.Errorf("an answer: rest %q, ok %v, err %v", rest, ok, err)
	}
	_, _, err = takeAnswer([]byte("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"error\":\"unavailable\"}"))
	if err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "unavailable") {
		t.Errorf("a refusal: %v, want the status and the body in it", err)
	}
	if _, _, err := takeAnswer([]byte("HTTP/1.1 101 Switching Protocols\r\n\r\n")); err == nil {
		t.Error("an answer without Sec-WebSocket-Accept: no error")
	}
	if _, _, err := takeAnswer(make([]byte, maxAnswer+1)); err == nil {
		t.Error("an answer without an end: no error")
	}
}
