// What scripts/postgres.sh needs of an npm tarball, with nothing but Node's own library.
//
//   node npmtree.cjs verify FILE INTEGRITY   exit 1 unless FILE has that sha512 (npm's dist.integrity)
//   node npmtree.cjs links DIR               make the symbolic links that DIR/native/pg-symlinks.json lists
'use strict'
const { createHash } = require('node:crypto')
const fs = require('node:fs')
const path = require('node:path')

function die (message) {
  process.stderr.write(message + '\n')
  process.exit(1)
}

function verify (file, want) {
  const got = 'sha512-' + createHash('sha512').update(fs.readFileSync(file)).digest('base64')
  if (got !== want) die(`checksum mismatch: expected ${want}, got ${got}`)
}

// A tarball cannot carry links through npm, so it carries a list of them. Nothing in it may point out of the tree.
function links (dir) {
  const list = JSON.parse(fs.readFileSync(path.join(dir, 'native', 'pg-symlinks.json'), 'utf8'))
  if (!Array.isArray(list) || list.length > 1000) die('pg-symlinks.json is not a short list')
  const root = fs.realpathSync(dir)
  const inside = (p) => fs.realpathSync(p).startsWith(root + path.sep)
  for (const { source, target } of list) {
    const from = path.resolve(root, source)
    const at = path.resolve(root, target)
    if (!inside(from) || !inside(path.dirname(at))) die(`pg-symlinks.json leads out of the tree: ${JSON.stringify({ source, target })}`)
    fs.rmSync(at, { force: true })
    fs.symlinkSync(path.relative(path.dirname(at), from), at)
  }
}

const [command, ...args] = process.argv.slice(2)
try {
  if (command === 'verify' && args.length === 2) verify(...args)
  else if (command === 'links' && args.length === 1) links(...args)
  else die('usage: npmtree.cjs verify FILE INTEGRITY | links DIR')
} catch (err) {
  die(err.message)
}
