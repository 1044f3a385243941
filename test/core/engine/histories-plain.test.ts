import { smallHistories } from './histories.ts'

smallHistories('plain')
