// Feeds any bytes to the reader of HTTP requests, whole and in pieces: it ends in one status, the
// same for both, reads no further than its limit, and asks for no page without a GET.
#include <stdlib.h>
#include <string.h>

#include "../../host/io/http_request.h"

static void expect(bool condition) {
  if (!condition) abort();
}

static int feed(struct http_request *request, const unsigned char *data, size_t size,
                size_t piece) {
  int status = 0;
  http_request_open(request);
  for (size_t at = 0; at < size && !status; at += piece) {
    char *bytes = malloc(piece);  // of its own, so that a read behind its end is seen
    size_t count = size - at < piece ? size - at : piece;
    memcpy(bytes, data + at, count);
    char *exact = realloc(bytes, count ? count : 1);
    status = http_request_feed(request, exact, count);
    free(exact);
  }
  expect(request->size <= HTTP_REQUEST_SIZE);
  expect(memchr(request->path, 0, sizeof request->path));
  expect(memchr(request->host, 0, sizeof request->host));
  http_request_close(request);
  return status;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  struct http_request whole, pieces;
  int status = feed(&whole, data, size, size ? size : 1);
  expect(status == feed(&pieces, data, size, 1));
  expect(!status || *http_request_status(status));
  if (status == 200) {
    size_t start = 0;
    while (start < size && (data[start] == '\r' || data[start] == '\n')) start++;
    expect(size - start > 4 && !memcmp(data + start, "GET ", 4));
    expect(!strcmp(whole.path, pieces.path));
  }
  return 0;
}
