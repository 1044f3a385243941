/**
 * The process of one model version: reads frames, runs the model, answers in order. It has nothing else to do, so it
 * reads and writes blocking, which is the shortest way; the end of the pipe, also by the parent's death, ends it.
 */
import { readSync, writeSync } from 'node:fs'
import * as ort from 'onnxruntime-node'
import { FrameKind, frame, headerBytes, readHeader } from './frame.ts'

const channel = 3
const inputName = 'features'
const outputName = 'score'

/** The reason why a file is not a model that can be served. */
class Refusal extends Error {}

interface Loaded {
  readonly session: ort.InferenceSession
  readonly features: number
}

/** Fills `target`; false when the pipe ended. */
function readWhole(target: Uint8Array): boolean {
  for (let at = 0; at < target.length;) {
    let count: number
    try {
      count = readSync(channel, target, at, target.length - at, null)
    } catch (error) {
      // How Windows says that the other end is closed, and Linux when it was closed with bytes unread.
      if (['EOF', 'EPIPE', 'ECONNRESET'].includes((error as NodeJS.ErrnoException).code ?? '')) return false
      throw error
    }
    if (count === 0) return false
    at += count
  }
  return true
}

function writeWhole(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += writeSync(channel, bytes, at, bytes.length - at)
}

async function score({ session, features }: Loaded, matrix: Float32Array): Promise<Float32Array> {
  const rows = matrix.length / features
  const outputs = await session.run({ [inputName]: new ort.Tensor('float32', matrix, [rows, features]) })
  const output = outputs[outputName]
  if (output?.type !== 'float32' || output.dims.length !== 1 || output.dims[0] !== rows)
    throw new Refusal(`the output ${outputName} is not float32 [N]`)
  return output.data as Float32Array
}

async function load(features: number, bytes: Uint8Array): Promise<Loaded> {
  const session = await ort.InferenceSession.create(bytes, {
    executionProviders: ['cpu'],
    executionMode: 'sequential',
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  })
  const input = session.inputMetadata.find(({ name }) => name === inputName)
  if (session.inputNames.length !== 1 || input?.isTensor !== true || input.type !== 'float32')
    throw new Refusal(`the inputs are [${session.inputNames.join(', ')}], not one float32 tensor ${inputName}`)
  if (!session.outputNames.includes(outputName)) throw new Refusal(`there is no output ${outputName}`)
  const width = input.shape[1]
  if (input.shape.length !== 2 || (typeof width === 'number' && width > 0 && width !== features))
    throw new Refusal(`the model takes [${input.shape.join(', ')}], the service gives ${features} features`)
  const loaded = { session, features }
  // A model with a free width shows only here whether it fits; and the first run is the slow one.
  await score(loaded, new Float32Array(features))
  return loaded
}

async function serve(): Promise<void> {
  const headerBuffer = new Uint8Array(headerBytes)
  let loaded: Loaded | null = null
  while (readWhole(headerBuffer)) {
    const header = readHeader(headerBuffer)
    const body = new Uint8Array(header.length)
    if (!readWhole(body)) return
    try {
      if (header.kind === FrameKind.LOAD) {
        loaded = await load(new Uint32Array(body.buffer, 0, 1)[0] as number, body.subarray(4))
        writeWhole(frame(FrameKind.LOADED, header.call))
      } else if (loaded === null) {
        throw new Refusal('no model is loaded')
      } else {
        writeWhole(frame(FrameKind.SCORES, header.call, await score(loaded, new Float32Array(body.buffer))))
      }
    } catch (error) {
      writeWhole(
        frame(FrameKind.REFUSED, header.call, Buffer.from(error instanceof Error ? error.message : String(error))),
      )
    }
  }
}

// Ctrl-C reaches the whole process group; the parent decides when this process has drained.
process.on('SIGINT', () => {})
await serve()
process.exit(0)
