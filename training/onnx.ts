/**
 * A logistic model as an ONNX file (IR version 8, opset 17), readable by any ONNX runtime:
 *
 *     features [N, F] ─► IsNaN ─► Where(mean) ─► Sub(mean) ─► Div(std) ─► Gemm(weights, bias) ─► Sigmoid ─► Squeeze ─► score [N]
 *
 * The caller's metadata (feature names, fingerprints, the training set) travels in `metadata_props`, so a model file
 * names what it was made from.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { FeatureStoreError } from '../core/errors.ts'
import {
  AttributeProto_AttributeType,
  ModelProtoSchema,
  NodeProtoSchema,
  TensorProto_DataType,
  TensorProtoSchema,
  ValueInfoProtoSchema,
  type ModelProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from '../schemas/proto/generated/onnx/onnx_pb.js'
import { type LogisticModel } from './logistic-regression.ts'

export const inputName = 'features'
export const outputName = 'score'
const irVersion = 8n
const opsetVersion = 17n
/** Rows: any number of them. */
const rowsDimension = 'N'

/** raw_data is little-endian whatever the machine. */
function floats(name: string, values: ArrayLike<number>, dims: readonly number[]): TensorProto {
  const rawData = new Uint8Array(values.length * 4)
  const view = new DataView(rawData.buffer)
  for (let i = 0; i < values.length; i++) view.setFloat32(i * 4, values[i] as number, true)
  return create(TensorProtoSchema, { name, dims: dims.map(BigInt), dataType: TensorProto_DataType.FLOAT, rawData })
}

function int64s(name: string, values: readonly bigint[]): TensorProto {
  const rawData = new Uint8Array(values.length * 8)
  const view = new DataView(rawData.buffer)
  for (const [i, value] of values.entries()) view.setBigInt64(i * 8, value, true)
  return create(TensorProtoSchema, {
    name,
    dims: [BigInt(values.length)],
    dataType: TensorProto_DataType.INT64,
    rawData,
  })
}

function floatTensor(name: string, dims: readonly (number | string)[]): ValueInfoProto {
  const dim = dims.map((size) => ({
    value:
      typeof size === 'number'
        ? { case: 'dimValue' as const, value: BigInt(size) }
        : { case: 'dimParam' as const, value: size },
  }))
  return create(ValueInfoProtoSchema, {
    name,
    type: { value: { case: 'tensorType', value: { elemType: TensorProto_DataType.FLOAT, shape: { dim } } } },
  })
}

const node = (opType: string, input: string[], output: string): NodeProto =>
  create(NodeProtoSchema, { name: output, opType, input, output: [output] })

/** Gemm's defaults, written out: some readers ask for them. */
function gemm(input: string[], output: string): NodeProto {
  const made = node('Gemm', input, output)
  const one = { type: AttributeProto_AttributeType.FLOAT, f: 1 }
  const zero = { type: AttributeProto_AttributeType.INT, i: 0n }
  made.attribute = create(NodeProtoSchema, {
    attribute: [
      { name: 'alpha', ...one },
      { name: 'beta', ...one },
      { name: 'transA', ...zero },
      { name: 'transB', ...zero },
    ],
  }).attribute
  return made
}

function graphOf(model: LogisticModel, name: string): NonNullable<ModelProto['graph']> {
  const features = model.weights.length
  const made = create(ModelProtoSchema, {
    graph: {
      name,
      input: [floatTensor(inputName, [rowsDimension, features])],
      output: [floatTensor(outputName, [rowsDimension])],
      initializer: [
        floats('mean', model.mean, [features]),
        floats('std', model.std, [features]),
        floats('weights', model.weights, [features, 1]),
        floats('bias', [model.bias], [1]),
        int64s('score_axis', [1n]),
      ],
      node: [
        node('IsNaN', [inputName], 'missing'),
        node('Where', ['missing', 'mean', inputName], 'imputed'),
        node('Sub', ['imputed', 'mean'], 'centred'),
        node('Div', ['centred', 'std'], 'standardised'),
        gemm(['standardised', 'weights', 'bias'], 'logit'),
        node('Sigmoid', ['logit'], 'probability'),
        node('Squeeze', ['probability', 'score_axis'], outputName),
      ],
    },
  })
  return made.graph as NonNullable<ModelProto['graph']>
}

/**
 * The bytes of an ONNX file: a function of the model, the name and the metadata (written in order of its keys).
 *
 * Errors: FS_MODEL_INVALID when the parameters differ in length or leave float32.
 */
export function writeOnnx(
  model: LogisticModel,
  options: { readonly name: string; readonly metadata?: Readonly<Record<string, string>> },
): Uint8Array {
  const { mean, std, weights, bias } = model
  if (mean.length !== weights.length || std.length !== weights.length || weights.length === 0)
    throw new FeatureStoreError('FS_MODEL_INVALID', 'the parameters of the model differ in length, or there are none')
  for (const value of [...mean, ...std, ...weights, bias]) {
    if (!Number.isFinite(Math.fround(value)))
      throw new FeatureStoreError('FS_MODEL_INVALID', 'a parameter of the model does not fit float32')
  }
  if (std.some((deviation) => Math.fround(deviation) === 0))
    throw new FeatureStoreError('FS_MODEL_INVALID', 'a standard deviation is 0 in float32')
  const metadata = Object.entries(options.metadata ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))
  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion,
      opsetImport: [{ domain: '', version: opsetVersion }],
      producerName: 'tidemark',
      graph: graphOf(model, options.name),
      metadataProps: metadata.map(([key, value]) => ({ key, value })),
    }),
  )
}

/** The `metadata_props` of an ONNX file. Errors: FS_MODEL_INVALID. */
export function readOnnxMetadata(bytes: Uint8Array): Readonly<Record<string, string>> {
  try {
    const { metadataProps } = fromBinary(ModelProtoSchema, bytes)
    return Object.fromEntries(metadataProps.map(({ key, value }) => [key, value]))
  } catch (cause) {
    throw new FeatureStoreError('FS_MODEL_INVALID', 'the file is no ONNX model', { cause })
  }
}
