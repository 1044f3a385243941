/** Training sets, and models from them. */
export {
  buildDataset,
  DatasetBuilder,
  scannedStreams,
  type BuildOptions,
  type Dataset,
  type FinishOptions,
  type ScanOptions,
} from './dataset.ts'
export { areaUnderRoc, evaluate, logLoss, type Evaluation } from './evaluate.ts'
export { labelFields, labelsFromStream } from './label-sample.ts'
export { labelsFromTable, labelTableOfCsv, type LabelSet, type LabelTable } from './labels.ts'
export { fitLogistic, scoreLogistic, type LogisticModel } from './logistic-regression.ts'
export { readOnnxMetadata, writeOnnx } from './onnx.ts'
export { describeDataset, writeDataset, writeDatasetCsv, type DatasetOutput, type OutputOptions } from './output.ts'
export {
  modelMetadataKeys,
  trainModel,
  type ModelInfo,
  type TrainedModel,
  type TrainMetrics,
  type TrainOptions,
} from './train.ts'
