#!/usr/bin/env php
<?php
// The recipe for an application whose phpredis connection has OPT_PREFIX.
//
//   prefix.php USER JSON    push to her, in three ways: how many were addressed in each
//
// phpredis puts the prefix before keys and before channels too.
declare(strict_types=1);

$lua = file_get_contents(__DIR__ . '/../../scripts/push.lua'); // copy it beside your program
[, $user, $data] = $argv;

$url = parse_url(getenv('REDIS_URL') ?: 'redis://127.0.0.1:6379');
$app = new Redis();
$app->connect($url['host'], $url['port'] ?? 6379, 3.0, null, 0, 3.0);
if (isset($url['pass'])) {
    $app->auth([rawurldecode($url['user'] ?? '') ?: 'default', rawurldecode($url['pass'])]);
}
$app->setOption(Redis::OPT_PREFIX, 'app:');

// 1. Without the prefix for a moment. A connection of its own is the same, and needs no care.
$app->setOption(Redis::OPT_PREFIX, '');
echo $app->eval($lua, ["push:user:{{$user}}", $data], 1), "\n";
$app->setOption(Redis::OPT_PREFIX, 'app:');

// 2. One command: rawCommand() knows no keys and no channels.
echo $app->rawCommand('EVAL', $lua, '1', "push:user:{{$user}}", $data), "\n";

// 3. By look-up: both commands need rawCommand(), since publish() would put the prefix before the channel.
$told = 0;
foreach (array_unique($app->rawCommand('HVALS', "push:user:{{$user}}")) as $channel) {
    $told += $app->rawCommand('PUBLISH', $channel, '{"user":' . json_encode($user) . ',"data":' . $data . '}');
}
echo $told, "\n";
