import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { FeatureStoreError } from '../../core/errors.ts'
import { print, printJson, reportError } from '../terminal.ts'

const files: Readonly<Record<string, string>> = {
  'tidemark.config.ts': `import { defineConfig } from 'tidemark'

export default defineConfig({ definitions: ['features.ts'] })
`,
  'features.ts': `import { count, days, entity, float64, hours, last, max, mean, service, stream, string, sum, timestamp, view } from 'tidemark'

export const payments = stream('payments', {
  fields: { at: timestamp(), card: string(), merchant: string(), amount: float64() },
  eventTime: 'at',
  key: ['card'],
})

export const card = entity('card', { key: { card: string() } })

export const cardSpending = view('card_spending', {
  from: payments,
  entity: card,
  ttl: days(30),
  features: ({ amount, merchant }) => ({
    payments_1h: count().over(hours(1)),
    spent_1d: sum(amount).over(days(1)),
    mean_amount_7d: mean(amount).over(days(7)),
    max_amount_7d: max(amount).over(days(7)),
    last_merchant: last(merchant),
  }),
})

export const fraudCheck = service('fraud_check', {
  features: [cardSpending.all()],
  request: { amount: float64() },
  derive: ({ card_spending, request }) => ({
    times_usual: request.amount.div(card_spending.mean_amount_7d),
  }),
  clock: 'newestEvent',
})
`,
  'events.ndjson': `{"at":"2026-01-05T09:12:00Z","card":"c1","merchant":"bakery","amount":4.2}
{"at":"2026-01-05T09:40:00Z","card":"c2","merchant":"garage","amount":61.75}
{"at":"2026-01-05T12:03:00Z","card":"c1","merchant":"bookshop","amount":23.9}
{"at":"2026-01-05T12:31:00Z","card":"c1","merchant":"jeweller","amount":980}
`,
  '.gitignore': '.tidemark/\n',
}

export function addInit(program: Command): void {
  program
    .command('init')
    .summary('a small project that runs')
    .description('Writes a small project: a config, definitions and a few events.')
    .argument('[folder]', 'where', '.')
    .option('--json', 'print one JSON object instead of text')
    .action((folder: string, options: { readonly json?: true }) => {
      try {
        const root = resolve(folder)
        const there = Object.keys(files).filter((name) => name !== '.gitignore' && existsSync(join(root, name)))
        if (there.length > 0)
          throw new FeatureStoreError('FS_USAGE', `${root} has ${there.join(', ')} already: nothing was written`)
        mkdirSync(root, { recursive: true })
        const written = Object.entries(files).filter(([name]) => !existsSync(join(root, name)))
        for (const [name, text] of written) writeFileSync(join(root, name), text)
        if (options.json === true) return printJson({ folder: root, files: written.map(([name]) => name) })
        print(`a project in ${root}; there:`)
        for (const line of [
          'tidemark apply',
          'tidemark append payments events.ndjson',
          'tidemark worker --once',
          'tidemark get fraud_check --entity card=c1 --request amount=500',
        ])
          print(`  ${line}`)
      } catch (error) {
        process.exitCode = reportError(error, options.json === true)
      }
    })
}
