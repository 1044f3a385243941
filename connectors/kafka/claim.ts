/** What a member says when it joins, in the user data of its subscription: JSON. */
import { AssignerProtocol } from 'kafkajs'
import { z } from 'zod'
import type { Member } from './balance.ts'

export type Claim = Omit<Member, 'id'>

const claimed = z.object({ owned: z.array(z.int()), generation: z.int() })
export const noClaim: Claim = { owned: [], generation: 0 }

export const encodeClaim = (claim: Claim): Buffer => Buffer.from(JSON.stringify(claim))

/** Nothing where a member says it in a way that is not ours. */
export function claimOf(metadata: Buffer): Claim {
  try {
    return claimed.parse(JSON.parse(AssignerProtocol.MemberMetadata.decode(metadata)?.userData.toString() ?? ''))
  } catch {
    return noClaim
  }
}
