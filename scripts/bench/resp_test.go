//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"
)

func TestRepliesAreFoundHoweverTheyAreCut(t *testing.T) {
	for text, want := range map[string][]string{
		"+PONG\r\n":                         {"PONG"},
		"-ERR no\r\n":                       {"ERR no"},
		":42\r\n":                           nil,
		"$3\r\na\r\n\r\n":                   {"a\r\n"},
		"$-1\r\n":                           {""},
		"*0\r\n":                            nil,
		"*-1\r\n":                           nil,
		"*3\r\n$1\r\na\r\n:7\r\n$-1\r\n":    {"a", "7", ""},
		"*2\r\n$2\r\nu1\r\n$5\r\npod:1\r\n": {"u1", "pod:1"},
		"*3\r\n$7\r\nmessage\r\n$0\r\n\r\n+x\r\n": {"message", "", "x"},
	} {
		var r reply
		for cut := range text {
			if n, err := parseReply([]byte(text[:cut]), &r); n != 0 || err != nil {
				t.Errorf("%q cut at %d: took %d, %v; want to wait", text, cut, n, err)
			}
		}
		n, err := parseReply([]byte(text+"+NEXT\r\n"), &r)
		var got []string
		for _, f := range r.fields {
			got = append(got, string(f))
		}
		if n != len(text) || err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: took %d, fields %q, %v; want %d, %q", text, n, got, err, len(text), want)
		}
	}
}

func TestRepliesThatAreNoneAreErrors(t *testing.T) {
	for _, text := range []string{
		"HTTP/1.1 400\r\n", "\r\n", "\n", ":x\r\n", "$x\r\n", "$9999999999\r\n", "*9999999999\r\n",
		"*1\r\n*1\r\n", "*1\r\n$x\r\n", "+" + strings.Repeat("x", maxReply+1),
	} {
		var r reply
		if _, err := parseReply([]byte(text), &r); err == nil {
			t.Errorf("%.20q: no error", text)
		}
	}
}

func TestAnErrorReplySaysWhatWasAskedAndAnswered(t *testing.T) {
	var r reply
	if _, err := parseReply([]byte("-NOAUTH Authentication required.\r\n"), &r); err != nil {
		t.Fatal(err)
	}
	if err := r.err("PING"); err == nil || !strings.Contains(err.Error(), "PING") || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("error %v", err)
	}
}
