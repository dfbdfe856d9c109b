#!/usr/bin/env node
// A producer in Node, with the package redis (node-redis 5).
//
//   producer-redis.mjs online USER                       how many connections she has
//   producer-redis.mjs push USER JSON [NAME VALUE]...    push to her: how many were addressed
//   producer-redis.mjs many JSON [NAME VALUE]... <USERS  push to each user, one a line: how many users were reached
//   producer-redis.mjs all JSON                          push to everyone: how many pods were told
//   producer-redis.mjs logout USER [SECONDS]             close what she has, and block her so long: how many were closed
//
// The pairs are those of push.lua: id, ttl, expires, collapse. REDIS_URL says where Redis is and as whom to log in. All but
// SECONDS needs the rights of a producer alone (configs/redis-acl.conf); SECONDS needs those of an operator.
import { readFileSync } from "node:fs";
import { createClient, defineScript } from "redis";

const prefix = process.env.PUSHPOD_PREFIX ?? "push:";
const pushLua = readFileSync(new URL("../../scripts/push.lua", import.meta.url), "utf8"); // copy it beside your program

const redis = createClient({
  url: process.env.REDIS_URL ?? "redis://127.0.0.1:6379",
  socket: { reconnectStrategy: false }, // this program runs once; a worker leaves the line out, and is connected again
  scripts: {
    // EVALSHA, and the text where Redis does not know it.
    pushpod: defineScript({
      NUMBER_OF_KEYS: 1,
      SCRIPT: pushLua,
      parseCommand(parser, user, data, ...pairs) {
        parser.pushKey(key(user));
        parser.push(data, ...pairs);
      },
      transformReply: (n) => n,
    }),
  },
});
redis.on("error", () => {}); // what was under way is rejected

const key = (user) => `${prefix}user:{${user}}`;

const commands = {
  online: (user) => redis.hLen(key(user)),

  // 0 is no error: she is not online. Give an id where you may push twice: clients drop one that they have seen.
  push: (user, data, ...pairs) => redis.pushpod(user, data, ...pairs),

  // Commands of the same turn go out together (a pipeline).
  async many(data, ...pairs) {
    const users = readFileSync(0, "utf8").split("\n").filter(Boolean);
    let reached = 0;
    for (let start = 0; start < users.length; start += 500) {
      const some = users.slice(start, start + 500);
      const answers = await Promise.allSettled(some.map((user) => redis.pushpod(user, data, ...pairs)));
      // An error is one user's: the others have their push.
      answers.forEach((answer, i) => {
        if (answer.status === "rejected") console.error(`${some[i]}: ${answer.reason.message}`);
        else if (answer.value > 0) reached++;
      });
    }
    return `${reached} of ${users.length} users`;
  },

  // The data goes into the envelope as it is: it must be JSON.
  all: (data) => redis.publish(`${prefix}all`, `{"all":true,"data":${data}}`),

  async logout(user, seconds) {
    // The block comes first, so that she is not back before it is written.
    if (seconds) await redis.set(`${prefix}block:{${user}}`, "logged out", { EX: Number(seconds) });
    const envelope = JSON.stringify({ user, close: { code: 4500, reason: "logged out" } });
    const channels = await redis.hVals(key(user));
    let closed = 0;
    for (const channel of new Set(channels)) {
      if (await redis.publish(channel, envelope)) closed += channels.filter((c) => c === channel).length;
    }
    return closed;
  },
};

const [command, ...args] = process.argv.slice(2);
if (!Object.hasOwn(commands, command ?? "") || args.length === 0) {
  console.error("usage: producer-redis.mjs online|push|many|all|logout ...; see the head of this file");
  process.exit(2);
}
try {
  await redis.connect();
  console.log(await commands[command](...args));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
redis.destroy();
