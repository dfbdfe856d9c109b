#!/usr/bin/env python3
"""A producer in Python (redis-py; Debian: python3-redis).

    producer.py online USER                       how many connections she has
    producer.py push USER JSON [NAME VALUE]...    push to her: how many were addressed
    producer.py many JSON [NAME VALUE]... <USERS  push to each user, one a line: how many users were reached
    producer.py all JSON                          push to everyone: how many pods were told
    producer.py logout USER [SECONDS]             close what she has, and block her so long: how many were closed

The pairs are those of push.lua: id, ttl, expires, collapse. REDIS_URL says where Redis is and as whom to log in. All but
SECONDS needs the rights of a producer alone (configs/redis-acl.conf); SECONDS needs those of an operator.
"""
import json
import os
import sys
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PREFIX = os.environ.get("PUSHPOD_PREFIX", "push:")
PUSH_LUA = Path(__file__).resolve().parents[2] / "scripts" / "push.lua"  # copy it beside your program

# No retries, which redis-py 6 makes by itself: a push whose answer was lost would be made twice.
r = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"), decode_responses=True, retry=Retry(NoBackoff(), 0))
push = r.register_script(PUSH_LUA.read_text())  # EVALSHA, and the text once where Redis does not know it


def key(user):
    return f"{PREFIX}user:{{{user}}}"


def online(user):
    return r.hlen(key(user))


def push_user(user, data, *pairs):
    # 0 is no error: she is not online. Give an id where you may push twice: clients drop one that they have seen.
    return push(keys=[key(user)], args=[data, *pairs])


def push_many(data, users, *pairs):
    reached = 0
    for start in range(0, len(users), 500):  # a round trip for each 500
        pipe = r.pipeline(transaction=False)
        for user in users[start : start + 500]:
            push(keys=[key(user)], args=[data, *pairs], client=pipe)
        # An error is one user's: the others have their push.
        for user, n in zip(users[start:], pipe.execute(raise_on_error=False)):
            if isinstance(n, Exception):
                print(f"{user}: {n}", file=sys.stderr)
            else:
                reached += n > 0
    return f"{reached} of {len(users)} users"


def push_all(data):
    # The data goes into the envelope as it is: it must be JSON.
    return r.publish(PREFIX + "all", '{"all":true,"data":%s}' % data)


def logout(user, seconds=None):
    if seconds:  # first of all, so that she is not back before it is written
        r.set(f"{PREFIX}block:{{{user}}}", "logged out", ex=int(seconds))
    closed = 0
    envelope = json.dumps({"user": user, "close": {"code": 4500, "reason": "logged out"}})
    channels = r.hvals(key(user))
    for channel in set(channels):
        if r.publish(channel, envelope):
            closed += channels.count(channel)
    return closed


def main(args):
    match args:
        case ["online", user]:
            return online(user)
        case ["push", user, data, *pairs]:
            return push_user(user, data, *pairs)
        case ["many", data, *pairs]:
            return push_many(data, sys.stdin.read().splitlines(), *pairs)
        case ["all", data]:
            return push_all(data)
        case ["logout", user, *seconds]:
            return logout(user, *seconds)
    sys.exit(__doc__)


try:
    print(main(sys.argv[1:]))
except (redis.RedisError, ValueError) as e:
    sys.exit(str(e))
