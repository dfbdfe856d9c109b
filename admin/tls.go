package admin

import "crypto/tls"

// tlsConfig asks current for the configuration of each connection; nil: there is none.
func tlsConfig(current func() *tls.Config) *tls.Config {
	if current == nil {
		return nil
	}
	return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return current(), nil }}
}
