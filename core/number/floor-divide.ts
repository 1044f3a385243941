/** floor(value / divisor) as a double; `divisor` positive. Without a BigInt division where doubles are exact. */
export function floorDivide(value: bigint, divisor: number): number {
  const exact = Number(value)
  if (Number.isSafeInteger(exact)) {
    const rest = exact % divisor
    return (exact - (rest < 0 ? rest + divisor : rest)) / divisor
  }
  const quotient = value / BigInt(divisor)
  return Number(quotient * BigInt(divisor) > value ? quotient - 1n : quotient)
}
