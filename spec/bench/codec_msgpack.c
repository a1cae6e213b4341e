// Reads msgpack from a file and prints how many microseconds msgpack-c takes to pack it from its own
// objects and to unpack it to them: the best of several rounds.
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LARGEST = 4 * 1024 * 1024, ROUNDS = 9 };

static double now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void unpack(const char *bytes, size_t size, int count) {
  for (int i = 0; i < count; i++) {
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    if (msgpack_unpack_next(&unpacked, bytes, size, NULL) != MSGPACK_UNPACK_SUCCESS) abort();
    msgpack_unpacked_destroy(&unpacked);
  }
}

static void pack(msgpack_object object, int count) {
  msgpack_sbuffer buffer;
  msgpack_sbuffer_init(&buffer);
  for (int i = 0; i < count; i++) {
    msgpack_packer packer;
    msgpack_sbuffer_clear(&buffer);
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    msgpack_pack_object(&packer, object);
  }
  msgpack_sbuffer_destroy(&buffer);
}

static void report(const char *bytes, size_t size) {
  int count = size > 100000 ? 20 : size > 1000 ? 1000 : 100000;
  double best_pack = 1e18, best_unpack = 1e18;
  msgpack_unpacked unpacked;
  msgpack_unpacked_init(&unpacked);
  if (msgpack_unpack_next(&unpacked, bytes, size, NULL) != MSGPACK_UNPACK_SUCCESS) abort();
  for (int round = 0; round < ROUNDS; round++) {
    double start = now_us();
    pack(unpacked.data, count);
    double middle = now_us();
    unpack(bytes, size, count);
    double end = now_us();
    if (middle - start < best_pack) best_pack = middle - start;
    if (end - middle < best_unpack) best_unpack = end - middle;
  }
  msgpack_unpacked_destroy(&unpacked);
  printf("%.4f %.4f\n", best_pack / count, best_unpack / count);
}

int main(int count, char **arguments) {
  if (count != 2) return 64;
  FILE *file = fopen(arguments[1], "rb");
  char *bytes = malloc(LARGEST);
  if (!file || !bytes) return 1;
  size_t size = fread(bytes, 1, LARGEST, file);
  fclose(file);
  report(bytes, size);
  free(bytes);
  return 0;
}
