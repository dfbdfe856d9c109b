package cli

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/spf13/pflag"
)

// tlsOptions say how a command speaks TLS.
type tlsOptions struct{ caFile, certFile, keyFile string }

func (o *tlsOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.caFile, "ca-file", "", "for wss://: authorities to trust in place of the system's (PEM); a pod's own certificate, where it signs itself")
	f.StringVar(&o.certFile, "cert-file", "", "for wss://: certificate to show, where the pod asks for one (tls.client_ca_file), with --key-file")
	f.StringVar(&o.keyFile, "key-file", "", "key of --cert-file")
}

// config returns nil where Go's defaults will do.
func (o *tlsOptions) config() (*tls.Config, error) {
	if *o == (tlsOptions{}) {
		return nil, nil
	}
	c := &tls.Config{}
	if o.caFile != "" {
		b, err := os.ReadFile(o.caFile)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("--ca-file: there is no certificate in PEM in %s", o.caFile)
		}
	}
	if o.certFile != "" || o.keyFile != "" {
		pair, err := tls.LoadX509KeyPair(o.certFile, o.keyFile)
		if err != nil {
			return nil, fmt.Errorf("--cert-file %q and --key-file %q: %w", o.certFile, o.keyFile, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
