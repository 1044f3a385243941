import { FeatureStoreError } from '../../core/errors.ts'

export const partitionsMax = 1024

/** Names become folders: no separators, no leading dot. */
const streamName = /^[A-Za-z_][A-Za-z0-9_.-]{0,199}$/

export const isStreamName = (name: string): boolean => streamName.test(name)

export function checkStreamName(name: string): void {
  if (!isStreamName(name))
    throw new FeatureStoreError('FS_DEFINITION_INVALID', `${JSON.stringify(name)} is no name for a stream`)
}

export function checkPartitions(stream: string, wanted: number, there: number | undefined): void {
  if (!Number.isSafeInteger(wanted) || wanted < 1 || wanted > partitionsMax)
    throw new FeatureStoreError('FS_DEFINITION_INVALID', `${stream} cannot have ${wanted} partitions`)
  if (there !== undefined && there !== wanted)
    throw new FeatureStoreError('FS_DEFINITION_INVALID', `${stream} has ${there} partitions, not ${wanted}`)
}
