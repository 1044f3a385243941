import { smallHistories } from './histories.ts'

smallHistories('id')
