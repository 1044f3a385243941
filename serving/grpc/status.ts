/** Errors as gRPC knows them, and back: the kind gives the status, the code and the remedy travel as metadata. */
import { Metadata, status as Grpc, type ServiceError, type StatusObject } from '@grpc/grpc-js'
import { unreachable } from '../../core/brand.ts'
import { errorCodes, FeatureStoreError, type ErrorCode } from '../../core/errors.ts'

export const codeKey = 'tidemark-code'
export const remedyKey = 'tidemark-remedy'

/** A metadata value is printable ASCII. */
const printable = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?')

export function grpcStatusOf(error: FeatureStoreError): Grpc {
  if (error.code === 'FS_DEADLINE') return Grpc.DEADLINE_EXCEEDED
  switch (error.kind) {
    case 'invalid':
      return error.code.endsWith('_UNKNOWN') ? Grpc.NOT_FOUND : Grpc.INVALID_ARGUMENT
    case 'conflict':
      return Grpc.ABORTED
    case 'unavailable':
    case 'closed':
      return Grpc.UNAVAILABLE
    case 'data':
      return Grpc.DATA_LOSS
    case 'internal':
      return Grpc.INTERNAL
    default:
      return unreachable(error.kind)
  }
}

export function toStatus(error: FeatureStoreError): Partial<StatusObject> {
  const metadata = new Metadata()
  metadata.set(codeKey, error.code)
  metadata.set(remedyKey, printable(error.remedy))
  return { code: grpcStatusOf(error), details: error.message, metadata }
}

/** The code of a status that did not come from Tidemark: from the transport, a proxy, or a server's limits. */
function codeOf(status: Grpc): ErrorCode {
  switch (status) {
    case Grpc.UNAVAILABLE:
      return 'FS_SERVER_UNAVAILABLE'
    case Grpc.DEADLINE_EXCEEDED:
      return 'FS_DEADLINE'
    case Grpc.RESOURCE_EXHAUSTED:
      return 'FS_LIMIT_EXCEEDED'
    case Grpc.CANCELLED:
      return 'FS_CLOSED'
    case Grpc.UNIMPLEMENTED:
      return 'FS_NOT_YET'
    case Grpc.INVALID_ARGUMENT:
      return 'FS_REQUEST_INVALID'
    default:
      return 'FS_INTERNAL'
  }
}

export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(errorCodes, code)

/** The error a server meant. A code this version does not know (a newer server's) is read from the status. */
export function fromStatus(error: ServiceError): FeatureStoreError {
  const sent = (key: string): string | undefined => error.metadata?.get(key)[0]?.toString()
  const code = sent(codeKey) ?? ''
  const remedy = sent(remedyKey)
  return new FeatureStoreError(isErrorCode(code) ? code : codeOf(error.code), error.details, {
    cause: error,
    ...(remedy === undefined ? {} : { remedy }),
  })
}
