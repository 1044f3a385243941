import { connect as connectPlain, isIP, type OnReadOpts, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import { HungUp, socketError, unavailable } from './errors.ts'
import { type Settings, type TlsOptions } from './options.ts'

/**
 * A socket that is connected, with TLS agreed where the settings say so, and whose bytes go where `onread` says.
 *
 * Errors: FS_KAFKA_UNAVAILABLE, FS_KAFKA_TLS.
 */
export async function openSocket(host: string, port: number, settings: Settings, onread: OnReadOpts): Promise<Socket> {
  const { tls } = settings
  const address = `${host}:${port}`
  const socket =
    tls === undefined ? connectPlain({ host, port, onread }) : connectTls(tlsOptions(host, port, tls, onread))
  try {
    await opened(socket, address, settings)
    return socket.setNoDelay(true)
  } catch (error) {
    socket.destroy()
    throw error
  }
}

/** `onread` reaches the socket beneath (Node's documentation of tls.connect); its types do not say so. */
function tlsOptions(
  host: string,
  port: number,
  { ca, cert, key, servername }: TlsOptions,
  onread: OnReadOpts,
): ConnectionOptions & { readonly onread: OnReadOpts } {
  return {
    host,
    port,
    onread,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    // A literal address is no server name (RFC 6066), but the certificate is checked against it all the same.
    ...(servername !== undefined ? { servername } : isIP(host) ? {} : { servername: host }),
  }
}

function opened(socket: Socket, address: string, settings: Settings): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let connected = false
  const timer = setTimeout(
    () => reject(unavailable(`broker ${address} does not answer within ${settings.connectTimeoutMs} ms`)),
    settings.connectTimeoutMs,
  )
  const onConnect = (): void => {
    connected = true
    if (settings.tls === undefined) resolve()
  }
  const onError = (error: Error & { code?: string }): void => {
    // Agreeing on TLS and being hung up on is what a port without TLS, or a broker that goes down, looks like.
    if (settings.tls !== undefined && connected && error.code === 'ECONNRESET') onClose(error)
    else reject(socketError(address, error))
  }
  const onClose = (cause?: unknown): void => {
    if (settings.tls === undefined || !connected) return reject(unavailable(`broker ${address} closed the connection`))
    reject(new HungUp(address, cause))
  }
  const onEnd = (): void => onClose()
  socket.once('connect', onConnect).once('secureConnect', resolve).once('error', onError).once('close', onEnd)
  return promise.finally(() => {
    clearTimeout(timer)
    socket.off('connect', onConnect).off('secureConnect', resolve).off('error', onError).off('close', onEnd)
  })
}
