import { setTimeout as sleep } from 'node:timers/promises'
import type { Admin, ITopicConfig } from 'kafkajs'

const patienceMs = 30_000

/**
 * Makes a topic, if it is not there, and waits until all of its partitions have leaders. kafkajs's own waiting gives up
 * where the broker that it asks has not heard of the topic yet.
 */
export async function makeTopic(admin: Admin, config: ITopicConfig): Promise<void> {
  const until = Date.now() + patienceMs
  await admin.createTopics({ topics: [config], waitForLeaders: false })
  for (;;) {
    try {
      const { topics } = await admin.fetchTopicMetadata({ topics: [config.topic] })
      if (topics[0]?.partitions.every(({ leader }) => leader >= 0) === true) return
    } catch (error) {
      if (Date.now() > until) throw error
    }
    if (Date.now() > until) throw new Error(`topic ${config.topic} gets no leaders`)
    await sleep(50)
  }
}
