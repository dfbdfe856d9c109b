package redistest_test

import (
	"io"
	"testing"
	"time"

	"pushpod/internal/redistest"
)

func TestLatePassesAllBytesOnAfterAWait(t *testing.T) {
	t.Parallel()
	const wait = 50 * time.Millisecond
	conn := dial(t, redistest.Late(t, echo(t), wait))
	start := time.Now()
	for range 100 {
		if _, err := conn.Write([]byte("0123456789")); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, 1000)
	if _, err := io.ReadFull(conn, got[:1]); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 2*wait {
		t.Errorf("the first byte was back after %v, want %v at least", took, 2*wait)
	}
	if _, err := io.ReadFull(conn, got[1:]); err != nil {
		t.Fatal(err)
	}
	for i, b := range got {
		if b != "0123456789"[i%10] {
			t.Fatalf("byte %d is %q", i, b)
		}
	}
}
