package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pushpod/auth"
	"pushpod/config"
	"pushpod/presence"
)

type tokenOptions struct {
	file   string
	ttl    time.Duration
	claims []string // name=value
	asJSON bool
}

func (d deps) newTokenCommand() *cobra.Command {
	var o tokenOptions
	cmd := &cobra.Command{
		Use:   "token USER",
		Short: "Make a token with which a client connects as USER, for trying out",
		Long: `Make a token with which a client connects as USER, for trying out. It is signed
with auth.hmac_secret, by HS256, and has the claims sub, iat and exp, and iss and
aud where auth.issuer and auth.audience are given.

A value of --claim is JSON where it can be read as that, else text:
    pushpod token alice --claim jti=7f3a --claim 'topics=["news"]'`,
		Args: userArg,
	}
	cmd.Flags().StringVar(&o.file, "config", "", "configuration file (YAML) that holds auth.hmac_secret")
	cmd.Flags().DurationVar(&o.ttl, "ttl", time.Hour, "how long the token is good, in whole seconds")
	cmd.Flags().StringArrayVar(&o.claims, "claim", nil, "one more claim, NAME=VALUE; it may be given several times")
	jsonFlag(cmd, &o.asJSON)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return d.token(cmd, o, args[0]) }
	return cmd
}

func userArg(cmd *cobra.Command, args []string) error {
	if err := exactArgs("USER")(cmd, args); err != nil {
		return err
	}
	if err := presence.ValidUser(args[0]); err != nil {
		return &usageError{Err: err}
	}
	return nil
}

func (d deps) token(cmd *cobra.Command, o tokenOptions, user string) error {
	flags := pflag.NewFlagSet("keys", pflag.ContinueOnError)
	config.AddFlags(flags)
	if err := noPod(flags); err != nil {
		return err
	}
	cfg, err := config.Load(config.LoadOptions{File: o.file, Flags: flags, Environ: d.environ()})
	if err != nil {
		return err
	}
	if cfg.Auth.HMACSecret == "" {
		return usagef("token: auth.hmac_secret is not given; it signs the token (PUSHPOD_AUTH_HMAC_SECRET, or --config FILE)")
	}
	expires := time.Now().Add(o.ttl)
	claims, err := o.all(user, expires, cfg.Auth)
	if err != nil {
		return err
	}
	token, err := auth.Issue(auth.Secret(cfg.Auth.HMACSecret), claims)
	switch {
	case err != nil:
		return err
	case o.asJSON:
		return writeJSON(cmd.OutOrStdout(), struct {
			Token   string `json:"token"`
			Expires int64  `json:"expires"` // Unix seconds
		}{token, expires.Unix()})
	}
	return writeLine(cmd.OutOrStdout(), "%s", token)
}

// all are the claims of a token; those that were given by name win.
func (o tokenOptions) all(user string, expires time.Time, cfg config.Auth) (map[string]any, error) {
	claims := map[string]any{"sub": user, "iat": time.Now().Unix(), "exp": expires.Unix()}
	if cfg.Issuer != "" {
		claims["iss"] = cfg.Issuer
	}
	if len(cfg.Audience) > 0 {
		claims["aud"] = cfg.Audience[0]
	}
	for _, c := range o.claims {
		name, value, ok := strings.Cut(c, "=")
		if !ok || name == "" {
			return nil, usagef("token: --claim %q is not NAME=VALUE", c)
		}
		if slices.Contains([]string{"sub", "exp"}, name) {
			return nil, usagef("token: --claim %s: USER and --ttl say that", name)
		}
		if claims[name] = json.RawMessage(value); !json.Valid([]byte(value)) {
			claims[name] = value
		}
	}
	return claims, nil
}
