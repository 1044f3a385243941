/** A private schema registry. */
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { freePorts } from '../../../scripts/services/ports.ts'
import { Problem } from '../../../scripts/services/problem.ts'
import {
  checkRegistry,
  findRegistry,
  registry,
  registryAddress,
  registryLaunch,
} from '../../../scripts/services/registry.ts'
import { settingsOf } from '../../../scripts/services/settings.ts'
import { ServerNode } from './node.ts'
import { serverOf, temporaryFolder, withRetry, type Server } from './server.ts'

/** `address` is the base URL of Confluent's API. */
export async function startRegistry(): Promise<Server> {
  const files = await findRegistry(settingsOf().folder)
  if (files instanceof Problem) throw files
  return await withRetry(async () => {
    const folder = temporaryFolder('registry')
    const [port = 0] = await freePorts(1)
    const data = join(folder, 'data')
    mkdirSync(data)
    const node = new ServerNode({
      title: 'the schema registry',
      port,
      folder,
      logFile: join(folder, 'server.log'),
      launch: () => registryLaunch(files, port, data),
      check: () => checkRegistry(port),
      readyMs: registry.readyMs,
      stopMs: registry.stopMs,
    })
    const wipe = async (): Promise<void> => rmSync(data, { recursive: true, force: true })
    const start = (): Promise<void> => node.start()
    return { server: serverOf({ folder, address: registryAddress(port), nodes: [node], start, wipe }), start }
  })
}
