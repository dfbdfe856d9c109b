#!/usr/bin/env node
// The recipe for an application whose ioredis client has a keyPrefix.
//
//   keyprefix-ioredis.mjs USER JSON    push to her, in two ways: how many were addressed in each
//
// ioredis puts the prefix before keys, also in call(), and not before channels; it cannot know that the values in
// push:user:{...} are channels. So what names a key needs a client without the prefix.
import { readFileSync } from "node:fs";
import { Redis } from "ioredis";

const lua = readFileSync(new URL("../../scripts/push.lua", import.meta.url), "utf8"); // copy it beside your program
const [user, data] = process.argv.slice(2);

const app = new Redis(process.env.REDIS_URL ?? "redis://127.0.0.1:6379", { keyPrefix: "app:" });
app.on("error", () => {});
try {
  // A client with the same options but the prefix. It is one more connection; keep it.
  const pushpod = app.duplicate({ keyPrefix: "" });

  // 1. In one call.
  console.log(await pushpod.eval(lua, 1, `push:user:{${user}}`, data));

  // 2. By look-up. The channels stand in the values, whole; any client may publish to them.
  let told = 0;
  for (const channel of new Set(await pushpod.hvals(`push:user:{${user}}`))) {
    told += await app.publish(channel, `{"user":${JSON.stringify(user)},"data":${data}}`);
  }
  console.log(told);
  pushpod.disconnect();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
app.disconnect();
