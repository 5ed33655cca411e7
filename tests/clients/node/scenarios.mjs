// The scenarios both Node clients run, written once against a small driver. What is read is always
// compared byte for byte with what was sent; every wait is bounded, and a watchdog ends the process.
//
// A record is {key, value: Buffer|null, headers: [[name, Buffer]], timestamp: ms, offset}.

import { randomBytes, randomUUID } from 'node:crypto'
import { parseArgs } from 'node:util'

export const WAIT_MS = 20_000
const WATCHDOG_MS = { short: 100_000, long: 900_000 }
const LARGE_VALUE_BYTES = 900_000 // under the default max.message.bytes of 1,048,588
const PARTITIONS = 4

export const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

export function check (condition, message) {
  if (!condition) throw new Error(message)
}

function same (got, want, what) {
  check(got === want, `${what}: got ${String(got).slice(0, 300)}, want ${String(want).slice(0, 300)}`)
}

/** Fails with `what` unless `probe` becomes true within the wait. */
export async function until (probe, what) {
  const deadline = Date.now() + WAIT_MS
  while (!(await probe())) {
    check(Date.now() < deadline, `${typeof what === 'function' ? what() : what}: not within ${WAIT_MS} ms`)
    await sleep(20)
  }
}

const hex = bytes => (bytes === null || bytes === undefined ? 'null' : Buffer.from(bytes).toString('hex'))

const text = record =>
  [record.offset, record.timestamp, hex(record.key), hex(record.value),
    record.headers.map(([name, value]) => `${name}=${hex(value)}`).join(',')].join(' ')

function sameRecords (got, sent, firstOffset, what) {
  same(got.length, sent.length, `${what}: number of records`)
  sent.forEach((want, index) => same(text(got[index]), text({ ...want, offset: firstOffset + index }), `${what}: record ${index}`))
}

function awkwardRecords (count, baseMs) {
  const shapes = [
    i => [`key-${i}`, `value-${i}`, []],
    i => [null, `no key ${i}`, []],
    i => [`tombstone-${i}`, null, []],
    () => ['', '', []],
    () => [Buffer.from([0, 255, 0, 255]), randomBytes(1000), []],
    i => [`h-${i}`, 'headers', [['a', '1'], ['a', '2'], ['b', '']]],
    () => ['ключ', 'значение €', [['µ-header', 'œ']]],
    i => ['compressible', 'x'.repeat(3000), [['n', `${i}`]]]
  ]
  const bytes = value => (value === null ? null : Buffer.from(value))
  return Array.from({ length: count }, (_, i) => {
    const [key, value, headers] = shapes[i % shapes.length](i)
    return { key: bytes(key), value: bytes(value), headers: headers.map(([n, v]) => [n, bytes(v)]), timestamp: baseMs + i }
  })
}

const plain = (values, timestamp) => values.map(value => ({ key: null, value: Buffer.from(value), headers: [], timestamp }))

class Suite {
  constructor (driver, scale) {
    Object.assign(this, { driver, scale, topics: [] })
  }

  async topic (label, partitions = 1) {
    const name = `node-${this.driver.name}-${label}-${randomUUID().slice(0, 8)}`
    await this.driver.createTopic(name, partitions)
    this.topics.push(name)
    return name
  }

  async each_codec_is_read_back_byte_for_byte () {
    const topic = await this.topic('codec')
    const sent = []
    // One send is one batch here, so the long form sends more of them.
    for (const codec of Array.from({ length: this.scale }, () => this.driver.codecs).flat()) {
      const records = awkwardRecords(200, Date.now() - 3_600_000)
      same(await this.driver.produce(topic, 0, records, { codec }), sent.length, `base offset of ${codec}`)
      sent.push(...records)
    }
    sameRecords(await this.driver.read(topic, 0, 0, sent.length), sent, 0, 'from the beginning')
    const middle = (sent.length >> 1) + 3
    sameRecords(await this.driver.read(topic, 0, middle, 5), sent.slice(middle, middle + 5), middle, 'from the middle of a batch')
    same(await this.driver.endOffset(topic, 0), sent.length, 'end offset')
  }

  async idempotent_producer_writes_each_record_once_in_order () {
    const topic = await this.topic('idem')
    const batches = Array.from({ length: 5 * this.scale }, () => awkwardRecords(50, Date.now()))
    const offsets = await this.driver.produceIdempotent(topic, 0, batches)
    offsets.forEach((offset, index) => same(offset, index * 50, `base offset of batch ${index}`))
    const sent = batches.flat()
    sameRecords(await this.driver.read(topic, 0, 0, sent.length), sent, 0, 'idempotent')
    same(await this.driver.endOffset(topic, 0), sent.length, 'end offset')
  }

  async large_records_pass_and_too_large_ones_are_refused () {
    const topic = await this.topic('large')
    for (const [index, codec] of this.driver.codecs.entries()) {
      const sent = [{ key: Buffer.from('big'), value: randomBytes(LARGE_VALUE_BYTES), headers: [], timestamp: Date.now() }]
      await this.driver.produce(topic, 0, sent, { codec })
      sameRecords(await this.driver.read(topic, 0, index, 1), sent, index, `large ${codec}`)
    }
    let refusal = null
    await this.driver.produce(topic, 0, plain([randomBytes(1_200_000)], Date.now()), {}).catch(error => { refusal = error })
    check(refusal !== null, 'a record above max.message.bytes was accepted')
    const said = this.driver.describeError(refusal)
    check(said.includes('MESSAGE_TOO_LARGE'), `unexpected error for a too large record: ${said}`)
    same(await this.driver.endOffset(topic, 0), this.driver.codecs.length, 'end offset after the refusal')
  }

  async a_time_finds_the_first_record_at_or_after_it () {
    const topic = await this.topic('time')
    const base = Date.now() - 7_200_000
    const sent = Array.from({ length: 100 }, (_, i) => plain([`v${i}`], base + i * 10_000)[0])
    for (let start = 0; start < sent.length; start += 10) {
      const codec = this.driver.codecs[(start / 10) % this.driver.codecs.length]
      await this.driver.produce(topic, 0, sent.slice(start, start + 10), { codec })
    }
    for (const [ask, want] of [[0, 0], [10_000, 1], [10_001, 2], [554_999, 56], [990_000, 99], [990_001, null]]) {
      same(await this.driver.offsetForTime(topic, 0, base + ask), want, `offset for base + ${ask} ms`)
    }
    const offset = await this.driver.offsetForTime(topic, 0, base + 454_500)
    sameRecords(await this.driver.read(topic, 0, offset, 3), sent.slice(46, 49), 46, 'after seeking')
  }

  async a_group_shares_rebalances_and_resumes () {
    const topic = await this.topic('group', PARTITIONS)
    const group = `node-${this.driver.name}-${randomUUID().slice(0, 8)}`
    const members = [await this.driver.member(group, topic), await this.driver.member(group, topic)]
    try {
      await this.settle(members)
      await this.drain(members, await this.fill(topic, 100 * this.scale, 'a'))
      for (const member of members) await member.commit()
      await members.pop().close()
      await this.settle(members)
      await this.drain(members, await this.fill(topic, 25, 'b'))
      await members[0].commit()
    } finally {
      await Promise.all(members.map(member => member.close()))
    }
    const committed = await this.driver.committed(group, topic, PARTITIONS)
    for (let p = 0; p < PARTITIONS; p++) same(committed[p], await this.driver.endOffset(topic, p), `committed offset of partition ${p}`)
    const expected = await this.fill(topic, 10, 'c')
    const third = await this.driver.member(group, topic)
    try {
      await this.drain([third], expected) // any record of before would be unexpected
      await third.commit()
    } finally {
      await third.close()
    }
  }

  async transactions_show_what_was_committed_in_order_and_no_other () {
    if (!this.driver.transactions) return console.log(`  SKIP ${this.driver.name}: its transactions are not driven here`)
    const topic = await this.topic('txn', 3)
    const group = `node-${this.driver.name}-${randomUUID().slice(0, 8)}`
    const kept = [[], [], []]
    const everything = [[], [], []]
    let offset = null
    const producer = await this.driver.transactions(`txn-${topic}`)
    for (let turn = 0; turn < 10 * this.scale; turn++) {
      const commit = turn % 3 !== 1
      const transaction = await producer.begin()
      for (let p = turn % 2; p < 3; p++) {
        const values = Array.from({ length: 1 + turn * 7 % 20 }, (_, i) => `${turn}.${p}.${i}`)
        await transaction.send(topic, p, values)
        everything[p].push(...values)
        if (commit) kept[p].push(...values)
      }
      await transaction.offset(group, topic, 0, turn)
      if (commit) offset = turn
      await (commit ? transaction.commit() : transaction.abort())
    }
    await producer.close()
    for (let p = 0; p < 3; p++) {
      // A last record that no transaction holds says where to stop.
      await this.driver.produce(topic, p, plain(['last'], Date.now()), {})
      same((await this.driver.values(topic, p, 'read_committed', 'last')).join(), [...kept[p], 'last'].join(), `partition ${p}, read_committed`)
      same((await this.driver.values(topic, p, 'read_uncommitted', 'last')).join(), [...everything[p], 'last'].join(), `partition ${p}, read_uncommitted`)
    }
    same((await this.driver.committed(group, topic, 1))[0], offset, 'the offset of the last commit')
  }

  async a_second_producer_of_an_id_fences_the_first () {
    if (!this.driver.transactions) return console.log(`  SKIP ${this.driver.name}: its transactions are not driven here`)
    const topic = await this.topic('fence')
    const first = await this.driver.transactions(`fence-${topic}`)
    const zombie = await first.begin()
    await zombie.send(topic, 0, ['of the zombie'])
    const second = await this.driver.transactions(`fence-${topic}`)
    const transaction = await second.begin()
    await transaction.send(topic, 0, ['of the second'])
    let refusal = null
    await zombie.commit().catch(error => { refusal = error })
    check(refusal !== null, 'a fenced producer committed')
    const said = this.driver.describeError(refusal)
    check(/FENCED|INVALID_PRODUCER_EPOCH/.test(said), `unexpected error for a fenced producer: ${said}`)
    await transaction.commit()
    await Promise.all([first.close(), second.close()])
    await this.driver.produce(topic, 0, plain(['last'], Date.now()), {})
    same((await this.driver.values(topic, 0, 'read_committed', 'last')).join(), 'of the second,last', 'read_committed')
  }

  async fill (topic, count, label) {
    const expected = new Set()
    for (let p = 0; p < PARTITIONS; p++) {
      const values = Array.from({ length: count }, (_, i) => `${label}-${p}-${i}`)
      await this.driver.produce(topic, p, plain(values, Date.now()), {})
      values.forEach(value => expected.add(`${p}:${value}`))
    }
    return expected
  }

  /** Until the members own all partitions between them, evenly, none twice. */
  async settle (members) {
    const owned = () => members.map(member => [...member.assignment()].sort())
    await until(() => owned().every(o => o.length === PARTITIONS / members.length) && new Set(owned().flat()).size === PARTITIONS,
      () => `assignment ${JSON.stringify(owned())} did not settle`)
    await sleep(this.driver.fetchWaitMs) // a long poll sent under the old assignment may still bring records
  }

  /** Every expected record once, in order within its partition, nothing else. */
  async drain (members, expected) {
    const seen = new Set()
    const last = new Map()
    await until(() => {
      for (const { partition, offset, value } of members.flatMap(member => member.received.splice(0))) {
        const id = `${partition}:${value}`
        check(expected.has(id), `unexpected record ${id}`)
        check(!seen.has(id), `record ${id} came twice`)
        check(offset > (last.get(partition) ?? -1), `offset ${offset} after ${last.get(partition)}`)
        seen.add(id)
        last.set(partition, offset)
      }
      return seen.size === expected.size
    }, () => `${expected.size - seen.size} of ${expected.size} records never came`)
  }
}

export async function main (makeDriver) {
  const { values: options } = parseArgs({ options: { bootstrap: { type: 'string' }, long: { type: 'boolean', default: false } } })
  check(options.bootstrap, 'usage: --bootstrap host:port [--long]')
  setTimeout(() => { console.log('watchdog: the suite hangs'); process.exit(1) }, WATCHDOG_MS[options.long ? 'long' : 'short']).unref()
  const driver = await makeDriver(options.bootstrap)
  const suite = new Suite(driver, options.long ? 20 : 1)
  let failed = 0
  for (const scenario of Object.getOwnPropertyNames(Suite.prototype).filter(name => name.includes('_'))) {
    const started = Date.now()
    let verdict = 'ok'
    try {
      await suite[scenario]()
    } catch (error) { // one scenario's failure must not hide the next one's
      verdict = `FAILED: ${driver.describeError(error)}`
      failed++
    }
    console.log(`  ${driver.name}: ${scenario} ${verdict} (${((Date.now() - started) / 1000).toFixed(1)} s)`)
  }
  for (const topic of suite.topics) await driver.deleteTopic(topic).catch(() => {})
  process.exit(failed ? 1 : 0)
}
