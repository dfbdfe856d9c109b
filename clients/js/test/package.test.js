import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { minify } from 'terser'
import ts from 'typescript'
import * as module from '../pushpod.js'

const run = promisify(execFile)
const root = fileURLToPath(new URL('..', import.meta.url))

test('A bundler makes less than 5 KB of it, gzipped, and has nothing to add', async (t) => {
  const source = await readFile(join(root, 'pushpod.js'), 'utf8')
  const { code } = await minify(source, { module: true })
  const size = gzipSync(code, { level: 9 }).length
  t.diagnostic(`${size} bytes`)
  assert.ok(size < 5000, `${size} bytes`)
  assert.doesNotMatch(code, /\bimport\b|\brequire\b/)
})


test('npm pack makes a package that can be used as it is', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'pushpod-pack-'))
  t.after(() => rm(dir, { recursive: true }))
  const { stdout } = await run('npm', ['pack', '--offline', '--json', '--pack-destination', dir], { cwd: root })
  const [{ files, filename }] = JSON.parse(stdout)
  assert.deepEqual(files.map((f) => f.path).sort(), ['LICENSE', 'README.md', 'package.json', 'pushpod.d.ts', 'pushpod.js'])
  await run('tar', ['-xzf', join(dir, filename), '-C', dir])
  const { exports, types, dependencies } = JSON.parse(await readFile(join(dir, 'package/package.json'), 'utf8'))
  assert.equal(dependencies, undefined)
  assert.equal(types, exports['.'].types)
  const { PushClient } = await import(pathToFileURL(join(dir, 'package', exports['.'].default)))
  assert.equal(typeof PushClient, 'function')
  assert.equal(await readFile(join(root, 'LICENSE'), 'utf8'), await readFile(join(root, '../../LICENSE'), 'utf8'))
})

test('The types name what the module has, and nothing else', async () => {
  const file = join(root, 'pushpod.d.ts')
  const source = ts.createSourceFile(file, await readFile(file, 'utf8'), ts.ScriptTarget.Latest)
  const classes = source.statements.filter(ts.isClassDeclaration)
  assert.deepEqual(classes.map((c) => c.name.text).sort(), Object.keys(module).sort())
  const declared = classes.find((c) => c.name.text === 'PushClient').members.map((m) => m.name?.text ?? 'constructor')
  const inherited = ['addEventListener', 'removeEventListener']
  assert.deepEqual(
    [...new Set(declared)].filter((name) => !inherited.includes(name)).sort(),
    Object.getOwnPropertyNames(module.PushClient.prototype).sort(),
  )
})

test('The README names every option', async () => {
  const readme = await readFile(join(root, 'README.md'), 'utf8')
  const types = await readFile(join(root, 'pushpod.d.ts'), 'utf8')
  const options = types.match(/interface Options \{(.*?)^\}/ms)[1].match(/^ {2}\w+(?=\?:)/gm)
  for (const option of options) assert.match(readme, new RegExp(`\`${option.trim()}\``), `option ${option} is not in README.md`)
})

test('The lock file names no registry', async () => {
  assert.doesNotMatch(await readFile(join(root, 'package-lock.json'), 'utf8'), /"resolved"|https?:\/\/registry/)
  assert.ok((await readdir(root)).includes('.npmrc'))
})
