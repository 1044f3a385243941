import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { RegistrySchemas, type RegistryOptions } from '../../../connectors/registry/schemas.ts'

const taps = { type: 'record', name: 'taps', fields: [{ name: 'at', type: 'long' }] }
const closing: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

async function registryOf(listener: RequestListener, options: Partial<RegistryOptions> = {}) {
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(request.url ?? '')
    listener(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const close = (): Promise<unknown> => {
    server.closeAllConnections()
    return new Promise((resolve) => server.close(resolve))
  }
  closing.push(close)
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/apis/ccompat/v7/`
  return { asked, close, schemas: new RegistrySchemas({ url, ...options }) }
}

const json =
  (status: number, body: unknown): RequestListener =>
  (_, response) =>
    void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))

describe('schemas of a registry', () => {
  it('are asked for once, by id, and go on when it is down', async () => {
    const { asked, close, schemas } = await registryOf(json(200, { schema: JSON.stringify(taps) }))
    expect(schemas.schema(7)).toBeUndefined()
    await schemas.load([7, 7])
    await schemas.load([7])
    expect(asked).toEqual(['/apis/ccompat/v7/schemas/ids/7'])
    await close()
    expect(schemas.schema(7)).toEqual(taps)
    await schemas.load([7])
    await expect(schemas.load([7, 8])).rejects.toMatchObject({ code: 'FS_REGISTRY_UNAVAILABLE', kind: 'unavailable' })
  })

  it('that are not there are asked for again; those that no record can be read with are not', async () => {
    const missing = await registryOf(json(404, { error_code: 40403, message: 'Schema not found' }))
    await missing.schemas.load([1])
    await missing.schemas.load([1])
    expect([missing.schemas.schema(1), missing.asked.length]).toEqual([undefined, 2])
    for (const body of [
      { schema: 'syntax = "proto3";', schemaType: 'PROTOBUF' },
      { schema: JSON.stringify(taps), references: [{ name: 'other', subject: 'other', version: 1 }] },
      { schema: '"string"' },
      { schema: '{' },
    ]) {
      const { schemas, asked } = await registryOf(json(200, body))
      await schemas.load([1])
      await schemas.load([1])
      expect([schemas.schema(1), asked.length]).toEqual([undefined, 1])
    }
  })

  it.each([
    ['a server error', json(503, {})],
    ['a 404 that is not its own', ((_, response) => void response.writeHead(404).end('<html>')) as RequestListener],
    ['no JSON', ((_, response) => void response.end('{')) as RequestListener],
    ['no answer', (() => {}) as RequestListener],
    ['an answer without end', ((_, response) => void response.end(Buffer.alloc(9 * 1024 * 1024))) as RequestListener],
    ['a redirect', ((_, response) => void response.writeHead(302, { location: '/' }).end()) as RequestListener],
  ])('%s is unavailable, not unknown', async (_, listener) => {
    const { schemas } = await registryOf(listener, { timeoutMs: 300 })
    await expect(schemas.load([1])).rejects.toMatchObject({ code: 'FS_REGISTRY_UNAVAILABLE' })
  })

  it('take a user and a password, and say when they are refused', async () => {
    const listener: RequestListener = (request, response) => {
      const given = Buffer.from((request.headers.authorization ?? '').slice('Basic '.length), 'base64').toString()
      json(given === 'us:secret' ? 200 : 401, { schema: JSON.stringify(taps) })(request, response)
    }
    const right = await registryOf(listener, { username: 'us', password: 'secret' })
    await right.schemas.load([1])
    expect(right.schemas.schema(1)).toEqual(taps)
    for (const options of [{ username: 'us', password: 'wrong' }, {}]) {
      const { schemas } = await registryOf(listener, options)
      const error: unknown = await schemas.load([1]).catch((refused: unknown) => refused)
      expect(error).toMatchObject({ code: 'FS_REGISTRY_REFUSED', kind: 'invalid' })
      expect(String(error)).not.toContain('wrong')
    }
  })
})
