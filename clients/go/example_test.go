package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	client "pushpod/clients/go"
)

// A user connects, asks the backend something, and takes the answer when it is pushed.
func Example() {
	pod := httptest.NewServer(http.HandlerFunc(playPod)) // in life: pushpod serve
	defer pod.Close()

	answers := make(chan client.Message)
	c, err := client.New(client.Options{
		URL:       "ws" + strings.TrimPrefix(pod.URL, "http") + "/ws",
		User:      "alice",
		OnMessage: func(m client.Message) { answers <- m },
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()

	if err := c.Request(ctx, []byte(`{"ask":"the time"}`)); err != nil {
		log.Fatal(err)
	}
	fmt.Println("the backend has the request")
	fmt.Printf("answer: %s\n", (<-answers).Data)

	cancel()
	fmt.Println("ended:", <-ended)
	// Output:
	// the backend has the request
	// answer: "noon"
	// ended: context canceled
}

// A pod that leaves hands its connections over: the page shows the user as connected all the while.
func Example_handover() {
	var connections atomic.Int32
	pod := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			log.Print(err)
			return
		}
		defer conn.Close()
		n := connections.Add(1)
		if n == 2 {
			fmt.Println("replaces", r.URL.Query().Get("replaces"))
		}
		_ = wsutil.WriteServerText(conn, fmt.Appendf(nil, `{"type":"welcome","uuid":"018f-%d","user":"alice","ping":25,"max_message":65536,"time":0}`, n))
		if n == 1 {
			_ = wsutil.WriteServerText(conn, []byte(`{"type":"goaway","within_ms":3000}`))
		}
		_, _ = wsutil.ReadClientText(conn) // answers the close frame
	}))
	defer pod.Close()

	var c *client.Client
	c, err := client.New(client.Options{
		URL:  "ws" + strings.TrimPrefix(pod.URL, "http") + "/ws",
		User: "alice",
		OnConnect: func(w client.Welcome) {
			fmt.Println("connected:", w.UUID)
			if w.UUID == "018f-2" {
				c.Close()
			}
		},
		OnDisconnect: func(err error) {
			if errors.Is(err, client.ErrHandover) {
				return // another connection is there, and nothing was missed
			}
			fmt.Println("not connected, what was shown may be out of date:", err)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ended:", c.Run(context.Background()))
	// Output:
	// connected: 018f-1
	// replaces 018f-1
	// connected: 018f-2
	// not connected, what was shown may be out of date: context canceled
	// ended: <nil>
}

// playPod answers one request and one close frame.
func playPod(w http.ResponseWriter, r *http.Request) {
	conn, _, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		log.Print(err)
		return
	}
	defer conn.Close()
	_ = wsutil.WriteServerText(conn, []byte(`{"type":"welcome","uuid":"018f-1","user":"alice","ping":25,"max_message":65536,"time":0}`))
	request, err := wsutil.ReadClientText(conn)
	if err != nil {
		log.Print(err)
		return
	}
	_, id, _ := strings.Cut(string(request), `"id":"`)
	id, _, _ = strings.Cut(id, `"`)
	_ = wsutil.WriteServerText(conn, []byte(`{"type":"receipt","id":"`+id+`","status":"accepted"}`))
	_ = wsutil.WriteServerText(conn, []byte(`{"type":"message","data":"noon"}`))
	_, _ = wsutil.ReadClientText(conn) // answers the close frame
}
