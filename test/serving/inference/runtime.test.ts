import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { describe, test } from 'vitest'
import { createInferenceRuntime } from '../../../serving/inference/runtime.ts'
import { scoreLogistic, type LogisticModel } from '../../../training/logistic-regression.ts'
import { writeOnnx } from '../../../training/onnx.ts'

const linear: LogisticModel = {
  mean: Float64Array.of(1, 10),
  std: Float64Array.of(2, 5),
  weights: Float64Array.of(0.5, -1),
  bias: 0.25,
}
const bytes = writeOnnx(linear, { name: 'risk' })
const risk = { name: 'risk', version: 1, bytes, features: 2 }
const failsWith = (code: string) => (error: { code?: string }) => {
  assert.equal(error.code, code)
  return true
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

async function until(done: () => boolean): Promise<void> {
  for (let tries = 0; !done(); tries++) {
    assert.ok(tries < 500, 'waited 5 s')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

describe('inference runtime', () => {
  test('scores equal those of the model, missing values included, and calls keep their answers apart', async () => {
    await using runtime = createInferenceRuntime()
    await runtime.load(risk)
    const calls = Array.from({ length: 40 }, (_, call) =>
      Float32Array.from({ length: 2 * (call + 1) }, (_, i) => (i === 3 ? Number.NaN : call + i)),
    )
    const scores = await Promise.all(calls.map((matrix) => runtime.predict('risk', 1, matrix, matrix.length / 2)))
    for (const [call, matrix] of calls.entries()) {
      const expected = scoreLogistic(linear, matrix)
      assert.equal(scores[call]?.length, expected.length)
      for (const [row, score] of expected.entries()) assert.ok(Math.abs((scores[call]?.[row] as number) - score) < 1e-6)
    }
    assert.equal((await runtime.predict('risk', 1, new Float32Array(0), 0)).length, 0)
  })

  test('a matrix larger than the pipe comes back whole', async () => {
    await using runtime = createInferenceRuntime({ deadlineMs: 10_000 })
    await runtime.load(risk)
    const matrix = Float32Array.from({ length: 400_000 }, (_, i) => i % 17)
    const scores = await runtime.predict('risk', 1, matrix, 200_000)
    const expected = scoreLogistic(linear, matrix)
    assert.ok(scores.every((score, row) => Math.abs(score - (expected[row] as number)) < 1e-6))
  })

  test('a killed process fails its calls, is started again by itself, and answers again', async () => {
    await using runtime = createInferenceRuntime()
    await runtime.load(risk)
    const row = Float32Array.of(1, 10)
    const before = await runtime.predict('risk', 1, row, 1)
    const pid = runtime.processes().get('risk@1') as number
    process.kill(pid, 'SIGKILL')
    await assert.rejects(runtime.predict('risk', 1, row, 1), failsWith('FS_INFERENCE_UNAVAILABLE'))
    await until(() => (runtime.processes().get('risk@1') ?? pid) !== pid)
    assert.deepEqual(await runtime.predict('risk', 1, row, 1), before)
    await runtime.load(risk)
    assert.deepEqual(await runtime.predict('risk', 1, row, 1), before)
  })

  test('a model with another number of features is refused at load, and leaves no process', async () => {
    await using runtime = createInferenceRuntime()
    await assert.rejects(runtime.load({ ...risk, features: 3 }), failsWith('FS_MODEL_INVALID'))
    await assert.rejects(runtime.load({ ...risk, bytes: Uint8Array.of(1, 2, 3) }), failsWith('FS_MODEL_INVALID'))
    assert.equal(runtime.processes().size, 0)
    await assert.rejects(runtime.predict('risk', 1, Float32Array.of(1, 1), 1), failsWith('FS_MODEL_UNKNOWN'))
    await runtime.load(risk)
    await assert.rejects(runtime.predict('risk', 1, Float32Array.of(1, 1, 1), 1), failsWith('FS_REQUEST_INVALID'))
    const other = writeOnnx({ ...linear, bias: 9 }, { name: 'risk' })
    await assert.rejects(runtime.load({ ...risk, bytes: other }), failsWith('FS_MODEL_INVALID'))
  })

  test('a full queue refuses, an overdue call ends at its deadline, a hung process is replaced', async () => {
    await using runtime = createInferenceRuntime({ queueCapacity: 2, hungMs: 100 })
    await runtime.load(risk)
    const pid = runtime.processes().get('risk@1') as number
    process.kill(pid, 'SIGSTOP')
    const row = Float32Array.of(1, 10)
    const overdue = runtime.predict('risk', 1, row, 1, { deadlineMs: 20 })
    const waiting = runtime.predict('risk', 1, row, 1, { deadlineMs: 150 })
    await assert.rejects(runtime.predict('risk', 1, row, 1), failsWith('FS_INFERENCE_UNAVAILABLE'))
    await assert.rejects(overdue, failsWith('FS_DEADLINE'))
    await assert.rejects(waiting, failsWith('FS_DEADLINE'))
    await until(() => (runtime.processes().get('risk@1') ?? pid) !== pid)
    assert.equal((await runtime.predict('risk', 1, row, 1, { deadlineMs: 5_000 })).length, 1)
  })

  test('models are bounded, unloading ends the process, closing twice is safe', async () => {
    const runtime = createInferenceRuntime({ modelsMax: 1 })
    await runtime.load(risk)
    await assert.rejects(runtime.load({ ...risk, version: 2 }), failsWith('FS_LIMIT_EXCEEDED'))
    const pid = runtime.processes().get('risk@1') as number
    const last = runtime.predict('risk', 1, Float32Array.of(1, 10), 1)
    await runtime.unload('risk', 1)
    assert.equal((await last).length, 1)
    assert.ok(!alive(pid))
    await runtime.load({ ...risk, version: 2 })
    await Promise.all([runtime.close(), runtime.close()])
    await assert.rejects(runtime.load(risk), failsWith('FS_CLOSED'))
    await assert.rejects(runtime.predict('risk', 2, Float32Array.of(1, 1), 1), failsWith('FS_CLOSED'))
  })

  test('a child does not outlive a killed parent', async () => {
    const runtimePath = fileURLToPath(new URL('../../../serving/inference/runtime.ts', import.meta.url))
    const script = `
      const { createInferenceRuntime } = await import(${JSON.stringify(runtimePath)})
      const runtime = createInferenceRuntime()
      await runtime.load({ name: 'risk', version: 1, features: 2, bytes: Buffer.from('${Buffer.from(bytes).toString('base64')}', 'base64') })
      console.log(runtime.processes().get('risk@1'))`
    const parent = spawn(process.execPath, ['--input-type=module', '--eval', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [line] = (await once(parent.stdout, 'data')) as [Buffer]
    const child = Number(line.toString())
    assert.ok(alive(child))
    parent.kill('SIGKILL')
    await until(() => !alive(child))
  })
})
