/** The log read by the loop of limits/flights.ts, once per call, and checked against what the product decodes. */
import type { Offset } from '../../core/event/position.ts'
import { ensure, timed, type Cost } from '../harness.ts'
import { flightColumns, readFlights, type FlightColumns } from '../limits/flights.ts'
import { EventChecksum, names, type FlightLog } from './context.ts'

export async function scanByHand(log: FlightLog): Promise<Cost & { readonly columns: FlightColumns }> {
  const ends = (log.position.streams[names.stream] ?? []).map(({ next }): Offset => next)
  const columns = flightColumns(log.events)
  const { result, ...cost } = await timed(() =>
    readFlights((partition, from, bytes) => log.open.log.fetch(names.stream, partition, from, bytes), ends, columns),
  )
  ensure(result === log.events, `the limit of the scan read ${result} of ${log.events} events`)
  return { ...cost, columns }
}

export function checksumOfColumns(columns: FlightColumns): string {
  const checksum = new EventChecksum()
  for (let row = 0; row < columns.times.length; row++)
    checksum.add(
      columns.times[row] as number,
      columns.knowns[row] as number,
      columns.delays[row] as number,
      columns.distances[row] as number,
      columns.origins[row] as number,
      columns.destinations[row] as number,
    )
  return checksum.text
}
