package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pushpod/config"
)

// A local is the pod on this machine, as operators reach it: by admin.listen.
type local struct {
	file  string         // --config
	flags *pflag.FlagSet // one flag for each key

	// Static after open.
	cfg    config.Config // of which only localKeys are good
	urls   []string      // to try, one after the other
	client *http.Client
}

// localKeys say how a pod on this machine is reached.
func localKeys() []string {
	return []string{"admin.listen", "admin.tls", "admin.token", "tls.cert_file"}
}

// newLocal adds the flags that say where the pod is to the command.
func newLocal(cmd *cobra.Command) *local {
	l := &local{flags: pflag.NewFlagSet("keys", pflag.ContinueOnError)}
	config.AddFlags(l.flags)
	cmd.Flags().StringVar(&l.file, "config", "", "configuration file (YAML) of the pod")
	for _, key := range localKeys() {
		cmd.Flags().AddFlag(l.flags.Lookup(key))
	}
	return l
}

// open reads where the pod is. What is wrong with other keys is nobody's business here: a
// pod that runs is not to be called dead for it. trusting: by TLS whoever answers is
// taken for the pod; else it must show the certificate in tls.cert_file.
func (l *local) open(environ []string, trusting bool) (err error) {
	l.cfg, err = config.Load(config.LoadOptions{File: l.file, Flags: l.flags, Environ: environ, Only: localKeys()})
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(l.cfg.Admin.Listen)
	if err != nil {
		return usagef("admin.listen: %w", err)
	}
	if port == "0" {
		return usagef("admin.listen has port 0: which one the pod has got, only its log says")
	}
	scheme, transport := "http", &http.Transport{DisableKeepAlives: true} // no proxy: the pod is here
	if l.cfg.Admin.TLS {
		// The certificate is for the name by which others know the pod.
		t := &tls.Config{InsecureSkipVerify: true}
		if !trusting {
			t.VerifyConnection = isCertificateIn(l.cfg.TLS.CertFile)
		}
		scheme, transport.TLSClientConfig = "https", t
	}
	for _, h := range hostsHere(host) {
		l.urls = append(l.urls, scheme+"://"+net.JoinHostPort(h, port))
	}
	l.client = &http.Client{Transport: transport}
	return nil
}

// hostsHere are the hosts at which this machine reaches what listens at that one. An image
// of a container need not know what localhost is.
func hostsHere(host string) []string {
	ip, err := netip.ParseAddr(host)
	if host == "" || host == "localhost" || err == nil && ip.IsUnspecified() {
		return []string{"127.0.0.1", "::1"}
	}
	return []string{host}
}

// isCertificateIn holds a peer against the first certificate in a file.
func isCertificateIn(file string) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("tls.cert_file: %w", err)
		}
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			if block.Type == "CERTIFICATE" {
				if len(s.PeerCertificates) > 0 && bytes.Equal(block.Bytes, s.PeerCertificates[0].Raw) {
					return nil
				}
				break
			}
		}
		return fmt.Errorf("who answers does not show the certificate in tls.cert_file (%s)", file)
	}
}

// ask sends a request without a body. The caller closes the answer's.
func (l *local) ask(ctx context.Context, method, path string) (answer *http.Response, err error) {
	for i, url := range l.urls {
		var r *http.Request
		if r, err = http.NewRequestWithContext(ctx, method, url+path, http.NoBody); err != nil {
			return nil, err
		}
		r.Header.Set("Accept", "application/json")
		if method != http.MethodGet && l.cfg.Admin.Token != "" {
			r.Header.Set("Authorization", "Bearer "+string(l.cfg.Admin.Token))
		}
		if answer, err = l.client.Do(r); err == nil || !notDialled(err) || i == len(l.urls)-1 {
			break
		}
	}
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("no answer from the pod at admin.listen (%s) in time", l.cfg.Admin.Listen)
	case notDialled(err):
		return nil, fmt.Errorf("no pod listens at admin.listen (%s) on this machine: %w", l.cfg.Admin.Listen, err)
	}
	return nil, fmt.Errorf("ask the pod at admin.listen: %w", err)
}
