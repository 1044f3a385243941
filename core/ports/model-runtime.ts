/**
 * Runs a model. Inputs are one row-major float32 matrix `rows x features`, output one score per row.
 *
 * Laws: `predict` is a function of the model's bytes and the matrix; a runtime that died answers
 * FS_INFERENCE_UNAVAILABLE and is usable again after `load`.
 */
export interface ModelRuntime {
  load(model: {
    readonly name: string
    readonly version: number
    readonly bytes: Uint8Array
    readonly features: number
  }): Promise<void>
  predict(name: string, version: number, matrix: Float32Array, rows: number): Promise<Float32Array>
}
