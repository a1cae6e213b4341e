// The device layer of the CUDA library: the runtime's own functions, under names that the CPU
// library has too.
#include <stdio.h>
#include <string.h>

#include "kernels.h"
#include "simt.h"
#include "status.h"

static int reason_of_count;

static cudaStream_t stream_of(void *stream) {
  return static_cast<cudaStream_t>(stream);
}

static cudaEvent_t event_of(void *event) {
  return static_cast<cudaEvent_t>(event);
}

// cudaErrorNotReady is an answer here, not an error.
static int answer(cudaError_t status, int32_t *done) {
  *done = status == cudaSuccess;
  return status == cudaErrorNotReady ? 0 : static_cast<int>(status);
}

const char *device_kind(void) {
  return "cuda";
}

int device_count(int32_t *count) {
  int found = 0;
  reason_of_count = static_cast<int>(cudaGetDeviceCount(&found));
  if (reason_of_count) cudaGetLastError();
  *count = reason_of_count ? 0 : found;
  return 0;
}

int device_last_reason(void) {
  return reason_of_count;
}

int device_versions(int32_t *driver, int32_t *runtime) {
  cudaError_t status = cudaDriverGetVersion(driver);
  if (!status) status = cudaRuntimeGetVersion(runtime);
  return static_cast<int>(status);
}

int device_describe(int32_t device, struct device_properties *properties) {
  memset(properties, 0, sizeof *properties);
  cudaDeviceProp found;
  cudaError_t status = cudaGetDeviceProperties(&found, device);
  if (status) return static_cast<int>(status);
  snprintf(properties->name, sizeof properties->name, "%.127s", found.name);
  properties->memory = found.totalGlobalMem;
  properties->major = found.major;
  properties->minor = found.minor;
  properties->multiprocessors = found.multiProcessorCount;
  return device_versions(&properties->driver_version, &properties->runtime_version);
}

// The pool of a device keeps what is freed: by itself it gives all back at each synchronization.
static cudaError_t keep_memory(int device) {
  cudaMemPool_t pool;
  cudaError_t status = cudaDeviceGetDefaultMemPool(&pool, device);
  uint64_t all = UINT64_MAX;
  if (!status) status = cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all);
  return status;
}

// Called before each launch: what is the same for good is said once.
int device_set(int32_t device) {
  static bool keeps[64];
  cudaError_t status = cudaSetDevice(device);
  if (status || (device < 64 && __atomic_load_n(&keeps[device], __ATOMIC_RELAXED)))
    return static_cast<int>(status);
  status = keep_memory(device);
  if (!status && device < 64) __atomic_store_n(&keeps[device], true, __ATOMIC_RELAXED);
  return static_cast<int>(status);
}

int device_get(int32_t *device) {
  return static_cast<int>(cudaGetDevice(device));
}

int device_synchronize(void) {
  return static_cast<int>(cudaDeviceSynchronize());
}

int device_memory(uint64_t *free_bytes, uint64_t *total) {
  size_t free_now = 0, in_all = 0;
  cudaError_t status = cudaMemGetInfo(&free_now, &in_all);
  *free_bytes = free_now;
  *total = in_all;
  return static_cast<int>(status);
}

int device_last_error(void) {
  return simt_last_error();
}

const char *device_error_name(int status) {
  return status <= 0 ? kernel_status_name(status)
                     : cudaGetErrorName(static_cast<cudaError_t>(status));
}

const char *device_error_text(int status) {
  return status <= 0 ? kernel_status_text(status)
                     : cudaGetErrorString(static_cast<cudaError_t>(status));
}

int device_malloc(void **memory, uint64_t size, void *stream) {
  *memory = nullptr;
  if (size == 0) return 0;
  return static_cast<int>(cudaMallocAsync(memory, size, stream_of(stream)));
}

int device_free(void *memory, void *stream) {
  return memory ? static_cast<int>(cudaFreeAsync(memory, stream_of(stream))) : 0;
}

int device_trim(uint64_t keep) {
  int device;
  cudaMemPool_t pool;
  cudaError_t status = cudaGetDevice(&device);
  if (!status) status = cudaDeviceGetDefaultMemPool(&pool, device);
  if (!status) status = cudaMemPoolTrimTo(pool, keep);
  return static_cast<int>(status);
}

int device_host_malloc(void **memory, uint64_t size) {
  *memory = nullptr;
  return size ? static_cast<int>(cudaMallocHost(memory, size)) : 0;
}

int device_host_free(void *memory) {
  return memory ? static_cast<int>(cudaFreeHost(memory)) : 0;
}

int device_copy(void *to, const void *from, uint64_t size, void *stream) {
  if (size == 0) return 0;
  return static_cast<int>(cudaMemcpyAsync(to, from, size, cudaMemcpyDefault, stream_of(stream)));
}

int device_memset(void *memory, int value, uint64_t size, void *stream) {
  if (size == 0) return 0;
  return static_cast<int>(cudaMemsetAsync(memory, value, size, stream_of(stream)));
}

int device_stream_new(void **stream) {
  cudaStream_t made = nullptr;
  cudaError_t status = cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking);
  *stream = made;
  return static_cast<int>(status);
}

int device_stream_free(void *stream) {
  return stream ? static_cast<int>(cudaStreamDestroy(stream_of(stream))) : 0;
}

int device_stream_synchronize(void *stream) {
  return static_cast<int>(cudaStreamSynchronize(stream_of(stream)));
}

int device_stream_query(void *stream, int32_t *done) {
  return answer(cudaStreamQuery(stream_of(stream)), done);
}

int device_stream_wait(void *stream, void *event) {
  return static_cast<int>(cudaStreamWaitEvent(stream_of(stream), event_of(event), 0));
}

int device_event_new(void **event, int timing) {
  cudaEvent_t made = nullptr;
  unsigned flags = timing ? cudaEventDefault : cudaEventDisableTiming;
  cudaError_t status = cudaEventCreateWithFlags(&made, flags);
  *event = made;
  return static_cast<int>(status);
}

int device_event_free(void *event) {
  return event ? static_cast<int>(cudaEventDestroy(event_of(event))) : 0;
}

int device_event_record(void *event, void *stream) {
  return static_cast<int>(cudaEventRecord(event_of(event), stream_of(stream)));
}

int device_event_query(void *event, int32_t *done) {
  return answer(cudaEventQuery(event_of(event)), done);
}

int device_event_synchronize(void *event) {
  return static_cast<int>(cudaEventSynchronize(event_of(event)));
}

int device_event_elapsed(float *milliseconds, void *start, void *stop) {
  return static_cast<int>(cudaEventElapsedTime(milliseconds, event_of(start), event_of(stop)));
}

// Relaxed: others of the thread go on meanwhile on streams of their own, where they query events
// and take and free pinned memory, and cuBLASLt may be opened. No other mode allows that to this
// thread, and what is refused ends the capture. Streams of ours do not wait for the default one, so
// nothing of it becomes a part of the graph.
int device_capture_begin(void *stream) {
  return static_cast<int>(cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeRelaxed));
}

int device_capture_end(void *stream, void **graph) {
  cudaGraph_t captured = nullptr;
  cudaGraphExec_t made = nullptr;
  *graph = nullptr;
  cudaError_t status = cudaStreamEndCapture(stream_of(stream), &captured);
  if (!status) status = cudaGraphInstantiateWithFlags(&made, captured, 0);
  if (captured) cudaGraphDestroy(captured);
  *graph = made;
  return static_cast<int>(status);
}

int device_graph_launch(void *graph, void *stream) {
  return static_cast<int>(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_of(stream)));
}

int device_graph_free(void *graph) {
  return graph ? static_cast<int>(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph))) : 0;
}

int32_t device_threads(int32_t) {
  return 0;
}
