// GPUs that are not there, and fail as they are told: libfarside_cuda.so of the specs. What is
// computed is computed by the CPU library's own code; this stands before it, says how many devices
// there are and lets calls fail, wait or never end, as a script says.
//
// It stands at our own C interface (kernels.h), not below it: libfarside_cuda.so has the CUDA
// runtime linked into it, which reaches the driver through tables that are documented nowhere, so a
// driver of our own is out of reach. What the runtime itself makes of a driver's failure is known
// from a real GPU alone.
//
// The script is the environment variable KERNEL_STUB, or the file it names as @PATH; entries are
// separated by semicolons or white space, the first that fits counts:
//
//   devices=N           devices of this machine, 1 unless said; CUDA_VISIBLE_DEVICES counts too
//   reason=CODE         there are none, for this reason
//   free@D=BYTES        what device D has free; read anew from the file each time
//   FUNCTION@D#N=WHAT   the Nth call of a function in a process (each one without #N) while device D
//                       (any without @D) is the current one; FUNCTION may end in *. WHAT is
//                         CODE        the status that it returns
//                         later:CODE  it returns 0, and whoever waits or asks next gets the code
//                         busy:MS     the device has something to do for so long
//                         hang        it does not return; `endless`: what was launched does not end
//
// A code after which CUDA wants another process is returned by everything from then on.
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernels.h"

namespace {

enum { SCRIPT = 4096, ENTRIES = 64, MOST_DEVICES = 16 };

struct entry {
  const char *key, *what;
  long calls;
};

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
bool is_read;
char script[SCRIPT];
entry entries[ENTRIES];
int entry_count;
int failed, pending;  // codes: of everything from now on; of whoever asks next
int64_t busy_until;   // nanoseconds
thread_local int current;

int64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

// The text of the script in `out`, of SCRIPT bytes.
void read_script(char *out) {
  const char *text = getenv("KERNEL_STUB");
  *out = 0;
  if (!text) return;
  if (*text != '@') {
    snprintf(out, SCRIPT, "%s", text);
    return;
  }
  FILE *file = fopen(text + 1, "re");
  if (!file) return;
  out[fread(out, 1, SCRIPT - 1, file)] = 0;
  fclose(file);
}

void read_entries() {
  if (is_read) return;
  is_read = true;
  read_script(script);
  char *rest = nullptr;
  for (char *word = strtok_r(script, "; \t\n", &rest); word && entry_count < ENTRIES;
       word = strtok_r(nullptr, "; \t\n", &rest)) {
    char *is = strchr(word, '=');
    if (!is) continue;
    *is = 0;
    entries[entry_count++] = {word, is + 1, 0};
  }
}

const char *setting(const char *key) {
  read_entries();
  for (int i = 0; i < entry_count; i++)
    if (!strcmp(entries[i].key, key)) return entries[i].what;
  return nullptr;
}

// ---- devices ----

// The numbers of the devices that this process sees, by their order here.
int visible(int *devices) {
  const char *all = setting("devices"), *list = getenv("CUDA_VISIBLE_DEVICES");
  int count = all ? atoi(all) : 1, seen = 0;
  if (count > MOST_DEVICES) count = MOST_DEVICES;
  if (!list) {
    for (int i = 0; i < count; i++) devices[i] = i;
    return count;
  }
  while (seen < MOST_DEVICES && *list >= '0' && *list <= '9') {
    int number = static_cast<int>(strtol(list, const_cast<char **>(&list), 10));
    if (number >= count) break;  // as CUDA does
    devices[seen++] = number;
    if (*list == ',') list++;
  }
  return seen;
}

int device_here() {
  int devices[MOST_DEVICES], count = visible(devices);
  return current < count ? devices[current] : -1;
}

// ---- what a call comes to ----

bool is_sticky(int code) {
  static const int codes[] = {214, 220, 226, 700, 702, 710, 714, 715,
                              716, 717, 718, 719, 721, 810, 911};
  for (int known : codes)
    if (known == code) return true;
  return false;
}

bool fits(entry *e, const char *name, int device) {
  size_t size = strcspn(e->key, "@#*");
  const char *rest = e->key + size;
  if (strncmp(e->key, name, size) != 0 || (*rest != '*' && name[size])) return false;
  if (*rest == '*') rest++;
  if (*rest == '@' && strtol(rest + 1, const_cast<char **>(&rest), 10) != device) return false;
  e->calls++;
  return *rest != '#' || atol(rest + 1) == e->calls;
}

const char *next_action(const char *name, int device) {
  read_entries();
  const char *found = nullptr;
  for (int i = 0; i < entry_count; i++)
    if (fits(&entries[i], name, device) && !found) found = entries[i].what;
  return found;
}

bool begins(const char *text, const char *with) {
  return !strncmp(text, with, strlen(with));
}

// Names of functions that wait for the device, or ask it.
bool asks(const char *name) {
  return strstr(name, "_synchronize") || strstr(name, "_query");
}

bool is_free_of_it(const char *name) {
  return begins(name, "device_count") || begins(name, "device_kind") ||
         begins(name, "device_error") || begins(name, "device_last_reason") ||
         begins(name, "device_versions") || begins(name, "device_threads");
}

int outcome(int code) {
  if (is_sticky(code)) failed = code;
  return code;
}

// What an action makes of the call; -1: it goes on.
int act(const char *what) {
  if (begins(what, "later:")) {
    pending = atoi(what + 6);
    return -1;
  }
  if (begins(what, "busy:")) {
    busy_until = now() + atol(what + 5) * INT64_C(1000000);
    return -1;
  }
  if (begins(what, "endless")) {
    busy_until = INT64_MAX;
    return -1;
  }
  if (begins(what, "hang")) {
    pthread_mutex_unlock(&lock);
    for (;;) pause();
  }
  return outcome(atoi(what));
}

// The status with which a call ends at once; 0: it goes on to the processor.
int enter(const char *name) {
  if (is_free_of_it(name)) return 0;
  pthread_mutex_lock(&lock);
  const char *what = failed ? nullptr : next_action(name, device_here());
  int status = failed;
  if (what) status = act(what);
  if (status <= 0 && pending && asks(name)) {
    status = outcome(pending);
    pending = 0;
  }
  int64_t until = busy_until;
  pthread_mutex_unlock(&lock);
  if (status > 0) return status;
  if (strstr(name, "_synchronize"))
    while (now() < until) usleep(100);
  return 0;
}

const struct {
  int code;
  const char *name, *text;
} codes[] = {
    {2, "cudaErrorMemoryAllocation", "out of memory"},
    {9, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {35, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {46, "cudaErrorDevicesUnavailable", "CUDA-capable device(s) is/are busy or unavailable"},
    {100, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {101, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {214, "cudaErrorECCUncorrectable", "uncorrectable ECC error encountered"},
    {220, "cudaErrorNvlinkUncorrectable",
     "uncorrectable NVLink error detected during the execution"},
    {700, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {710, "cudaErrorAssert", "device-side assert triggered"},
    {719, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {803, "cudaErrorSystemDriverMismatch",
     "system has unsupported display driver / cuda driver combination"},
};

}  // namespace

// ---- the interface ----

#define OWN(result, name, parameters, values) extern "C" result real_##name parameters;
#define PASS OWN
#define FORWARD OWN
#include "stub_calls.h"
#undef OWN
#undef PASS
#undef FORWARD

const char *device_kind(void) {
  return "cuda";
}

int device_count(int32_t *count) {
  int devices[MOST_DEVICES];
  *count = setting("reason") ? 0 : visible(devices);
  return 0;
}

int device_last_reason(void) {
  int32_t count;
  device_count(&count);
  const char *reason = setting("reason");
  return reason ? atoi(reason) : count ? 0 : 100;
}

int device_versions(int32_t *driver, int32_t *runtime) {
  *driver = 12040;
  *runtime = 12060;
  return 0;
}

int device_describe(int32_t device, struct device_properties *properties) {
  int devices[MOST_DEVICES];
  int status = enter("device_describe");
  if (status) return status;
  if (device < 0 || device >= visible(devices)) return 101;
  *properties = {};
  snprintf(properties->name, sizeof properties->name, "stub of GPU %d", devices[device]);
  properties->memory = UINT64_C(1) << 30;
  properties->major = 9;
  properties->multiprocessors = 1;
  return device_versions(&properties->driver_version, &properties->runtime_version);
}

int device_set(int32_t device) {
  int devices[MOST_DEVICES];
  if (device < 0 || device >= visible(devices)) return 101;
  current = device;
  return enter("device_set");
}

int device_get(int32_t *device) {
  *device = current;
  return enter("device_get");
}

int device_memory(uint64_t *free_bytes, uint64_t *total) {
  int status = enter("device_memory");
  if (status) return status;
  char text[SCRIPT], key[32];
  read_script(text);
  snprintf(key, sizeof key, "free@%d=", device_here());
  const char *found = strstr(text, key);
  *total = UINT64_C(1) << 30;
  *free_bytes = found ? strtoull(found + strlen(key), nullptr, 10) : *total;
  return 0;
}

int device_last_error(void) {
  return failed;
}

const char *device_error_name(int status) {
  for (const auto &known : codes)
    if (known.code == status) return known.name;
  return real_device_error_name(status);
}

const char *device_error_text(int status) {
  for (const auto &known : codes)
    if (known.code == status) return known.text;
  return real_device_error_text(status);
}

static int query(const char *name, int32_t *done) {
  int status = enter(name);
  pthread_mutex_lock(&lock);
  *done = now() >= busy_until;
  pthread_mutex_unlock(&lock);
  return status;
}

int device_stream_query(void *, int32_t *done) {
  return query("device_stream_query", done);
}

int device_event_query(void *, int32_t *done) {
  return query("device_event_query", done);
}

// The rest is the processor's, unless the script says otherwise.
#define OWN(result, name, parameters, values)
#define PASS(result, name, parameters, values)       \
  result name parameters {                           \
    int status = enter(#name);                       \
    return status > 0 ? status : real_##name values; \
  }
#define FORWARD(result, name, parameters, values) \
  result name parameters {                        \
    return real_##name values;                    \
  }
#include "stub_calls.h"
