package client_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

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
