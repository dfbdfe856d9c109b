package config

// checkTLS refuses what would be left unused without a word.
func (l *loader) checkTLS(c Config) {
	t := c.TLS
	if !l.sound("tls.cert_file", "tls.key_file", "tls.client_ca_file", "admin.tls") {
		return
	}
	if t.CertFile != "" && t.KeyFile == "" {
		l.conflict("tls.key_file", "there is no key to the certificate", "the key of tls.cert_file")
	}
	if t.CertFile != "" {
		return
	}
	const allowed = "only together with tls.cert_file"
	if t.KeyFile != "" {
		l.conflict("tls.key_file", "there is no certificate that it belongs to", allowed)
	}
	if t.ClientCAFile != "" {
		l.conflict("tls.client_ca_file", "clients can show no certificate where listen speaks no TLS", allowed)
	}
	if c.Admin.TLS {
		l.conflict("admin.tls", "there is no certificate", allowed)
	}
}
