/** Something that must never be: a run ends with it, whoever met it. */
export class Finding extends Error {
  override readonly name = 'Finding'
}
