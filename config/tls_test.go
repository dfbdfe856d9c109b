package config

import "testing"

func TestTLSNeedsACertificateAndItsKey(t *testing.T) {
	const cert, key, ca = "PUSHPOD_TLS_CERT_FILE=pod.crt", "PUSHPOD_TLS_KEY_FILE=pod.key", "PUSHPOD_TLS_CLIENT_CA_FILE=ca.crt"
	for _, c := range []struct {
		environ []string
		holds   []string
	}{
		{[]string{cert}, []string{"tls.key_file", "no key", "the key of tls.cert_file"}},
		{[]string{key}, []string{"tls.key_file", `"pod.key"`, "no certificate", "tls.cert_file"}},
		{[]string{ca}, []string{"tls.client_ca_file", `"ca.crt"`, "no TLS", "tls.cert_file"}},
		{[]string{"PUSHPOD_ADMIN_TLS=on"}, []string{"admin.tls", "no certificate", "tls.cert_file"}},
	} {
		wantOneProblem(t, LoadOptions{Environ: c.environ}, c.holds...)
	}
	got := wantLoaded(t, LoadOptions{Environ: []string{cert, key, ca, "PUSHPOD_ADMIN_TLS=on"}})
	if got.TLS != (TLS{"pod.crt", "pod.key", "ca.crt"}) || !got.Admin.TLS {
		t.Errorf("%+v %+v", got.TLS, got.Admin)
	}
}
