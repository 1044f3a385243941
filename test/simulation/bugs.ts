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
const offline = inFile('worker/offline-projection.ts')
const engine = inFile('core/engine/view-engine.ts')
const rowParts = inFile('core/engine/row-parts.ts')
const finish = inFile('core/engine/finish.ts')
const events = inFile('core/engine/state/event-store.ts')
const identity = inFile('core/engine/state/identity.ts')
const versions = inFile('core/engine/state/row-versions.ts')
const reader = inFile('schemas/stream-reader.ts')
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
  shardState(
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
    'return stored === null ? 0 : nextOffset(stored.position, batch.stream, batch.partition)',
    'return stored === null ? 0 : nextOffset(stored.position, batch.stream, batch.partition) + 1',
  ),
  projection(
    'off by one: the record before the position is taken again',
    'return stored === null ? 0 : nextOffset(stored.position, batch.stream, batch.partition)',
    'return stored === null ? 0 : nextOffset(stored.position, batch.stream, batch.partition) - 1',
  ),
  projection(
    'the position of the wrong partition',
    'return stored === null ? 0 : nextOffset(stored.position, batch.stream, batch.partition)',
    'return stored === null ? 0 : nextOffset(stored.position, batch.stream, 0)',
  ),
  projection(
    'a shard that is ahead takes again what it has',
    'const stored = this.#byShard.get(shard)?.stored ?? null\n',
    'const stored = this.#owned[0]?.stored ?? null\n',
  ),
  projection(
    'reading goes on where the furthest shard is: lost tail of the others',
    'return Math.min(\n      ...this.#owned',
    'return Math.max(\n      ...this.#owned',
  ),
  projection(
    'a shard that is ahead goes back',
    'held.next > applied.next ? held : applied',
    'held.next > applied.next ? applied : applied',
  ),
  projection(
    'positions of a flush go on moving while it is sent',
    '([stream, partitions]) => [stream, [...partitions]]',
    '([stream, partitions]) => [stream, partitions]',
  ),
  projection(
    'the newest event time is not restored',
    'this.#newest[stream] = Math.max(this.#newest[stream] ?? newest, newest)',
    'void newest',
  ),
  // What is flushed.
  projection('dead letters are not flushed', 'deadLetters: dead,', 'deadLetters: [],'),
  projection('dead letters of the last flush are flushed', 'for (const shard of this.#owned) shard.dead = []\n', ''),
  projection(
    'dead letters of records are kept by every shard',
    'const shard = batch.partition % this.#settings.shards\n',
    'const shard = batch.firstOffset % this.#settings.shards\n',
  ),
  projection(
    'a gap is taken for applied: stale memory after a failover',
    "if (outcome.kind === 'gap')",
    "if (outcome.kind === 'gap' && flushes.length === 0)",
  ),
  projection(
    'a fence is taken for applied',
    "if (outcome.kind === 'fenced')",
    "if (outcome.kind === 'fenced' && flushes.length === 0)",
  ),
  projection(
    'a flush that nobody answered is taken for applied',
    'const outcomes = await this.#store.apply(flushes)',
    "const outcomes = await this.#store.apply(flushes).catch(() => flushes.map(() => ({ kind: 'applied' as const })))",
  ),
  projection(
    'rows of one shard go with another',
    'rows: rows.get(lease.shard) ?? []',
    'rows: rows.get(lease.shard ^ 1) ?? []',
  ),
  projection('rows are dropped before their flush is answered', '    await this.#flushing\n    for', '    for'),
  // Memory as a cache.
  engine('double merge after an eviction', '      this.#state.clear(entity)\n', ''),
  engine(
    'what has changed is evicted',
    'if (table.has(entity, Flag.dirty) || !table.has(entity, Flag.loaded)) continue',
    'if (!table.has(entity, Flag.loaded)) continue',
  ),
  engine('what changes after a flush is not flushed', '      this.#entities.unset(entity, Flag.dirty)\n', ''),
  engine(
    'a row that was evicted is taken for new',
    'if (row !== null) decodeInto(this.#state, entity, row)',
    'if (row !== null && this.#changed.length === 0) decodeInto(this.#state, entity, row)',
  ),
  engine(
    'retracts are applied again on replay',
    'if (offset < (firsts[table.shard(entity)] as number)) continue\n      if ((flags',
    'if (offset < (firsts[table.shard(entity)] as number) && ops?.[row] !== Op.retract) continue\n      if ((flags',
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
  versions(
    'a version comes twice on replay',
    'if (at > 0 && !precedes(versions[at - 1] as RowVersion, version)) return at - 1\n',
    '',
  ),
  identity(
    'duplicates are known by neighbours only',
    '    const first = firsts.at(-1)\n',
    '    const first = firsts.length > 1 ? undefined : firsts.at(-1)\n',
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
  reader(
    'records below the position are read again',
    'this.#epochOf(partition, chunk.nextOffset), from)',
    'this.#epochOf(partition, chunk.nextOffset), chunk.baseOffset)',
  ),
  offline(
    'a table that is elsewhere is taken for ours',
    "if (outcome.kind === 'gap') {",
    "if (outcome.kind === 'gap' && batch.count < 0) {",
  ),
  offline('a table is compared with the log of before', 'const now = await reader.refresh()', 'const now = partitions'),
]
