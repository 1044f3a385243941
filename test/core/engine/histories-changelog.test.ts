import { smallHistories } from './histories.ts'

smallHistories('changelog')
