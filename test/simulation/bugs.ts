/**
 * Bugs to plant, one at a time, in the code that a seed loads: each is one that somebody could write. The simulation is
 * as good as what it catches of them.
 */
export interface Change {
  readonly file: string
  /** Found exactly once. */
  readonly find: string
  readonly replace: string
}

export interface Bug {
  readonly name: string
  readonly changes: readonly Change[]
}

const inFile =
  (file: string) =>
  (name: string, find: string, replace: string): Bug => ({ name, changes: [{ file, find, replace }] })

const shardState = inFile('connectors/kit/shard-state.ts')
const projection = inFile('worker/online-projection.ts')
const run = inFile('worker/run-online.ts')
const shard = inFile('worker/shard-set.ts')
const loadRows = inFile('worker/load-rows.ts')
const keeper = inFile('worker/shard-keeper.ts')
const positions = inFile('core/event/position.ts')
const offline = inFile('worker/offline-projection.ts')
const engine = inFile('core/engine/view-engine.ts')
const rowParts = inFile('core/engine/row-parts.ts')
const finish = inFile('core/engine/finish.ts')
const events = inFile('core/engine/state/event-cursors.ts')
const identity = inFile('core/engine/state/identity.ts')
const node = inFile('test/simulation/fakes/sim-store-node.ts')

export const bugs: readonly Bug[] = [
  // What a store does with a flush.
  shardState(
    'no fence',
    'if (flush.lease.epoch !== state.epoch || flush.lease.nonce !== state.nonce)',
    'if (flush.lease.epoch > state.epoch)',
  ),
  shardState(
    'a fence of epochs alone, which a failover rolls back',
    'flush.lease.epoch !== state.epoch || flush.lease.nonce !== state.nonce',
    'flush.lease.epoch !== state.epoch',
  ),
  shardState(
    'a nonce that stays with the shard',
    'epoch: state.epoch + 1, nonce })',
    "epoch: state.epoch + 1, nonce: state.nonce === '' ? nonce : state.nonce })",
  ),
  shardState(
    'a gap is applied',
    "if (!sameShardPosition(state.position, flush.from)) return { kind: 'gap', found: state.position }",
    '',
  ),
  shardState(
    'what is applied already is a gap',
    "if (sameShardPosition(state.position, flush.to)) return { kind: 'already-applied' }",
    '',
  ),
  shardState(
    'a flush that is sent again is applied again',
    "return { kind: 'already-applied' }",
    "return { kind: 'applied' }",
  ),
  positions(
    'positions of the first partition alone are compared',
    'a.every((partition',
    'a.slice(0, 1).every((partition',
  ),
  // A store that is less atomic than it says.
  node('the position is written before the rows', 'view, key, row }, write)', 'view, key, row }, ++this.#write)'),
  node(
    'a flush is split in two writes, rows first',
    '{ ...state, position: to }, write)',
    '{ ...state, position: to }, ++this.#write)',
  ),
  node('dead letters are written after the flush', 'letter, write)', 'letter, ++this.#write)'),
  node(
    'parts are written after the flush',
    'parts.set(String(part), bytes, write)',
    'parts.set(String(part), bytes, ++this.#write)',
  ),
  node('rows are read apart from their position', 'at)?.row ?? null', 'this.#write)?.row ?? null'),
  // From where a shard takes records.
  projection(
    'off by one: the record at the position is skipped',
    'firsts[shard.number] = shard.next(batch.stream, batch.partition)',
    'firsts[shard.number] = shard.next(batch.stream, batch.partition) + 1',
  ),
  projection(
    'off by one: the record before the position is taken again',
    'firsts[shard.number] = shard.next(batch.stream, batch.partition)',
    'firsts[shard.number] = shard.next(batch.stream, batch.partition) - 1',
  ),
  projection(
    'the position of the wrong partition',
    'firsts[shard.number] = shard.next(batch.stream, batch.partition)',
    'firsts[shard.number] = shard.next(batch.stream, 0)',
  ),
  projection(
    'a shard that is ahead takes again what it has',
    'firsts[shard.number] = shard.next(batch.stream, batch.partition)',
    'firsts[shard.number] = (taking[0] as Shard).next(batch.stream, batch.partition)',
  ),
  projection(
    'reading goes on where the furthest shard is: lost tail of the others',
    'return low > high ? [] : low === high ? [low] : [low, high]',
    'return low > high ? [] : [high]',
  ),
  shard(
    'lost tail on rebalance: a batch counts for shards that it does not follow',
    'return batch.firstOffset <= next && next < batch.nextOffset',
    'return next < batch.nextOffset',
  ),
  shard('a batch takes a shard back', 'next < batch.nextOffset', 'next <= batch.nextOffset + 40'),
  shard(
    'positions of a flush go on moving while it is sent',
    '(this.#applied).map(([stream, partitions]) => [stream, [...partitions]])',
    '(this.#applied).map(([stream, partitions]) => [stream, partitions])',
  ),
  shard('the newest event time is not restored', 'Object.assign(this.#newest, position?.newestEventTimeMs ?? {})', ''),
  shard(
    "a shard begins at the log's beginning whatever the store holds",
    'this.#applied[stream] = [...partitions]\n',
    'void [stream, partitions]\n',
  ),
  // What is flushed, and what becomes of it.
  shard('dead letters are not flushed', 'deadLetters: this.dead,', 'deadLetters: [],'),
  shard('what is sent again names another position', 'from: this.stored,', 'from: this.flight?.from ?? null,'),
  projection(
    'dead letters of records are kept by any shard',
    'const shard = batch.partition % this.#settings.shards\n',
    'const shard = batch.firstOffset % this.#settings.shards\n',
  ),
  projection(
    'a gap is taken for applied: stale memory after a failover',
    "return outcome.kind === 'gap' ? 'gap' : null",
    'return null',
  ),
  projection(
    'a fence is taken for applied',
    "return outcome.byEpoch < epoch ? 'gap' : 'fenced'",
    "return outcome.byEpoch < epoch ? 'gap' : null",
  ),
  projection(
    'a flush that nobody answered is not sent again',
    'const again = asked.filter(({ isUnanswered }) => isUnanswered)',
    'const again = asked.filter(({ isUnanswered, flight }) => isUnanswered && flight === null)',
  ),
  projection(
    'rows of one shard go with another',
    'shard.take(this.#logId, rows.get(shard.number) ?? [])',
    'shard.take(this.#logId, rows.get(shard.number ^ 1) ?? [])',
  ),
  projection(
    'a shard that is lost keeps its memory',
    'for (const shard of shards) shard.lose(reason)\n    for (const engine of this.#engines) engine.disown',
    'for (const shard of shards) shard.lose(reason)\n    for (const engine of [] as ViewEngine[]) engine.disown',
  ),
  projection(
    'rows are dropped before their flush is answered',
    '    await this.#arrived()\n    if (this.#held()',
    '    if (this.#held()',
  ),
  projection(
    'rows are dropped whose flush nobody answered',
    'if (this.#held().some(({ isUnanswered }) => isUnanswered)) await this.flush()\n',
    '',
  ),
  projection(
    'a shard that was given back keeps its rows',
    'for (const engine of this.#engines) engine.disown(new Set(shards))\n  }',
    '}',
  ),
  loadRows('rows are taken wherever their shard stands', 'this.#stale.add(own.shard)', 'void own'),
  keeper(
    'a lost shard is not asked for again',
    'lost !== undefined && nowMs - lost.atMs < pauseMs(lost)',
    'lost !== undefined',
  ),
  run(
    'a worker with nothing to write does not look at its store',
    'caughtUp()\n      await this.#checkStore()',
    'caughtUp()',
  ),
  projection(
    'a shard that the store has moved is kept',
    "this.#lose(await strayedShards(this.#store, this.#shards), 'stale')",
    'await strayedShards(this.#store, this.#shards)',
  ),
  // Memory as a cache.
  engine(
    'double merge after an eviction',
    '      this.#state.clear(entity)\n      this.#setDirectory(entity, null)\n      table.unset(entity, Flag.loaded)\n',
    '      this.#setDirectory(entity, null)\n      table.unset(entity, Flag.loaded)\n',
  ),
  engine(
    'what has changed is evicted',
    'if (table.has(entity, Flag.dirty) || !table.has(entity, Flag.loaded)) continue',
    'if (!table.has(entity, Flag.loaded)) continue',
  ),
  engine('what changes after a flush is not flushed', '        this.#entities.unset(entity, Flag.dirty)\n', ''),
  engine(
    'a row that was evicted is taken for new',
    'if (row !== null) decodeInto(this.#state, entity, row)',
    'if (row !== null && this.#changed.length === 0) decodeInto(this.#state, entity, row)',
  ),
  engine(
    'retracts are applied again on replay',
    'if (offset < (firsts[shard] as number)) continue\n      if ((flags',
    'if (offset < (firsts[shard] as number) && ops?.[row] !== Op.retract) continue\n      if ((flags',
  ),
  engine(
    'late events are taken on replay',
    'const plain = view.latenessMs === null',
    'const plain = view.latenessMs === null || !Number.isFinite(from(0)) || from(0) > 0',
  ),
  engine(
    'dead letters of the view are lost where the first shard has them',
    'if (offset >= (firsts[shard] as number)) letter(shard',
    'if (offset >= (firsts[0] as number)) letter(shard',
  ),
  engine(
    'a version is not taken back by the next',
    '    store.floats[at] = untilMs > knownMs ? untilMs : Number.NEGATIVE_INFINITY\n',
    '',
  ),
  engine(
    'the rows of a changelog are not flushed',
    'if (this.#versions === null) return\n    for',
    'if (this.#versions !== null) return\n    for',
  ),
  identity(
    'a retract that comes first is forgotten',
    'retraction === undefined ?',
    'retraction === undefined || known(retraction) < known(member) ?',
  ),
  // Parts of rows.
  rowParts(
    'parts are dropped with their head',
    'drop: directory?.gone ?? [] }, directory: now',
    'drop: [...(directory?.gone ?? []), ...gone] }, directory: { ...now, gone: [] }',
  ),
  rowParts('parts are left behind', 'drop: directory?.gone ?? [] }, directory: now', 'drop: [] }, directory: now'),
  rowParts('a reader does not check parts', 'if (checkOf(bytes) !== part.check) return false', ''),
  rowParts(
    'names of parts are given again',
    'let next = directory?.next ?? 1',
    'let next = directory?.parts.length ?? 1',
  ),
  rowParts('a part that changed is not written', 'if (!stretch.changed && pruned', 'if (stretch.name > 0 && pruned'),
  // Windows.
  events(
    '<= for < at the edge of a window',
    'as number) < delta) from = middle + 1',
    'as number) <= delta) from = middle + 1',
  ),
  finish('what was pruned is not missed', 'if (wasPruned && prunedNewest >= asOfMs - plan.reachMs) return false', ''),
  finish(
    'the end of a window that ends before T is T',
    'const hi = endMs === asOfMs ? end :',
    'const hi = endMs <= asOfMs ? end :',
  ),
  // The log and the offline table.
  offline(
    'a table that is elsewhere is taken for ours',
    "if (outcome.kind === 'gap') {",
    "if (outcome.kind === 'gap' && batch.count < 0) {",
  ),
  offline('a table is compared with the log of before', 'const now = await reader.refresh()', 'const now = partitions'),
]
