import { createHash } from 'node:crypto'
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { modelOf, serviceOf } from '../core/definition/catalog.ts'
import type { FeatureColumn } from '../core/engine/feature-column.ts'
import { encodeToken, type Position } from '../core/event/position.ts'
import { serviceFingerprints } from '../core/definition/fingerprint.ts'
import { servicePosition } from '../core/lineage/lineage.ts'
import { decideRegisterModel } from '../core/registry/decide.ts'
import type { ModelRegistered, ModelRegistration } from '../core/registry/events.ts'
import { newestModel, type RegistryState } from '../core/registry/state.ts'
import type { LabelSet } from '../training/labels.ts'
import { trainModel, type TrainedModel } from '../training/train.ts'
import type { Ingest } from './ingest.ts'
import type { Project } from './project.ts'

export interface TrainRequest {
  readonly project: Project
  readonly model: string
  readonly labels: LabelSet
  readonly columns: readonly FeatureColumn[]
  readonly position: Position
  /** Content digest of the training set. */
  readonly digest: string
  readonly registry: RegistryState
  readonly ingest: Ingest
}

/** Fits a model, writes its file and registers it; a model that is registered already is not registered again. */
export async function trainAndRegister(
  request: TrainRequest,
): Promise<{ readonly trained: TrainedModel; readonly registered: ModelRegistered }> {
  const { project, model, labels, columns, position, digest, registry, ingest } = request
  const definition = modelOf(project.catalog, model)
  const service = serviceOf(project.catalog, definition.service)
  const trained = trainModel({ catalog: project.catalog, model: definition, labels, columns, position, digest })
  const onnxDigest = createHash('sha256').update(trained.onnx).digest('hex')
  const held = newestModel(registry, service.name, model)
  if (held !== null && held.onnx.digest === onnxDigest && held.trainingSet === digest)
    return { trained, registered: held }
  const path = `models/${model}-${onnxDigest.slice(0, 16)}.onnx`
  mkdirSync(project.paths.models, { recursive: true })
  // The file is whole before the registry names it.
  const target = join(project.paths.data, path)
  writeFileSync(`${target}.new`, trained.onnx, { flush: true })
  renameSync(`${target}.new`, target)
  const { metrics } = trained
  const registration: ModelRegistration = {
    model,
    service: service.name,
    metrics: {
      trainRows: metrics.trainRows,
      testRows: metrics.testRows,
      baseRate: metrics.baseRate,
      ...(metrics.test?.auc === undefined || metrics.test.auc === null ? {} : { testAuc: metrics.test.auc }),
      ...(metrics.test === null ? {} : { testLogLoss: metrics.test.logLoss }),
    },
    trainingSet: digest,
    token: encodeToken(servicePosition(project.catalog, service, position)),
    onnx: { digest: onnxDigest, path },
    features: serviceFingerprints(project.catalog, service.name),
  }
  const events = decideRegisterModel(registration, registry)
  await ingest.register(events)
  return { trained, registered: events[0] ?? (held as ModelRegistered) }
}
