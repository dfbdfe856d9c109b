package httphead

import (
	"crypto/sha1"
	"encoding/base64"
)

const (
	keySize = 24 // of a Sec-WebSocket-Key

	// guid stands behind the client's key in what the answer proves (RFC 6455
	// section 1.3).
	guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
)

// AppendUpgrade appends the answer 101 to a request with this key, which is a
// [Request.Key] (RFC 6455 section 4.2.2).
func AppendUpgrade(dst []byte, key string, subprotocol bool) []byte {
	var proof [keySize + len(guid)]byte
	copy(proof[copy(proof[:keySize], key):], guid)
	sum := sha1.Sum(proof[:])
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = base64.StdEncoding.AppendEncode(dst, sum[:])
	if subprotocol {
		dst = append(dst, "\r\nSec-WebSocket-Protocol: "+Subprotocol...)
	}
	return append(dst, "\r\n\r\n"...)
}

func validKey(key string) bool {
	var nonce [keySize / 4 * 3]byte
	if len(key) != keySize {
		return false
	}
	n, err := base64.StdEncoding.Decode(nonce[:], []byte(key))
	return err == nil && n == 16
}
