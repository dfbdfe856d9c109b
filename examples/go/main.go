// The program go is a producer in Go, with go-redis.
//
//	go run ./examples/go online USER                       how many connections she has
//	go run ./examples/go push USER JSON [NAME VALUE]...    push to her: how many were addressed
//	go run ./examples/go many JSON [NAME VALUE]... <USERS  push to each user, one a line: how many users were reached
//	go run ./examples/go all JSON                          push to everyone: how many pods were told
//	go run ./examples/go logout USER [SECONDS]             close what she has, and block her so long: how many were closed
//
// The pairs are those of push.lua: id, ttl, expires, collapse. REDIS_URL says where Redis is and as whom to log in. All but
// SECONDS needs the rights of a producer alone (configs/redis-acl.conf); SECONDS needs those of an operator.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"pushpod/scripts" // in a program of your own, embed a copy of push.lua
)

const usage = "usage: online USER | push USER JSON [NAME VALUE]... | many JSON [NAME VALUE]... <USERS | all JSON | logout USER [SECONDS]"

func main() {
	result, err := run(context.Background(), os.Args[1:], os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(result)
}

func run(ctx context.Context, args []string, in io.Reader) (any, error) {
	options, err := redis.ParseURL(cmp.Or(os.Getenv("REDIS_URL"), "redis://127.0.0.1:6379"))
	if err != nil {
		return nil, err
	}
	options.MaxRetries = -1 // a push whose answer was lost would be made twice
	p := producer{
		redis:  redis.NewClient(options),
		push:   redis.NewScript(scripts.Push()),
		prefix: cmp.Or(os.Getenv("PUSHPOD_PREFIX"), "push:"),
	}
	defer p.redis.Close()
	if len(args) < 2 {
		return nil, fmt.Errorf("%s", usage)
	}
	switch command, args := args[0], args[1:]; command {
	case "online":
		return p.redis.HLen(ctx, p.key(args[0])).Result()
	case "push":
		// 0 is no error: she is not online. Give an id where you may push twice: clients drop one that they have seen.
		return p.push.Run(ctx, p.redis, []string{p.key(args[0])}, anys(args[1:])...).Int()
	case "many":
		return p.many(ctx, in, anys(args))
	case "all":
		// The data goes into the envelope as it is: it must be JSON.
		return p.redis.Publish(ctx, p.prefix+"all", `{"all":true,"data":`+args[0]+`}`).Result()
	case "logout":
		return p.logout(ctx, args[0], args[1:])
	}
	return nil, fmt.Errorf("%s", usage)
}

// A producer pushes by Redis alone.
type producer struct {
	redis  *redis.Client
	push   *redis.Script // Run is EVALSHA, and EVAL where Redis does not know it
	prefix string
}

func (p producer) key(user string) string { return p.prefix + "user:{" + user + "}" }

// many pushes to each user, one a line. args are the data and pairs.
func (p producer) many(ctx context.Context, in io.Reader, args []any) (string, error) {
	if err := p.push.Load(ctx, p.redis).Err(); err != nil {
		return "", err
	}
	users, reached := 0, 0
	flush := func(pipe redis.Pipeliner) {
		commands, _ := pipe.Exec(ctx) // an error is one user's: the others have their push
		for _, c := range commands {
			n, err := c.(*redis.Cmd).Int()
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
			} else if n > 0 {
				reached++
			}
		}
	}
	pipe := p.redis.Pipeline()
	lines := bufio.NewScanner(in)
	for ; lines.Scan(); users++ {
		p.push.EvalSha(ctx, pipe, []string{p.key(lines.Text())}, args...)
		if pipe.Len() == 500 { // a round trip for each 500
			flush(pipe)
		}
	}
	flush(pipe)
	return fmt.Sprintf("%d of %d users", reached, users), lines.Err()
}

// logout closes what the user has; with seconds, she is blocked so long.
func (p producer) logout(ctx context.Context, user string, seconds []string) (closed int, err error) {
	if len(seconds) > 0 { // first of all, so that she is not back before it is written
		n, err := strconv.ParseUint(seconds[0], 10, 31)
		if err != nil || n == 0 { // 0 would be for ever: go-redis leaves EX out
			return 0, fmt.Errorf("SECONDS is %q; a whole number above 0 is allowed", seconds[0])
		}
		if err := p.redis.Set(ctx, p.prefix+"block:{"+user+"}", "logged out", time.Duration(n)*time.Second).Err(); err != nil {
			return 0, err
		}
	}
	envelope, err := json.Marshal(map[string]any{"user": user, "close": map[string]any{"code": 4500, "reason": "logged out"}})
	if err != nil {
		return 0, err
	}
	channels, err := p.redis.HVals(ctx, p.key(user)).Result()
	if err != nil {
		return 0, err
	}
	connections := map[string]int{}
	for _, channel := range channels {
		connections[channel]++
	}
	for channel, n := range connections {
		told, err := p.redis.Publish(ctx, channel, envelope).Result()
		if err != nil {
			return closed, err
		}
		if told > 0 {
			closed += n
		}
	}
	return closed, nil
}

func anys(texts []string) []any {
	values := make([]any, len(texts))
	for i, t := range texts {
		values[i] = t
	}
	return values
}
