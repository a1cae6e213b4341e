// A driver and a compiler for specs of users' kernels on a GPU that is not there: the functions of
// libcuda.so.1 and libnvrtc.so that Farside calls. Each notes in a log that it was called and with
// what; `stub_fail` has one of them fail, or STUB_DRIVER_FAIL="FUNCTION CODE" in the environment,
// where cuLaunchKernel:NAME is the launch of one kernel. "Compiled" is what names the source's kernels.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARAMETERS = 16, FUNCTIONS = 16 };

static char noted[1 << 16];
static char failing[64];
static int failing_code;
static char compiled[4096];
static char failed_log[1024];
static void *current_context;

// A kernel's handle points here.
static struct function {
  char name[64];
  int is_known, shared;
  size_t count, sizes[PARAMETERS];
} functions[FUNCTIONS];

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *format, ...) {
  size_t length = strlen(noted);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(noted + length, sizeof noted - length, format, arguments);
  va_end(arguments);
}

// The code with which a function is to end.
static int end(const char *function) {
  if (strcmp(failing, function)) return 0;
  failing[0] = 0;
  return failing_code;
}

// The function of a name; NULL if there is no place for another one.
static struct function *function_of(const char *name) {
  for (int i = 0; i < FUNCTIONS; i++) {
    struct function *function = &functions[i];
    if (!*function->name) snprintf(function->name, sizeof function->name, "%s", name);
    if (!strcmp(function->name, name)) return function;
  }
  return NULL;
}

// ---- For specs.

const char *stub_log(void) {
  return noted;
}

/// Forgets everything.
void stub_clear(void) {
  noted[0] = failing[0] = failed_log[0] = 0;
}

/// The next call of a function ends with a code.
void stub_fail(const char *function, int code) {
  snprintf(failing, sizeof failing, "%s", function);
  failing_code = code;
}

/// The next compilation ends with a log.
void stub_fail_with_log(const char *log) {
  stub_fail("nvrtcCompileProgram", 6);
  snprintf(failed_log, sizeof failed_log, "%s", log);
}

/// Bytes of each parameter of a kernel.
void stub_parameters(const char *name, int count, const int *bytes) {
  struct function *function = function_of(name);
  function->is_known = 1;
  function->count = (size_t)count;
  for (int i = 0; i < count && i < PARAMETERS; i++) function->sizes[i] = (size_t)bytes[i];
}

/// Bytes of the shared arrays whose sizes are in a kernel's source.
void stub_shared(const char *name, int bytes) {
  function_of(name)->shared = bytes;
}

__attribute__((constructor)) static void read_environment(void) {
  const char *text = getenv("STUB_DRIVER_FAIL");
  if (text) sscanf(text, "%63s %d", failing, &failing_code);
}

// ---- The driver.

int cuInit(unsigned flags) {
  note("cuInit %u\n", flags);
  return end("cuInit");
}

int cuDriverGetVersion(int *version) {
  *version = 13000;
  return end("cuDriverGetVersion");
}

int cuGetErrorString(int status, const char **text) {
  *text = NULL;
  if (status == 209) *text = "no kernel image is available for execution on the device";
  return *text ? 0 : 1;
}

int cuCtxGetCurrent(void **context) {
  *context = current_context;
  return end("cuCtxGetCurrent");
}

int cuCtxSetCurrent(void *context) {
  note("cuCtxSetCurrent\n");
  current_context = context;
  return end("cuCtxSetCurrent");
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
  note("cuDevicePrimaryCtxRetain %d\n", device);
  *context = noted;
  return end("cuDevicePrimaryCtxRetain");
}

int cuThreadExchangeStreamCaptureMode(int *mode) {
  static int now = 1;
  int before = now;
  note("cuThreadExchangeStreamCaptureMode %d\n", *mode);
  now = *mode;
  *mode = before;
  return end("cuThreadExchangeStreamCaptureMode");
}

int cuModuleLoadDataEx(void **module, const void *image, unsigned count, const int *options,
                       void **values) {
  note("cuModuleLoadDataEx %s\n", (const char *)image);
  for (unsigned i = 0; i < count; i++)
    if (options[i] == 5 && !strcmp(failing, "cuModuleLoadDataEx")) strcpy(values[i], "ptxas: no\n");
  *module = noted;
  return end("cuModuleLoadDataEx");
}

int cuModuleGetFunction(void **function, void *module, const char *name) {
  (void)module;
  if (strstr(name, "missing")) return 500;
  *function = function_of(name);
  return end("cuModuleGetFunction");
}

int cuFuncGetParamInfo(const struct function *function, size_t i, size_t *offset, size_t *size) {
  if (!function->is_known) return 801;  // not supported
  if (i >= function->count) return 1;
  *offset = 0;
  for (size_t k = 0; k < i; k++) *offset += function->sizes[k];
  *size = function->sizes[i];
  return 0;
}

int cuFuncGetAttribute(int *value, int attribute, const struct function *function) {
  *value = attribute == 1 ? function->shared : 0;
  return end("cuFuncGetAttribute");
}

int cuFuncSetAttribute(const struct function *function, int attribute, int value) {
  note("cuFuncSetAttribute %s %d %d\n", function->name, attribute, value);
  return end("cuFuncSetAttribute");
}

int cuLaunchKernel(const struct function *function, unsigned grid_x, unsigned grid_y,
                   unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
                   unsigned shared, void *stream, void **arguments, void **extra) {
  note("cuLaunchKernel %s %u,%u,%u %u,%u,%u %u %s", function->name, grid_x, grid_y, grid_z, block_x,
       block_y, block_z, shared, stream ? "stream" : "-");
  for (size_t i = 0; i < function->count; i++) {
    uint64_t value = 0;
    memcpy(&value, arguments[i], function->sizes[i] < 8 ? function->sizes[i] : 8);
    note(" %llx", (unsigned long long)value);
  }
  note("%s\n", extra ? " extra" : "");
  char one[sizeof "cuLaunchKernel:" + sizeof function->name];
  snprintf(one, sizeof one, "cuLaunchKernel:%s", function->name);
  int code = end(one);
  return code ? code : end("cuLaunchKernel");
}

// ---- The compiler.

int nvrtcVersion(int *major, int *minor) {
  *major = 13;
  *minor = 0;
  return end("nvrtcVersion");
}

const char *nvrtcGetErrorString(int status) {
  return status == 5 ? "NVRTC_ERROR_INVALID_OPTION" : "NVRTC_ERROR";
}

int nvrtcGetNumSupportedArchs(int *count) {
  *count = 3;
  return 0;
}

int nvrtcGetSupportedArchs(int *list) {
  list[0] = 75;
  list[1] = 80;
  list[2] = 90;
  return 0;
}

int nvrtcCreateProgram(void **program, const char *source, const char *name, int headers,
                       const char *const *header_texts, const char *const *header_names) {
  int found = 0;
  for (int i = 0; i < headers; i++)
    found += !strcmp(header_names[i], "stdint.h") && strstr(header_texts[i], "#include");
  note("nvrtcCreateProgram %s %zu%s\n", name, strlen(source), found ? " stdint.h" : "");
  *program = compiled;
  return end("nvrtcCreateProgram");
}

int nvrtcDestroyProgram(void **program) {
  note("nvrtcDestroyProgram\n");
  *program = NULL;
  return 0;
}

int nvrtcCompileProgram(void *program, int count, const char *const *options) {
  (void)program;
  compiled[0] = 0;
  for (int i = 0; i < count; i++) {
    if (strstr(options[i], "include-path")) continue;  // depends on the machine
    size_t length = strlen(compiled);
    snprintf(compiled + length, sizeof compiled - length, "%s%s", length ? " " : "", options[i]);
  }
  note("nvrtcCompileProgram %s\n", compiled);
  return end("nvrtcCompileProgram");
}

int nvrtcGetProgramLogSize(void *program, size_t *size) {
  (void)program;
  *size = strlen(failed_log) + 1;
  return 0;
}

int nvrtcGetProgramLog(void *program, char *log) {
  (void)program;
  strcpy(log, failed_log);
  return 0;
}

static int code_size(size_t *size) {
  *size = strlen(compiled) + 1;
  return 0;
}

int nvrtcGetPTXSize(void *program, size_t *size) {
  (void)program;
  return code_size(size);
}

int nvrtcGetPTX(void *program, char *code) {
  (void)program;
  strcpy(code, compiled);
  return 0;
}

int nvrtcGetCUBINSize(void *program, size_t *size) {
  (void)program;
  return code_size(size);
}

int nvrtcGetCUBIN(void *program, char *code) {
  (void)program;
  strcpy(code, compiled);
  return 0;
}
