// @platformatic/kafka against the shared scenarios.

import { randomUUID } from 'node:crypto'
import { Admin, compressionsAlgorithms, Consumer, Producer } from '@platformatic/kafka'
import { main, until } from './scenarios.mjs'

const CODECS = Object.keys(compressionsAlgorithms).filter(name => compressionsAlgorithms[name].available)
if (!CODECS.includes('zstd')) console.log('  SKIP platformatic zstd: it needs Node 22.15 or newer (this is ' + process.version + ')')

// Header keys are Buffers: each is a Map key of its own, so duplicates survive.
const toMessages = (topic, partition, records) => records.map(r => ({
  topic, partition, key: r.key ?? undefined, value: r.value ?? undefined, timestamp: BigInt(r.timestamp),
  headers: new Map(r.headers.map(([name, value]) => [Buffer.from(name), value]))
}))

class Member {
  received = []
  #next = new Map()

  async start (base, groupId, topic) {
    this.topic = topic
    this.consumer = new Consumer({
      ...base, groupId, sessionTimeout: 10_000, rebalanceTimeout: 10_000, heartbeatInterval: 300, autocommit: false, maxWaitTime: 200
    })
    this.stream = await this.consumer.consume({ topics: [topic], mode: 'committed', fallbackMode: 'earliest' })
    this.stream.on('error', error => { this.error = error })
    this.stream.on('data', message => {
      this.received.push({ partition: message.partition, offset: Number(message.offset), value: message.value.toString() })
      this.#next.set(message.partition, message.offset + 1n)
    })
    return this
  }

  assignment () {
    if (this.error) throw this.error
    return (this.consumer.assignments ?? []).flatMap(a => a.partitions)
  }

  async commit () {
    await this.consumer.commit({
      offsets: [...this.#next].map(([partition, offset]) => ({ topic: this.topic, partition, offset, leaderEpoch: -1 }))
    })
  }

  async close () { await this.consumer.close(true) }
}

class Driver {
  fetchWaitMs = 400
  name = 'platformatic'
  codecs = CODECS

  async start (bootstrap) {
    this.base = { clientId: 'platformatic-suite', bootstrapBrokers: [bootstrap], timeout: 10_000 }
    this.admin = new Admin(this.base)
    this.producer = new Producer({ ...this.base, autocreateTopics: false })
    this.reader = new Consumer({ ...this.base, groupId: `unused-${randomUUID()}`, autocommit: false, maxWaitTime: 200, maxBytesPerPartition: 4_000_000 })
    return this
  }

  /** Errors nest: the broker's code is somewhere below. */
  describeError (error, depth = 0) {
    if (!error || depth > 5) return ''
    const inner = [error.cause, ...(error.errors ?? [])].map(e => this.describeError(e, depth + 1)).join(' ')
    return `${error.apiId ?? error.code ?? error.name}: ${error.message} ${inner}`.trim()
  }

  async createTopic (topic, partitions) { await this.admin.createTopics({ topics: [topic], partitions, replicas: 1 }) }

  async deleteTopic (topic) { await this.admin.deleteTopics({ topics: [topic] }) }

  async produce (topic, partition, records, { codec = 'none' }, producer = this.producer) {
    const result = await producer.send({ acks: -1, compression: codec, messages: toMessages(topic, partition, records) })
    return Number(result.offsets[0].offset)
  }

  async produceIdempotent (topic, partition, batches) {
    const producer = new Producer({ ...this.base, idempotent: true, autocreateTopics: false })
    try {
      const offsets = []
      for (const batch of batches) offsets.push(await this.produce(topic, partition, batch, { codec: 'gzip' }, producer))
      return offsets
    } finally {
      await producer.close()
    }
  }

  async read (topic, partition, offset, count) {
    const consumer = new Consumer({ ...this.base, groupId: `read-${randomUUID()}`, autocommit: false, maxWaitTime: 200, maxBytesPerPartition: 4_000_000 })
    const stream = await consumer.consume({ topics: [topic], mode: 'manual', offsets: [{ topic, partition, offset: BigInt(offset) }] })
    const records = []
    let failure = null
    stream.on('error', error => { failure = error })
    stream.on('data', message => {
      if (records.length >= count) return
      records.push({
        key: message.key ?? null, value: message.value ?? null, timestamp: Number(message.timestamp), offset: Number(message.offset),
        headers: [...message.headers].map(([name, value]) => [name.toString(), value])
      })
    })
    try {
      await until(() => { if (failure) throw failure; return records.length >= count }, () => `read ${records.length} of ${count} records`)
      return records
    } finally {
      await consumer.close(true)
    }
  }

  async offsetForTime (topic, partition, timestamp) {
    const found = await this.reader.listOffsets({ topics: [topic], partitions: { [topic]: [partition] }, timestamp: BigInt(timestamp) })
    const offset = Number(found.get(topic)[partition])
    return offset >= 0 ? offset : null
  }

  async endOffset (topic, partition) { return this.offsetForTime(topic, partition, -1) }

  async committed (groupId, topic, partitions) {
    const indexes = Array.from({ length: partitions }, (_, i) => i)
    const [group] = await this.admin.listConsumerGroupOffsets({ groups: [{ groupId, topics: [{ name: topic, partitionIndexes: indexes }] }] })
    return Object.fromEntries(group.topics[0].partitions.map(p => [p.partitionIndex, Number(p.committedOffset)]))
  }

  async member (group, topic) { return new Member().start(this.base, group, topic) }
}

main(bootstrap => new Driver().start(bootstrap))
