/**
 * The methods of a service as grpc-js takes them. Messages stay bytes at this boundary: handlers decode and encode
 * themselves, so a malformed request gets a code of ours, and a reply may be written without message objects.
 */
import { type DescMethod, type DescService } from '@bufbuild/protobuf'
import { type MethodDefinition } from '@grpc/grpc-js'

export type BytesMethod = MethodDefinition<Uint8Array, Uint8Array>

const toBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const methodOf = (method: DescMethod): BytesMethod => ({
  path: `/${method.parent.typeName}/${method.name}`,
  requestStream: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
  responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
  requestSerialize: toBuffer,
  requestDeserialize: (bytes) => bytes,
  responseSerialize: toBuffer,
  responseDeserialize: (bytes) => bytes,
})

export function methodsOf<T extends DescService>(service: T): Record<keyof T['method'] & string, BytesMethod> {
  const methods = service.methods.map((method) => [method.localName, methodOf(method)])
  return Object.fromEntries(methods) as Record<keyof T['method'] & string, BytesMethod>
}
