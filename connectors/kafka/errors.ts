import { FeatureStoreError } from '../../core/errors.ts'
import { codeName, isRights, isTransient } from './protocol/codes.ts'

/** An answer of a broker that says: look again, wait, try again. Never leaves this folder. */
export class TransientAnswer extends Error {
  readonly code: number

  constructor(code: number, what: string) {
    super(`${what}: ${codeName(code)}`)
    this.code = code
  }
}

/**
 * The broker hung up while TLS was being agreed: a port without TLS, or a broker that goes down just then. Only trying
 * again tells.
 */
export class HungUp extends FeatureStoreError {
  constructor(address: string, cause?: unknown) {
    super('FS_KAFKA_TLS', `broker ${address} hung up while TLS was being agreed`, cause === undefined ? {} : { cause })
  }
}

/** What an error code in a response becomes. `what` names the request and its subject. */
export function answerError(code: number, what: string, message: string | null = null): Error {
  if (isTransient(code)) return new TransientAnswer(code, what)
  const words = message === null || message === '' ? '' : `: ${message}`
  return new FeatureStoreError(
    isRights(code) ? 'FS_KAFKA_AUTH' : 'FS_KAFKA_PROTOCOL',
    `${what}: ${codeName(code)}${words}`,
  )
}

export const unavailable = (message: string, cause?: unknown): FeatureStoreError =>
  new FeatureStoreError('FS_KAFKA_UNAVAILABLE', message, cause === undefined ? {} : { cause })

/** True when trying again, perhaps on another connection or with another leader, may help. */
export const mayPass = (error: unknown): boolean =>
  error instanceof TransientAnswer ||
  error instanceof HungUp ||
  (error instanceof FeatureStoreError && error.code === 'FS_KAFKA_UNAVAILABLE')

const tlsCodes = /^(ERR_SSL|ERR_TLS|CERT_|UNABLE_TO|DEPTH_ZERO|SELF_SIGNED|HOSTNAME_MISMATCH|EPROTO|ERR_OSSL)/

/** What a socket's error becomes: away, or a TLS that does not fit. */
export function socketError(address: string, error: Error & { readonly code?: string }): FeatureStoreError {
  if (tlsCodes.test(error.code ?? ''))
    return new FeatureStoreError('FS_KAFKA_TLS', `broker ${address}: ${error.message}`, { cause: error })
  return unavailable(`broker ${address}: ${error.message}`, error)
}
