/**
 * Limit of main/get: a bare grpc-js server, started as a child with the sizes of its replies as arguments. Method
 * `/bench.Echo/Reply0` answers bytes of the first size, and so on; requests are bytes that nobody reads.
 */
import { Server, ServerCredentials, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js'

export const echoPath = (index: number): string => `/bench.Echo/Reply${index}`

function serve(replyBytes: readonly number[]): void {
  const pass = (bytes: Buffer): Buffer => bytes
  const server = new Server()
  replyBytes.forEach((size, index) => {
    const reply = Buffer.alloc(size, index + 1)
    const name = `reply${index}`
    const method = {
      path: echoPath(index),
      requestStream: false,
      responseStream: false,
      requestSerialize: pass,
      requestDeserialize: pass,
      responseSerialize: pass,
      responseDeserialize: pass,
    }
    const answer = (_call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>): void =>
      callback(null, reply)
    server.addService({ [name]: method }, { [name]: answer })
  })
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
    if (error !== null) throw error
    process.send?.({ port })
  })
  // It ends with the process that started it.
  process.on('disconnect', () => process.exit(0))
}

if (import.meta.main) serve(process.argv.slice(2).map(Number))
