import { type ProtocolReader } from './reader.ts'
import { ProtocolWriter } from './writer.ts'

/**
 * One request of Kafka's protocol in the one version that we speak. Names and layouts as in
 * clients/src/main/resources/common/message of apache/kafka.
 *
 *     request    length i32 | api key i16 | version i16 | correlation id i32 | client id string | tags, if flexible | body
 *     response   length i32 | correlation id i32 | tags, if flexible | body
 */
export interface Api<Request, Response> {
  readonly name: string
  readonly key: number
  readonly version: number
  /** Compact lengths and tagged fields (KIP-482). */
  readonly flexible: boolean
  /** ApiVersions answers with the old header, so that any client can read it. */
  readonly oldResponseHeader?: boolean
  write(writer: ProtocolWriter, request: Request): void
  read(reader: ProtocolReader): Response
}

export function encodeRequest<Request>(
  api: Api<Request, unknown>,
  request: Request,
  correlationId: number,
  clientId: string,
): Uint8Array {
  const writer = new ProtocolWriter()
  writer.int32(0).int16(api.key).int16(api.version).int32(correlationId).string(clientId)
  if (api.flexible) writer.tags()
  api.write(writer, request)
  writer.patchInt32(0, writer.length - 4)
  return writer.written()
}

/** The body of a response whose `reader` stands behind the correlation id. */
export function decodeResponse<Response>(api: Api<never, Response>, reader: ProtocolReader): Response {
  if (api.flexible && api.oldResponseHeader !== true) reader.tags()
  return api.read(reader)
}
