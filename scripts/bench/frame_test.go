//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestFramesAreTakenOnceTheyAreWhole(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536} {
		want := strings.Repeat("x", n)
		stream := appendServerFrame(nil, opText, []byte(want))
		for _, cut := range []int{0, 1, 2, 3, 9, 10, len(stream) - 1} {
			cut = min(cut, len(stream)-1)
			if _, _, rest, ok, err := takeFrame(stream[:cut]); ok || err != nil || len(rest) != cut {
				t.Errorf("%d bytes, cut at %d: ok %v, %v, %d bytes left; want to wait", n, cut, ok, err, len(rest))
			}
		}
		op, payload, rest, ok, err := takeFrame(append(stream, "next"...))
		if op != opText || string(payload) != want || string(rest) != "next" || !ok || err != nil {
			t.Errorf("%d bytes: op %d, %d bytes, rest %q, ok %v, %v", n, op, len(payload), rest, ok, err)
		}
	}
}

func TestFramesThatNoServerMaySendAreRefused(t *testing.T) {
	for name, b := range map[string][]byte{
		"masked":             appendClientFrame(nil, opText, []byte("x")),
		"long ping":          appendServerFrame(nil, opPing, make([]byte, 126)),
		"fragment of a ping": {opPing, 0},
	} {
		if _, _, _, ok, err := takeFrame(b); ok || err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAnyBytesAreTakenWithoutPanic(t *testing.T) {
	for first := range 256 {
		for second := range 256 {
			takeFrame(append([]byte{byte(first), byte(second)}, bytes.Repeat([]byte{0xff}, 20)...))
		}
	}
}

func TestAnswersOfManyPiecesAndRefusals(t *testing.T) {
	if rest, ok, err := takeAnswer([]byte(bareAnswer[:40])); ok || err != nil || len(rest) != 40 {
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
