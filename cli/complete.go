package cli

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pushpod/config"
	"pushpod/conformance"
	"pushpod/presence"
)

// What a completion may cost the one who waits for it, and Redis. Beyond these it offers
// what it has found, or nothing.
const (
	completionTime = 500 * time.Millisecond
	completionScan = 1000 // keys that one SCAN looks at
	completionMost = 50   // SCANs of each master
	completionWide = 200  // users that are offered
)

// addCompletion says how the arguments and flags of commands are completed in a shell.
// Users, connections and pods come from Redis, where it is reachable at once: found by the
// flags that stand on the line already, the file and the environment, as the command itself
// finds it. Where it is not, there are none, and nothing is said.
func (d deps) addCompletion(commands []*cobra.Command) {
	for _, c := range commands {
		d.addCompletion(c.Commands())
		switch c.Name() {
		case "push":
			c.ValidArgsFunction = d.completePush
			register(c, "to", d.completeUUID)
		case "kick", "presence", "token":
			c.ValidArgsFunction = d.completeUser
		case "connect":
			c.ValidArgsFunction = d.completeUser
			register(c, "url", d.completeURL)
			register(c, "ping", cobra.FixedCompletions([]string{"app", "app,15"}, cobra.ShellCompDirectiveNoFileComp))
		case "top":
			c.ValidArgsFunction = d.completePod
			register(c, "sort", cobra.FixedCompletions(topOrders(), cobra.ShellCompDirectiveNoFileComp))
		case "conformance":
			register(c, "rule", completeRules)
			c.ValidArgsFunction = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault) // a command of the client's
		case "check", "diff":
			c.ValidArgsFunction = completeFile
		case "man":
			register(c, "dir", completeDirectory)
		}
		CompleteFlags(c)
	}
}

// CompleteFlags says how what is like everywhere is completed: the values of flags named
// like keys of the configuration, which file --config is, and that arguments are no files.
// It keeps what has been said before. Call it once the command has its flags.
func CompleteFlags(c *cobra.Command) {
	if c.ValidArgsFunction == nil {
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if _, said := c.GetFlagCompletionFunc(f.Name); said {
			return
		}
		switch {
		case f.Name == "config":
			register(c, f.Name, completeFile)
		case strings.HasSuffix(f.Name, "_file"), strings.HasSuffix(f.Name, "-file"): // any file
		default:
			register(c, f.Name, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
				return config.Words(f.Name), cobra.ShellCompDirectiveNoFileComp
			})
		}
	})
}

// register fails only for a flag that the command lacks, or that was registered before.
func register(c *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := c.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic("cli: " + err.Error())
	}
}

// completeFile leaves it to the shell, which knows the files.
func completeFile(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

func completeDirectory(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// completeRules offers the rules that the list does not have yet.
func completeRules(_ *cobra.Command, _ []string, start string) (list []string, _ cobra.ShellCompDirective) {
	given := ""
	if i := strings.LastIndexByte(start, ','); i >= 0 {
		given = start[:i+1]
	}
	for _, r := range conformance.Rules() {
		if strings.HasPrefix(given+r.Rule, start) && !slices.Contains(strings.Split(given, ","), r.Rule) {
			list = append(list, cobra.CompletionWithDesc(given+r.Rule, r.About))
		}
	}
	return list, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func (d deps) completeUser(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return d.fromRedis(cmd, func(ctx context.Context, s *server) []string { return s.usersLike(ctx, start) })
}

// completePush offers users, and behind the JSON the names of pairs.
func (d deps) completePush(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	pairs := 2 // where they begin
	if cmd.Flags().Changed("all") || cmd.Flags().Changed("to") && len(args) > 0 && json.Valid([]byte(args[0])) {
		pairs = 1
	}
	switch {
	case len(args) == 0 && pairs == 2:
		return d.completeUser(cmd, args, start)
	case len(args) < pairs || (len(args)-pairs)%2 == 1:
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, name := range []string{"id\tyour name for the message", "ttl\tms from now", "expires\tUnix ms", "collapse\tkey"} {
		word, _, _ := strings.Cut(name, "\t")
		if strings.HasPrefix(word, start) && !slices.Contains(args[pairs:], word) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeUUID offers the connections of the user who stands on the line.
func (d deps) completeUUID(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 || presence.ValidUser(args[0]) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return d.fromRedis(cmd, func(ctx context.Context, s *server) (uuids []string) {
		found, _ := presence.Lookup(ctx, s.redis, s.keys, args[0]) // without an answer there is none
		for _, l := range found {
			if uuid := presence.FormatUUID(l.UUID); strings.HasPrefix(uuid, start) {
				uuids = append(uuids, cobra.CompletionWithDesc(uuid, shown(podName(s.address(l.Channel), l.Channel))))
			}
		}
		return uuids
	})
}

func (d deps) completePod(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	return d.fromRedis(cmd, func(ctx context.Context, s *server) []string {
		return slices.DeleteFunc(s.podsLike(ctx, "", start, ""), func(pod string) bool {
			address, _, _ := strings.Cut(pod, "\t")
			return slices.Contains(args, address)
		})
	})
}

func (d deps) completeURL(cmd *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
	scheme := "ws://"
	if strings.HasPrefix(start, "wss") {
		scheme = "wss://"
	}
	return d.fromRedis(cmd, func(ctx context.Context, s *server) []string { return s.podsLike(ctx, scheme, start, "/ws") })
}

// fromRedis has words found in the Redis that the command would speak to.
func (d deps) fromRedis(cmd *cobra.Command, find func(context.Context, *server) []string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	s := &server{flags: pflag.NewFlagSet("keys", pflag.ContinueOnError)}
	config.AddFlags(s.flags)
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if s.flags.Lookup(f.Name) != nil {
			_ = s.flags.Set(f.Name, f.Value.String()) // it takes any text
		}
	})
	_ = s.flags.Set("redis.timeout", completionTime.String())
	if f := cmd.Flags().Lookup("config"); f != nil {
		s.file = f.Value.String()
	}
	if s.open(ctx, d.environ()) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer s.redis.Close()
	return harmless(find(ctx, s)), cobra.ShellCompDirectiveNoFileComp
}

// harmless returns no words where bash would put something on the line that means more than its
// text. Of several words it inserts what all of them begin with, as it stands, in place of what
// was typed; a single one it quotes. Clients choose their user ids: $(reboot)-1 and $(reboot)-2 must not be half of a command.
func harmless(words []string) []string {
	if len(words) < 2 {
		return words
	}
	common, _, _ := strings.Cut(words[0], "\t")
	for _, word := range words[1:] {
		word, _, _ = strings.Cut(word, "\t")
		n := 0
		for n < min(len(common), len(word)) && common[n] == word[n] {
			n++
		}
		common = common[:n]
	}
	if strings.ContainsFunc(common, isSpecial) {
		return nil
	}
	return words
}

// isSpecial reports whether a shell may read more into the character than the character.
func isSpecial(r rune) bool {
	switch {
	case r > unicode.MaxASCII, 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("_-./:@%+=,", r)
}

// usersLike looks for users whose id begins with start, and who are online (SCAN of
// push:user:{*} on every master). Of many it finds some.
func (s *server) usersLike(ctx context.Context, start string) []string {
	before := strings.TrimSuffix(s.keys.User(""), "}")
	pattern := escapeGlob(before+start) + "*}"
	users := map[string]bool{}
	cursors := map[int]uint64{} // of the masters that have more
	masters := s.redis.Map().Masters
	for i := range masters {
		cursors[i] = 0
	}
	for round := 0; round < completionMost && len(cursors) > 0 && len(users) < completionWide && ctx.Err() == nil; round++ {
		pipe := s.redis.Pipeline(false)
		scans := map[int]*redis.ScanCmd{}
		for i, cursor := range cursors {
			scans[i] = redis.NewScanCmd(ctx, nil, "scan", cursor, "match", pattern, "count", completionScan)
			pipe.AddTo(masters[i], scans[i])
		}
		pipe.Exec(ctx)
		for i, scan := range scans {
			keys, next, err := scan.Result()
			for _, key := range keys {
				user := strings.TrimSuffix(strings.TrimPrefix(key, before), "}")
				// One that begins with a dash would be taken for a flag.
				if presence.ValidUser(user) == nil && !strings.HasPrefix(user, "-") {
					users[user] = true
				}
			}
			if cursors[i] = next; err != nil || next == 0 {
				delete(cursors, i)
			}
		}
	}
	list := make([]string, 0, len(users))
	for user := range users {
		list = append(list, user)
	}
	slices.Sort(list)
	return list[:min(len(list), completionWide)]
}

// escapeGlob has a pattern of Redis's stand for the text itself.
func escapeGlob(text string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(text)
}

// podsLike are the addresses of pods between two texts, as far as they begin with start,
// each with its state.
func (s *server) podsLike(ctx context.Context, before, start, after string) (list []string) {
	pods, _ := presence.ListPods(ctx, s.redis, s.keys) // without an answer there is none
	for _, p := range pods {
		word := before + p.Address + after
		if p.Address != "" && shown(p.Address) == p.Address && strings.HasPrefix(word, start) {
			list = append(list, cobra.CompletionWithDesc(word, p.State(s.lease)))
		}
	}
	return list
}
