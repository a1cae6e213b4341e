// The device layer of the CPU library: memory, streams, events and graphs of the processor itself.
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernels.h"
#include "simt.h"
#include "status.h"

// Codes of the CUDA runtime that fit.
enum {
  ERROR_INVALID_VALUE = 1,
  ERROR_OUT_OF_MEMORY = 2,
  ERROR_INVALID_CONFIGURATION = simt::kErrorConfiguration,
  ERROR_INVALID_DEVICE = 101,
  ERROR_INVALID_HANDLE = 400,
  ERROR_CAPTURE = 900,
  ERROR_CAPTURE_NOT_BEGUN = 901,
  ERROR_CAPTURED_EVENT = 907,
};

const char *device_kind(void) {
  return "cpu";
}

int device_count(int32_t *count) {
  *count = 1;
  return 0;
}

int device_last_reason(void) {
  return 0;
}

int device_versions(int32_t *driver, int32_t *runtime) {
  *driver = *runtime = 0;
  return 0;
}

static uint64_t page_bytes(int name) {
  long pages = sysconf(name), size = sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? static_cast<uint64_t>(pages) * static_cast<uint64_t>(size) : 0;
}

// The processor's name as Linux has it, or what the compiler knows.
static void processor_name(char *name, size_t size) {
  snprintf(name, size, "CPU");
  FILE *file = fopen("/proc/cpuinfo", "re");
  if (!file) return;
  char line[256];
  while (fgets(line, sizeof line, file)) {
    char *value = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : nullptr;
    if (!value) continue;
    value += strspn(value, ": \t");
    value[strcspn(value, "\n")] = 0;
    snprintf(name, size, "%.*s", static_cast<int>(size - 1), value);
    break;
  }
  fclose(file);
}

int device_describe(int32_t device, struct device_properties *properties) {
  if (device != 0) return ERROR_INVALID_DEVICE;
  memset(properties, 0, sizeof *properties);
  processor_name(properties->name, sizeof properties->name);
  properties->memory = page_bytes(_SC_PHYS_PAGES);
  properties->multiprocessors = device_threads(0);
  return 0;
}

int device_set(int32_t device) {
  return device == 0 ? 0 : ERROR_INVALID_DEVICE;
}

int device_get(int32_t *device) {
  *device = 0;
  return 0;
}

int device_synchronize(void) {
  return 0;
}

int device_memory(uint64_t *free_bytes, uint64_t *total) {
  *free_bytes = page_bytes(_SC_AVPHYS_PAGES);
  *total = page_bytes(_SC_PHYS_PAGES);
  return 0;
}

int device_last_error(void) {
  return simt_last_error();
}

int32_t device_threads(int32_t threads) {
  return static_cast<int32_t>(simt::threads(threads > 0 ? static_cast<unsigned>(threads) : 0));
}

const char *device_error_name(int status) {
  switch (status) {
    case ERROR_INVALID_VALUE:
      return "cudaErrorInvalidValue";
    case ERROR_OUT_OF_MEMORY:
      return "cudaErrorMemoryAllocation";
    case ERROR_INVALID_CONFIGURATION:
      return "cudaErrorInvalidConfiguration";
    case ERROR_INVALID_DEVICE:
      return "cudaErrorInvalidDevice";
    case ERROR_INVALID_HANDLE:
      return "cudaErrorInvalidResourceHandle";
    case ERROR_CAPTURE:
      return "cudaErrorStreamCaptureUnsupported";
    case ERROR_CAPTURE_NOT_BEGUN:
      return "cudaErrorStreamCaptureInvalidated";
    case ERROR_CAPTURED_EVENT:
      return "cudaErrorCapturedEvent";
    default:
      return kernel_status_name(status);
  }
}

const char *device_error_text(int status) {
  switch (status) {
    case ERROR_INVALID_VALUE:
      return "invalid argument";
    case ERROR_OUT_OF_MEMORY:
      return "out of memory";
    case ERROR_INVALID_CONFIGURATION:
      return "invalid configuration argument";
    case ERROR_INVALID_DEVICE:
      return "invalid device ordinal";
    case ERROR_INVALID_HANDLE:
      return "invalid resource handle";
    case ERROR_CAPTURE:
      return "operation not permitted when stream is capturing";
    case ERROR_CAPTURE_NOT_BEGUN:
      return "the stream is not being captured";
    case ERROR_CAPTURED_EVENT:
      return "operation not permitted on an event last recorded in a capturing stream";
    default:
      return kernel_status_text(status);
  }
}

// ---- Memory. What is freed is kept by size: large blocks that the C library gives back to the
// system come again with a page fault for each page. A size is one of eight steps between powers of
// two.

namespace {

constexpr unsigned kClasses = 48 * 8;
constexpr uint64_t kHead = 256;  // before each block: its class

struct block {
  unsigned size_class;
  block *next;
};

struct pool {
  pthread_mutex_t lock;
  uint64_t kept;  // bytes that nobody uses
  block *free[kClasses];
};

pool pool_of_device = {PTHREAD_MUTEX_INITIALIZER, 0, {}};

uint64_t class_bytes(unsigned size_class) {
  return (uint64_t{8} + size_class % 8) << (size_class / 8) << 5;
}

uint64_t block_bytes(unsigned size_class) {
  return (2 * kHead - 1 + class_bytes(size_class)) / kHead * kHead;
}

unsigned class_of(uint64_t size) {
  unsigned size_class = 0;
  while (size_class < kClasses && class_bytes(size_class) < size) size_class += 8;
  while (size_class > 0 && class_bytes(size_class - 1) >= size) --size_class;
  return size_class;
}

}  // namespace

int device_malloc(void **memory, uint64_t size, void *) {
  *memory = nullptr;
  if (size == 0) return 0;
  const unsigned size_class = class_of(size);
  if (size_class >= kClasses || size > page_bytes(_SC_PHYS_PAGES)) return ERROR_OUT_OF_MEMORY;
  pthread_mutex_lock(&pool_of_device.lock);
  block *found = pool_of_device.free[size_class];
  if (found) {
    pool_of_device.free[size_class] = found->next;
    pool_of_device.kept -= class_bytes(size_class);
  }
  pthread_mutex_unlock(&pool_of_device.lock);
  if (!found) {
    found = static_cast<block *>(aligned_alloc(kHead, block_bytes(size_class)));
    if (!found) return ERROR_OUT_OF_MEMORY;
    found->size_class = size_class;
  }
  *memory = reinterpret_cast<char *>(found) + kHead;
  return 0;
}

static int give_back(void *memory) {
  if (!memory) return 0;
  block *freed = reinterpret_cast<block *>(static_cast<char *>(memory) - kHead);
#if SIMT_ASAN
  free(freed);  // so that what is used later is found
#else
  pthread_mutex_lock(&pool_of_device.lock);
  freed->next = pool_of_device.free[freed->size_class];
  pool_of_device.free[freed->size_class] = freed;
  pool_of_device.kept += class_bytes(freed->size_class);
  pthread_mutex_unlock(&pool_of_device.lock);
#endif
  return 0;
}

// What is freed while a stream is captured belongs to the graph, whose launches use it.
int device_free(void *memory, void *stream) {
  simt::stream *s = static_cast<simt::stream *>(stream);
  if (!s || !s->captured) return give_back(memory);
  struct parting : simt::work {
    void *memory;
  };
  parting *p = new parting;
  p->memory = memory;
  p->run = [](simt::work *) {};
  p->free = [](simt::work *w) {
    give_back(static_cast<parting *>(w)->memory);
    delete static_cast<parting *>(w);
  };
  simt::append(s, p);
  return 0;
}

int device_trim(uint64_t keep) {
  pthread_mutex_lock(&pool_of_device.lock);
  for (unsigned i = kClasses; i-- > 0;) {
    while (pool_of_device.free[i] && pool_of_device.kept > keep) {
      block *freed = pool_of_device.free[i];
      pool_of_device.free[i] = freed->next;
      pool_of_device.kept -= class_bytes(i);
      free(freed);
    }
  }
  pthread_mutex_unlock(&pool_of_device.lock);
  return 0;
}

int device_host_malloc(void **memory, uint64_t size) {
  return device_malloc(memory, size, nullptr);
}

int device_host_free(void *memory) {
  return give_back(memory);
}

int device_copy(void *to, const void *from, uint64_t size, void *stream) {
  simt::put(stream, [=] {
    if (size) memmove(to, from, size);
  });
  return 0;
}

int device_memset(void *memory, int value, uint64_t size, void *stream) {
  simt::put(stream, [=] {
    if (size) memset(memory, value, size);
  });
  return 0;
}

// ---- Streams, events, graphs.

int device_stream_new(void **stream) {
  *stream = calloc(1, sizeof(simt::stream));
  return *stream ? 0 : ERROR_OUT_OF_MEMORY;
}

int device_stream_free(void *stream) {
  if (stream) device_graph_free(static_cast<simt::stream *>(stream)->captured);
  free(stream);
  return 0;
}

static bool capturing(void *stream) {
  return stream && static_cast<simt::stream *>(stream)->captured;
}

int device_stream_synchronize(void *stream) {
  return capturing(stream) ? ERROR_CAPTURE : 0;
}

int device_stream_query(void *stream, int32_t *done) {
  *done = 1;
  return capturing(stream) ? ERROR_CAPTURE : 0;
}

int device_stream_wait(void *, void *event) {
  return event ? 0 : ERROR_INVALID_HANDLE;
}

namespace {

struct event {
  bool timing, recorded;
  bool captured;  // recorded while a stream was captured, and so never reached
  struct timespec at;
};

}  // namespace

int device_event_new(void **made, int timing) {
  event *e = static_cast<event *>(calloc(1, sizeof(event)));
  *made = e;
  if (!e) return ERROR_OUT_OF_MEMORY;
  e->timing = timing != 0;
  return 0;
}

int device_event_free(void *event) {
  free(event);
  return 0;
}

int device_event_record(void *recorded, void *stream) {
  event *e = static_cast<event *>(recorded);
  if (!e) return ERROR_INVALID_HANDLE;
  // A graph does not keep it: it may be freed before the graph is launched.
  e->captured = capturing(stream);
  e->recorded = !e->captured;
  if (e->recorded) clock_gettime(CLOCK_MONOTONIC, &e->at);
  return 0;
}

int device_event_synchronize(void *waited) {
  const event *e = static_cast<event *>(waited);
  if (!e) return ERROR_INVALID_HANDLE;
  return e->captured ? ERROR_CAPTURED_EVENT : 0;
}

int device_event_query(void *event, int32_t *done) {
  *done = 1;
  return device_event_synchronize(event);
}

int device_event_elapsed(float *milliseconds, void *start, void *stop) {
  const event *a = static_cast<event *>(start), *b = static_cast<event *>(stop);
  if (!a || !b || !a->timing || !b->timing || !a->recorded || !b->recorded) {
    return ERROR_INVALID_HANDLE;
  }
  *milliseconds = static_cast<float>(static_cast<double>(b->at.tv_sec - a->at.tv_sec) * 1e3 +
                                     static_cast<double>(b->at.tv_nsec - a->at.tv_nsec) * 1e-6);
  return 0;
}

int device_capture_begin(void *stream) {
  if (!stream || capturing(stream)) return ERROR_CAPTURE;
  simt::graph *graph = static_cast<simt::graph *>(calloc(1, sizeof(simt::graph)));
  if (!graph) return ERROR_OUT_OF_MEMORY;
  graph->last = &graph->first;
  static_cast<simt::stream *>(stream)->captured = graph;
  return 0;
}

int device_capture_end(void *stream, void **graph) {
  if (!capturing(stream)) return ERROR_CAPTURE_NOT_BEGUN;
  *graph = static_cast<simt::stream *>(stream)->captured;
  static_cast<simt::stream *>(stream)->captured = nullptr;
  return 0;
}

int device_graph_launch(void *graph, void *stream) {
  if (!graph || capturing(stream)) return ERROR_INVALID_VALUE;
  for (simt::work *w = static_cast<simt::graph *>(graph)->first; w; w = w->next) w->run(w);
  return 0;
}

int device_graph_free(void *graph) {
  if (!graph) return 0;
  for (simt::work *w = static_cast<simt::graph *>(graph)->first; w;) {
    simt::work *next = w->next;
    w->free(w);
    w = next;
  }
  free(graph);
  return 0;
}
