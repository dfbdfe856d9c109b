package tlsloop

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"reflect"
	"testing"
	"unsafe"
)

const (
	recordData = 23
	keyUpdate  = 24
)

// sealer makes a client's records from where its tls.Conn has got to: crypto/tls lets
// no client renegotiate or change its keys.
type sealer struct {
	t        *testing.T
	seq      uint64
	explicit bool // TLS 1.2: the nonce goes with the record
	secret   []byte
	aead     cipher.AEAD
	iv       []byte
}

// newSealer takes over from c, which must not write any more.
func newSealer(t *testing.T, c *tls.Conn) *sealer {
	out := reflect.ValueOf(c).Elem().FieldByName("out")
	field := func(name string) reflect.Value {
		f := out.FieldByName(name)
		if !f.IsValid() {
			t.Skip("crypto/tls is another one inside")
		}
		return reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem()
	}
	seq := field("seq").Interface().([8]byte)
	s := &sealer{t: t, seq: binary.BigEndian.Uint64(seq[:])}
	switch c.ConnectionState().CipherSuite {
	case tls.TLS_AES_128_GCM_SHA256:
		s.setSecret(field("trafficSecret").Interface().([]byte))
	case tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:
		s.aead, s.explicit = field("cipher").Interface().(cipher.AEAD), true
	default:
		t.Skip("another cipher suite")
	}
	return s
}

// setSecret sets the keys (RFC 8446 section 7.3).
func (s *sealer) setSecret(secret []byte) {
	s.secret = secret
	block, err := aes.NewCipher(s.expand("key", 16))
	if err != nil {
		s.t.Fatal(err)
	}
	if s.aead, err = cipher.NewGCM(block); err != nil {
		s.t.Fatal(err)
	}
	s.iv = s.expand("iv", 12)
}

// expand is HKDF-Expand-Label without a context.
func (s *sealer) expand(label string, n int) []byte {
	label = "tls13 " + label
	info := append([]byte{0, byte(n), byte(len(label))}, label...)
	b, err := hkdf.Expand(sha256.New, s.secret, string(append(info, 0)), n)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// record makes a record.
func (s *sealer) record(kind byte, b []byte) []byte {
	var seq [8]byte
	binary.BigEndian.PutUint64(seq[:], s.seq)
	s.seq++
	if s.explicit { // RFC 5246 section 6.2.3.3, RFC 5288
		head := []byte{kind, 3, 3, 0, byte(len(b))}
		sealed := s.aead.Seal(nil, seq[:], b, append(seq[:], head...))
		head[4] = byte(8 + len(sealed))
		return append(append(head, seq[:]...), sealed...)
	}
	nonce := append([]byte(nil), s.iv...)
	for i := range seq {
		nonce[4+i] ^= seq[i]
	}
	inner := append(append([]byte(nil), b...), kind)
	head := []byte{recordData, 3, 3, 0, byte(len(inner) + s.aead.Overhead())}
	return s.aead.Seal(head, nonce, inner, head)
}

// updateKeys makes a KeyUpdate that asks for one, and goes on with the next keys
// (RFC 8446 sections 4.6.3 and 7.2).
func (s *sealer) updateKeys() []byte {
	r := s.record(recordHandshake, []byte{keyUpdate, 0, 0, 1, 1})
	s.setSecret(s.expand("traffic upd", sha256.Size))
	s.seq = 0
	return r
}
