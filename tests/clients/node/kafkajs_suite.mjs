// kafkajs against the shared scenarios. lz4, snappy and zstd are plugged in: kafkajs ships only gzip.

import { randomUUID } from 'node:crypto'
import zstd from '@bokuweb/zstd-wasm'
import { lz4Compress, lz4Decompress, snappyCompress, snappyDecompress } from '@platformatic/wasm-utils'
import kafkajs from 'kafkajs'
import { main, until } from './scenarios.mjs'

const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = kafkajs
const XERIAL_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])

/** Kafka's Java clients frame snappy in xerial blocks, librdkafka does not: read both, write framed. */
const xerialSnappy = {
  compress: async ({ buffer }) => {
    const block = snappyCompress(buffer)
    const header = Buffer.alloc(20)
    XERIAL_MAGIC.copy(header)
    header.writeInt32BE(1, 8)
    header.writeInt32BE(1, 12)
    header.writeInt32BE(block.length, 16)
    return Buffer.concat([header, block])
  },
  decompress: async buffer => {
    if (!buffer.subarray(0, 8).equals(XERIAL_MAGIC)) return snappyDecompress(buffer)
    const blocks = []
    for (let at = 16; at < buffer.length;) {
      const end = at + 4 + buffer.readInt32BE(at)
      blocks.push(snappyDecompress(buffer.subarray(at + 4, end)))
      at = end
    }
    return Buffer.concat(blocks)
  }
}

await zstd.init()
CompressionCodecs[CompressionTypes.Snappy] = () => xerialSnappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async ({ buffer }) => lz4Compress(buffer),
  decompress: async buffer => lz4Decompress(buffer)
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async ({ buffer }) => Buffer.from(zstd.compress(buffer)),
  decompress: async buffer => Buffer.from(zstd.decompress(buffer))
})
const CODECS = {
  none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD
}

/** kafkajs keeps headers as an object: duplicates of a key become an array. */
function toHeaders (pairs) {
  const headers = {}
  for (const [name, value] of pairs) headers[name] = name in headers ? [headers[name], value].flat() : value
  return headers
}
const fromHeaders = headers => Object.entries(headers).flatMap(([name, value]) => [value].flat().map(v => [name, v]))

const toMessages = (partition, records) => records.map(r => ({
  key: r.key, value: r.value, partition, headers: toHeaders(r.headers), timestamp: String(r.timestamp)
}))

class Member {
  received = []
  #owned = []
  #next = new Map()

  async start (kafka, group, topic) {
    this.topic = topic
    this.consumer = kafka.consumer({ groupId: group, sessionTimeout: 10_000, heartbeatInterval: 300, maxWaitTimeInMs: 200 })
    this.consumer.on('consumer.group_join', ({ payload }) => { this.#owned = payload.memberAssignment[topic] ?? [] })
    await this.consumer.connect()
    await this.consumer.subscribe({ topics: [topic], fromBeginning: true })
    await this.consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        this.received.push({ partition, offset: Number(message.offset), value: message.value.toString() })
        this.#next.set(partition, String(BigInt(message.offset) + 1n))
      }
    })
    return this
  }

  assignment () { return this.#owned }

  async commit () {
    await this.consumer.commitOffsets([...this.#next].map(([partition, offset]) => ({ topic: this.topic, partition, offset })))
  }

  async close () { await this.consumer.disconnect() }
}

class Driver {
  fetchWaitMs = 0
  name = 'kafkajs'
  codecs = Object.keys(CODECS)

  async start (bootstrap) {
    this.kafka = new Kafka({ clientId: 'kafkajs-suite', brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 8 } })
    this.admin = this.kafka.admin()
    this.producer = this.kafka.producer({ createPartitioner: () => ({ message }) => message.partition, allowAutoTopicCreation: false })
    await this.admin.connect()
    await this.producer.connect()
    return this
  }

  describeError (error) { return `${error?.name} ${error?.type ?? error?.cause?.type ?? ''}: ${error?.message}` }

  async createTopic (topic, numPartitions) { await this.admin.createTopics({ topics: [{ topic, numPartitions }], waitForLeaders: true }) }

  async deleteTopic (topic) { await this.admin.deleteTopics({ topics: [topic] }) }

  async produce (topic, partition, records, { codec = 'none' }) {
    const [result] = await this.producer.send({ topic, acks: -1, compression: CODECS[codec], messages: toMessages(partition, records) })
    return Number(result.baseOffset)
  }

  async produceIdempotent (topic, partition, batches) {
    const producer = this.kafka.producer({ idempotent: true, maxInFlightRequests: 1, createPartitioner: () => () => partition })
    await producer.connect()
    try {
      const offsets = []
      for (const batch of batches) {
        const [result] = await producer.send({ topic, acks: -1, compression: CompressionTypes.GZIP, messages: toMessages(partition, batch) })
        offsets.push(Number(result.baseOffset))
      }
      return offsets
    } finally {
      await producer.disconnect()
    }
  }

  async transactions (transactionalId) {
    const producer = this.kafka.producer({
      transactionalId, idempotent: true, maxInFlightRequests: 1, transactionTimeout: 30_000, createPartitioner: () => ({ message }) => message.partition
    })
    await producer.connect()
    return {
      begin: async () => {
        const transaction = await producer.transaction()
        return {
          send: (topic, partition, values) => transaction.send({ topic, acks: -1, messages: values.map(value => ({ value, partition })) }),
          offset: (consumerGroupId, topic, partition, offset) =>
            transaction.sendOffsets({ consumerGroupId, topics: [{ topic, partitions: [{ partition, offset: String(offset) }] }] }),
          commit: () => transaction.commit(),
          abort: () => transaction.abort()
        }
      },
      close: () => producer.disconnect()
    }
  }

  async values (topic, partition, isolation, last) {
    const consumer = this.kafka.consumer({
      groupId: `values-${randomUUID()}`, maxWaitTimeInMs: 200, sessionTimeout: 10_000, readUncommitted: isolation === 'read_uncommitted'
    })
    const values = []
    await consumer.connect()
    try {
      await consumer.subscribe({ topics: [topic], fromBeginning: true })
      await consumer.run({
        autoCommit: false,
        eachMessage: async ({ partition: from, message }) => { if (from === partition) values.push(message.value.toString()) }
      })
      await until(() => values.at(-1) === last, () => `${values.length} values, and ${last} is not among them`)
      return values
    } finally {
      await consumer.disconnect()
    }
  }

  /** kafkajs has no consumer without a group: one of its own, sought to the offset. */
  async read (topic, partition, offset, count) {
    const consumer = this.kafka.consumer({ groupId: `read-${randomUUID()}`, maxWaitTimeInMs: 200, sessionTimeout: 10_000, maxBytesPerPartition: 4_000_000 })
    const records = []
    await consumer.connect()
    try {
      await consumer.subscribe({ topics: [topic], fromBeginning: true })
      await consumer.run({
        autoCommit: false,
        eachMessage: async ({ partition: from, message }) => {
          if (from !== partition || records.length >= count) return
          records.push({
            key: message.key, value: message.value, headers: fromHeaders(message.headers ?? {}),
            timestamp: Number(message.timestamp), offset: Number(message.offset)
          })
        }
      })
      consumer.seek({ topic, partition, offset: String(offset) })
      await until(() => records.length >= count, () => `read ${records.length} of ${count} records`)
      return records
    } finally {
      await consumer.disconnect()
    }
  }

  /** Asks the broker itself: admin.fetchTopicOffsetsByTimestamp answers the end where nothing is found. */
  async offsetForTime (topic, partition, timestamp) {
    const found = (await this.admin.fetchTopicOffsetsByTimestamp(topic, timestamp)).find(p => p.partition === partition)
    const end = await this.endOffset(topic, partition)
    return Number(found.offset) < end ? Number(found.offset) : null
  }

  async endOffset (topic, partition) {
    return Number((await this.admin.fetchTopicOffsets(topic)).find(p => p.partition === partition).high)
  }

  async committed (group, topic) {
    const [found] = await this.admin.fetchOffsets({ groupId: group, topics: [topic] })
    return Object.fromEntries(found.partitions.map(p => [p.partition, Number(p.offset)]))
  }

  async member (group, topic) { return new Member().start(this.kafka, group, topic) }
}

main(bootstrap => new Driver().start(bootstrap))
