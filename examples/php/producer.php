#!/usr/bin/env php
<?php
// A producer in PHP (phpredis; Debian: php-cli, php-redis).
//
//   producer.php online USER                       how many connections she has
//   producer.php push USER JSON [NAME VALUE]...    push to her: how many were addressed
//   producer.php many JSON [NAME VALUE]... <USERS  push to each user, one a line: how many users were reached
//   producer.php all JSON                          push to everyone: how many pods were told
//   producer.php logout USER [SECONDS]             close what she has, and block her so long: how many were closed
//
// The pairs are those of push.lua: id, ttl, expires, collapse. REDIS_URL says where Redis is and as whom to log in. All but
// SECONDS needs the rights of a producer alone (configs/redis-acl.conf); SECONDS needs those of an operator.
declare(strict_types=1);

const PUSH_LUA = __DIR__ . '/../../scripts/push.lua'; // copy it beside your program

$prefix = getenv('PUSHPOD_PREFIX') ?: 'push:';

// No OPT_PREFIX: prefix.php has the recipe for a connection that has one.
function connect(): Redis
{
    $url = parse_url(getenv('REDIS_URL') ?: 'redis://127.0.0.1:6379');
    $redis = new Redis();
    $redis->connect($url['host'], $url['port'] ?? 6379, 3.0, null, 0, 3.0); // seconds to connect, and to wait for an answer
    if (isset($url['pass'])) {
        $redis->auth([rawurldecode($url['user'] ?? '') ?: 'default', rawurldecode($url['pass'])]);
    }
    return $redis;
}

// False is Redis's error, or phpredis's own, which has warned of it then. None of the commands here answers false else.
function checked(Redis $redis, mixed $answer): mixed
{
    if ($answer === false) {
        $error = $redis->getLastError() ?? 'phpredis has not sent it';
        $redis->clearLastError();
        throw new RedisException($error);
    }
    return $answer;
}

function key_of(string $user): string
{
    global $prefix;
    return "{$prefix}user:{{$user}}";
}

function online(Redis $redis, string $user): int
{
    return checked($redis, $redis->hLen(key_of($user)));
}

// 0 is no error: she is not online. Give an id where you may push twice: clients drop one that they have seen.
function push(Redis $redis, string $user, string $data, string ...$pairs): int
{
    $lua = file_get_contents(PUSH_LUA);
    $arguments = [key_of($user), $data, ...$pairs];
    $n = $redis->evalSha(sha1($lua), $arguments, 1);
    if ($n === false && str_starts_with($redis->getLastError() ?? '', 'NOSCRIPT')) {
        $redis->clearLastError();
        $n = $redis->eval($lua, $arguments, 1);
    }
    return checked($redis, $n);
}

function many(Redis $redis, string $data, string ...$pairs): string
{
    $users = file('php://stdin', FILE_IGNORE_NEW_LINES | FILE_SKIP_EMPTY_LINES);
    $sha = checked($redis, $redis->script('load', file_get_contents(PUSH_LUA)));
    $reached = 0;
    foreach (array_chunk($users, 500) as $some) { // a round trip for each 500
        $pipe = $redis->pipeline();
        foreach ($some as $user) {
            $pipe->evalSha($sha, [key_of($user), $data, ...$pairs], 1);
        }
        $answers = $pipe->exec();
        $reached += count(array_filter($answers));
        // An error is one user's: the others have their push. Of several phpredis keeps the last one's text.
        foreach (array_keys($answers, false, true) as $i) {
            fwrite(STDERR, "{$some[$i]}: {$redis->getLastError()}\n");
        }
        $redis->clearLastError();
    }
    return $reached . ' of ' . count($users) . ' users';
}

// The data goes into the envelope as it is: it must be JSON.
function all(Redis $redis, string $data): int
{
    global $prefix;
    return checked($redis, $redis->publish("{$prefix}all", "{\"all\":true,\"data\":$data}"));
}

function logout(Redis $redis, string $user, string $seconds = ''): int
{
    global $prefix;
    if ($seconds !== '') { // first of all, so that she is not back before it is written
        checked($redis, $redis->set("{$prefix}block:{{$user}}", 'logged out', ['ex' => (int) $seconds]));
    }
    $envelope = json_encode(['user' => $user, 'close' => ['code' => 4500, 'reason' => 'logged out']], JSON_THROW_ON_ERROR);
    $closed = 0;
    foreach (array_count_values(checked($redis, $redis->hVals(key_of($user)))) as $channel => $connections) {
        if (checked($redis, $redis->publish($channel, $envelope)) > 0) {
            $closed += $connections;
        }
    }
    return $closed;
}

if ($argc < 3 || !in_array($argv[1], ['online', 'push', 'many', 'all', 'logout'], true)) {
    fwrite(STDERR, "usage: producer.php online|push|many|all|logout ...; see the head of this file\n");
    exit(2);
}
try {
    echo $argv[1](connect(), ...array_slice($argv, 2)), "\n";
} catch (RedisException | ArgumentCountError $e) {
    fwrite(STDERR, $e->getMessage() . "\n");
    exit(1);
}
