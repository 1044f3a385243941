import { describe, expect, it } from 'vitest'
import { scramClient } from '../../../connectors/kafka/scram.ts'

/** RFC 7677, section 3: a client nonce whose bytes these are in base64. */
const nonce = 'rOprNGfwEbeRWgbNEkqO'
const random = { bytes: () => Uint8Array.from(Buffer.from(nonce, 'base64')) }
const serverFirst = `r=${nonce}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`

describe('SCRAM', () => {
  it('speaks the dialogue of RFC 7677', async () => {
    const client = scramClient('sha256', 'user', 'pencil', random)
    expect(client.first).toBe(`n,,n=user,r=${nonce}`)
    expect(await client.final(serverFirst)).toBe(
      `c=biws,r=${nonce}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`,
    )
    expect(() => client.check('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=')).not.toThrow()
    expect(() => client.check('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl96G4=')).toThrow(/does not prove/)
    expect(() => client.check('e=invalid-proof')).toThrow(/does not prove/)
  })

  it('refuses a server that answers another client, or asks for endless work', async () => {
    const client = scramClient('sha512', 'a=b,c', 'pencil', random)
    expect(client.first).toBe(`n,,n=a=3Db=2Cc,r=${nonce}`)
    expect(() => client.check('v=AA==')).toThrow(/does not prove/)
    await expect(client.final(serverFirst.replace('rOpr', 'xOpr'))).rejects.toThrow(/nonce/)
    await expect(client.final(`r=${nonce},s=W22Z,i=4096`)).rejects.toThrow(/nonce/)
    for (const iterations of ['0', '-1', '1000000000', 'many', ''])
      await expect(client.final(serverFirst.replace('4096', iterations))).rejects.toThrow(/cannot be used/)
  })
})
