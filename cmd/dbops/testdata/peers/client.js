// What node-postgres must be able to do through `dbops proxy`. It prints a line for each promise that holds, and "done" at the end.
'use strict'

const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const fs = require('node:fs')
const { once } = require('node:events')
const { setTimeout: sleep } = require('node:timers/promises')
const pg = require('pg')
const Cursor = require('pg-cursor')

const { PEER_URI: uri, PEER_CA: caFile, PEER_ACCESS: access } = process.env
const ca = fs.readFileSync(caFile, 'utf8')
const database = new URL(uri).pathname.slice(1)
const verified = { rejectUnauthorized: true, ca }

// fields is the URI as options, for what a URI cannot say.
function fields(more) {
  const u = new URL(uri)
  return { host: u.hostname, port: Number(u.port), user: u.username, password: decodeURIComponent(u.password), database, ...more }
}

async function connected(config, use) {
  const client = new pg.Client(config)
  client.on('error', () => {}) // of a connection that ends; what is under way hears it too
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}

const refused = (promise, expected) => assert.rejects(promise, (err) => {
  for (const [name, want] of Object.entries(expected)) {
    if (want instanceof RegExp) assert.match(String(err[name]), want)
    else assert.equal(err[name], want)
  }
  return true
})

// running resolves when a session with that application_name is at a statement.
async function running(application) {
  await connected(uri, async (watcher) => {
    for (const end = Date.now() + 20000; ;) {
      const { rows } = await watcher.query(
        "select 1 from pg_stat_activity where application_name = $1 and state = 'active' and query like '%pg_sleep%'", [application])
      if (rows.length === 1) return
      assert.ok(Date.now() < end, `${application} does not run`)
      await sleep(20)
    }
  })
}

const unique = (what) => `${what}_${crypto.randomBytes(6).toString('hex')}`

const checks = {
  async 'without TLS, with TLS, and with direct TLS, verified'() {
    for (const [more, encrypted] of [[{}, false], [{ ssl: verified }, true], [{ ssl: verified, sslnegotiation: 'direct' }, true]]) {
      await connected(fields(more), async (client) => {
        assert.equal(Boolean(client.connection.stream.encrypted), encrypted)
        if (encrypted) assert.equal(client.connection.stream.authorized, true)
        const { rows } = await client.query("select current_database() as db, current_setting('default_transaction_read_only') as ro")
        assert.deepEqual(rows, [{ db: database, ro: access === 'read' ? 'on' : 'off' }])
      })
    }
    await refused(new pg.Client(fields({ ssl: { rejectUnauthorized: true } })).connect(), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
  },

  async 'simple, parameterised and prepared queries'() {
    for (const ssl of [false, verified]) {
      await connected(fields({ ssl }), async (client) => {
        const several = await client.query("select 1 as a; select 'zwei' as b; select where false")
        assert.deepEqual(several.map((r) => r.rows), [[{ a: 1 }], [{ b: 'zwei' }], []])
        assert.deepEqual((await client.query('')).rows, [])
        const given = [42, 'naïve ☕ 🐘', null, { deep: [1, { a: null }] }, ['a,b', '"', null], new Date('2026-02-03T04:05:06.789Z'), Buffer.from([0, 1, 255]), true]
        const { rows, fields: columns } = await client.query({
          text: 'select $1::int, $2::text, $3::text, $4::jsonb, $5::text[], $6::timestamptz, $7::bytea, $8::bool', values: given, rowMode: 'array',
        })
        assert.deepEqual(rows, [given])
        assert.deepEqual(columns.map((f) => f.name), ['int4', 'text', 'text', 'jsonb', 'text', 'timestamptz', 'bytea', 'bool'])
        for (let i = 0; i < 50; i++) {
          const r = await client.query({ name: 'double', text: 'select $1::int * 2 as n', values: [i] })
          assert.equal(r.rows[0].n, 2 * i)
        }
      })
    }
  },

  async '10 MB there and back'() {
    const big = crypto.randomBytes(10 << 20)
    for (const ssl of [false, verified]) {
      await connected(fields({ ssl }), async (client) => {
        const { rows } = await client.query('select $1::bytea as b, md5($1::bytea) as sum', [big])
        assert.equal(rows[0].sum, crypto.createHash('md5').update(big).digest('hex'))
        assert.ok(rows[0].b.equals(big))
      })
    }
  },

  async 'a cursor reads a part at a time'() {
    await connected(uri, async (client) => {
      const cursor = client.query(new Cursor('select n, repeat(md5(n::text), 20) as text from generate_series(1, $1) n', [1000]))
      const seen = []
      for (let rows; (rows = await cursor.read(64)).length > 0;) {
        assert.ok(rows.length <= 64)
        seen.push(...rows.map((r) => r.n))
      }
      assert.deepEqual(seen, Array.from({ length: 1000 }, (_, i) => i + 1))
      const unfinished = client.query(new Cursor('select generate_series(1, 1000000)'))
      assert.equal((await unfinished.read(5)).length, 5)
      await unfinished.close()
      assert.equal((await client.query('select 1 as n')).rows[0].n, 1)
    })
  },

  async 'a pipeline, with an error in the middle'() {
    await connected({ ...fields(), pipeline: true }, async (client) => {
      const answers = await Promise.allSettled(Array.from({ length: 60 }, (_, i) =>
        i === 30 ? client.query('select * from no_such_table') : client.query('select $1::int as n, repeat($2, 5000) as t', [i, 'x'])))
      answers.forEach((a, i) => {
        if (i === 30) assert.equal(a.reason.code, '42P01')
        else assert.deepEqual([a.value.rows[0].n, a.value.rows[0].t.length], [i, 5000])
      })
    })
  },

  async 'LISTEN and NOTIFY'() {
    const channel = unique('peer')
    await connected(uri, (listener) => connected(uri, async (speaker) => {
      await listener.query(`listen ${channel}`)
      const heard = once(listener, 'notification', { signal: AbortSignal.timeout(20000) })
      await speaker.query('select pg_notify($1, $2)', [channel, 'good news'])
      const [message] = await heard
      assert.deepEqual([message.channel, message.payload], [channel, 'good news'])
    }))
  },

  async 'a statement is cancelled, and the session goes on'() {
    for (const ssl of [false, verified]) {
      const application = unique('peer')
      await connected(fields({ ssl, application_name: application }), async (client) => {
        const query = new pg.Query('select pg_sleep(30)')
        const ended = new Promise((resolve) => query.once('error', resolve).once('end', () => resolve({ code: 'it ended' })))
        client.query(query)
        await running(application)
        const start = Date.now()
        new pg.Client(fields()).cancel(client, query)
        assert.equal((await ended).code, '57014')
        assert.ok(Date.now() - start < 15000, 'cancelling took too long')
        assert.equal((await client.query('select 1 as n')).rows[0].n, 1)
      })
    }
  },

  async 'time-outs of the client and of the server'() {
    await connected(fields({ statement_timeout: 100 }), async (client) => {
      await refused(client.query('select pg_sleep(30)'), { code: '57014', message: /statement timeout/ })
      await client.query('set statement_timeout = 0')
      await refused(client.query({ text: 'select pg_sleep(1)', query_timeout: 100 }), { message: 'Query read timeout' })
      assert.equal((await client.query('select 1 as n')).rows[0].n, 1) // behind what the client did not wait for
    })
  },

  async 'a pool of 20'() {
    for (const ssl of [false, verified]) {
      const pool = new pg.Pool(fields({ ssl, max: 20 }))
      const backends = new Set()
      await Promise.all(Array.from({ length: 200 }, async (_, i) => {
        const { rows } = await pool.query('select $1::int as n, pg_backend_pid() as pid, pg_sleep(0.05)', [i])
        assert.equal(rows[0].n, i)
        backends.add(rows[0].pid)
      }))
      assert.equal(pool.totalCount, 20)
      assert.equal(backends.size, 20)
      await pool.end()
    }
  },

  async 'errors of the server keep their SQLSTATE'() {
    await connected(uri, async (client) => {
      await refused(client.query('select * from no_such_table'), { code: '42P01', severity: 'ERROR', position: '15', message: /no_such_table/ })
      await refused(client.query('select $1::int', ['x']), { code: '22P02' })
      await client.query('begin')
      await refused(client.query('select 1/0'), { code: '22012' })
      await refused(client.query('select 1'), { code: '25P02' })
      await client.query('rollback')
      if (access === 'read') await refused(client.query('create table peer_wrote (n int)'), { code: '25006' })
      assert.equal((await client.query('select 1 as n')).rows[0].n, 1)
      await refused(client.query('select pg_terminate_backend(pg_backend_pid())'), { code: '57P01', severity: 'FATAL' })
    })
  },

  async 'a wrong password is 28P01, an unknown database 3D000 with a hint'() {
    for (const ssl of [false, verified]) {
      await refused(new pg.Client(fields({ ssl, password: 'wrong' })).connect(), { code: '28P01', severity: 'FATAL', message: /^dbops: /, hint: /connection string/ })
      await refused(new pg.Client(fields({ ssl, database: 'nowhere' })).connect(), { code: '3D000', severity: 'FATAL', message: /nowhere/, hint: new RegExp(database) })
    }
  },

  async 'a session that may write, writes'() {
    if (access !== 'write') return
    await connected(uri, async (client) => {
      await client.query('begin')
      await client.query('create temp table kept (n int primary key, t text) on commit drop')
      const { rowCount } = await client.query('insert into kept select n, md5(n::text) from generate_series(1, $1) n', [500])
      assert.equal(rowCount, 500)
      await client.query('savepoint s')
      await refused(client.query('insert into kept values (1)'), { code: '23505', constraint: 'kept_pkey', table: 'kept', detail: /already exists/ })
      await client.query('rollback to s')
      assert.equal((await client.query('select count(*)::int as n from kept')).rows[0].n, 500)
      await client.query('commit')
    })
  },
}

async function main() {
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check()
      console.log(`ok   ${name}`)
    } catch (err) {
      console.log(`FAIL ${name}: ${err.stack}`)
      process.exitCode = 1
    }
  }
  console.log('done')
}

main()
