/**
 * The certificates that Java trusts, for a Java that was unpacked and not installed: Debian's package writes this file
 * only while it is installed, and without it Maven reaches no https. Format: Java KeyStore, version 2 (sun.security.provider.
 * JavaKeyStore), which needs no tool:
 *
 *     FE ED FE ED | version int32 = 2 | count int32 | count x entry | SHA-1 of (password as UTF-16BE, salt, all before)
 *     entry       tag int32 = 2 (trusted) | alias utf | created int64 ms | type utf = "X.509" | size int32 | DER
 *     utf         size int16 | bytes
 */
import { createHash, X509Certificate } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { rootCertificates } from 'node:tls'

const systemBundle = '/etc/ssl/certs/ca-certificates.crt'
/** Java's own default; the file holds nothing secret. */
const password = 'changeit'
const salt = 'Mighty Aphrodite'

export function writeTrustStore(file: string): void {
  if (existsSync(file)) return
  // A link that leads nowhere: the package's, to the file that was not made.
  rmSync(file, { force: true })
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, trustStore(certificates()))
}

/** The machine's, for it may trust more than Node does; Node's own where the machine has none. */
const certificates = (): readonly Buffer[] =>
  (existsSync(systemBundle) ? pemBlocks(readFileSync(systemBundle, 'utf8')) : [...rootCertificates]).map(
    (pem) => new X509Certificate(pem).raw,
  )

const pemBlocks = (text: string): string[] =>
  text.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? []

export function trustStore(ders: readonly Buffer[]): Buffer {
  const entries = ders.flatMap((der, index) => {
    const created = Buffer.alloc(8)
    created.writeBigInt64BE(0n)
    return [int32(2), utf(`ca-${index}`), created, utf('X.509'), int32(der.length), der]
  })
  const body = Buffer.concat([Buffer.from('feedfeed', 'hex'), int32(2), int32(ders.length), ...entries])
  const digest = createHash('sha1').update(Buffer.from(password, 'utf16le').swap16()).update(salt).update(body).digest()
  return Buffer.concat([body, digest])
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

function utf(text: string): Buffer {
  const size = Buffer.alloc(2)
  size.writeInt16BE(Buffer.byteLength(text))
  return Buffer.concat([size, Buffer.from(text)])
}
