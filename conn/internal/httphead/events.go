package httphead

// AppendEvents appends the head of the answer to a request for server-sent events, which
// go on until the connection ends. Pages of the origin may read them; "" is none.
func AppendEvents(dst []byte, origin string) []byte {
	// X-Accel-Buffering is for nginx, and what has learned it from there; no-transform for
	// proxies that would compress, and so hold back.
	dst = append(dst, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store, no-transform\r\nVary: Origin\r\n"+
		"X-Accel-Buffering: no\r\nConnection: close"...)
	return append(appendReaders(dst, origin), "\r\n\r\n"...)
}

// appendReaders appends that pages of the origin may read the answer (the CORS protocol
// of the Fetch standard); "" is none.
func appendReaders(dst []byte, origin string) []byte {
	if origin == "" {
		return dst
	}
	dst = append(dst, "\r\nAccess-Control-Allow-Origin: "...)
	dst = append(dst, origin...)
	return append(dst, "\r\nAccess-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: Retry-After"...)
}

// appendPreflight appends that pages of the origin may ask for events with a token in
// Authorization, about which a browser asks before.
func appendPreflight(dst []byte, origin string) []byte {
	dst = append(dst, "HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\nVary: Origin\r\nConnection: close\r\n"+
		"Access-Control-Allow-Methods: GET\r\nAccess-Control-Allow-Headers: Authorization, Last-Event-ID\r\nAccess-Control-Max-Age: 600"...)
	return append(appendReaders(dst, origin), "\r\n\r\n"...)
}
