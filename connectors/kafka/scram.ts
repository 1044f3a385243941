/**
 * SCRAM (RFC 5802; SHA-256 by RFC 7677), the client's side. The password never travels; both sides prove that they know
 * it, so a server that does not is refused too.
 *
 *     C: n,,n=user,r=nonce                     S: r=nonce+more,s=salt,i=iterations
 *     C: c=biws,r=nonce+more,p=proof           S: v=signature
 */
import { createHash, createHmac, pbkdf2, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import { type Random } from '../../core/ports/environment.ts'

type Hash = 'sha256' | 'sha512'

const derive = promisify(pbkdf2)
/** Kafka's own bound is 16,384; a server must not keep us busy for minutes. */
const iterationsMax = 1_000_000

export interface ScramClient {
  readonly first: string
  /** The second message to the first answer. Errors: Error when the answer is none, or of another dialogue. */
  final(serverFirst: string): Promise<string>
  /** Errors: Error when the server does not know the password either. */
  check(serverFinal: string): void
}

export function scramClient(hash: Hash, username: string, password: string, random: Random): ScramClient {
  const nonce = Buffer.from(random.bytes(24)).toString('base64').replaceAll(',', '-')
  const name = username.replaceAll('=', '=3D').replaceAll(',', '=2C')
  const bare = `n=${name},r=${nonce}`
  let expected: Buffer | null = null
  return {
    first: `n,,${bare}`,
    async final(serverFirst) {
      const fields = attributes(serverFirst)
      const [both, salt, iterations] = [fields.get('r') ?? '', fields.get('s'), Number(fields.get('i'))]
      if (!both.startsWith(nonce) || both.length === nonce.length) throw new Error('the nonce is not ours')
      if (salt === undefined || !Number.isInteger(iterations) || iterations < 1 || iterations > iterationsMax)
        throw new Error(`salt and iterations cannot be used: ${fields.get('i')} iterations`)
      const size = hash === 'sha256' ? 32 : 64
      const salted = await derive(password.normalize('NFKC'), Buffer.from(salt, 'base64'), iterations, size, hash)
      const clientKey = hmac(hash, salted, 'Client Key')
      const withoutProof = `c=biws,r=${both}`
      const message = `${bare},${serverFirst},${withoutProof}`
      const signature = hmac(hash, createHash(hash).update(clientKey).digest(), message)
      const proof = clientKey.map((byte, index) => byte ^ (signature[index] as number))
      expected = hmac(hash, hmac(hash, salted, 'Server Key'), message)
      return `${withoutProof},p=${Buffer.from(proof).toString('base64')}`
    },
    check(serverFinal) {
      const given = Buffer.from(attributes(serverFinal).get('v') ?? '', 'base64')
      if (expected === null || given.length !== expected.length || !timingSafeEqual(given, expected))
        throw new Error('the server does not prove that it knows the password')
    },
  }
}

const hmac = (hash: Hash, key: Buffer, text: string): Buffer => createHmac(hash, key).update(text).digest()

const attributes = (message: string): Map<string, string> =>
  new Map(message.split(',').map((part) => [part.slice(0, 1), part.slice(2)]))
