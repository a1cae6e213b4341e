#include "http_request.h"

#include <http_parser.h>
#include <string.h>
#include <strings.h>

#include "../core/memory.h"

// Copies as much as there is room for; the size grows by all of it.
static void gather(char *text, size_t capacity, size_t *size, const char *bytes, size_t count) {
  size_t room = *size < capacity ? capacity - *size : 0;
  if (room) memcpy(text + *size, bytes, count < room ? count : room);
  *size += count;
}

static int on_url(http_parser *parser, const char *bytes, size_t size) {
  struct http_request *request = parser->data;
  gather(request->path, HTTP_PATH, &request->path_size, bytes, size);
  return 0;
}

static int on_header_field(http_parser *parser, const char *bytes, size_t size) {
  struct http_request *request = parser->data;
  if (request->ends_name) request->name_size = 0;
  request->ends_name = false;
  for (size_t i = 0; i < size; i++, request->name_size++)
    if (request->name_size < sizeof request->name)
      request->name[request->name_size] = (char)(bytes[i] | 0x20);
  return 0;
}

static int on_header_value(http_parser *parser, const char *bytes, size_t size) {
  struct http_request *request = parser->data;
  if (!request->ends_name) {
    request->in_host = request->name_size == 4 && !memcmp(request->name, "host", 4);
    if (request->in_host) request->host_size = 0;
  }
  request->ends_name = true;
  if (!request->in_host) return 0;
  request->has_host = true;
  gather(request->host, HTTP_HOST, &request->host_size, bytes, size);
  return 0;
}

static int on_body(http_parser *parser, const char *bytes, size_t size) {
  (void)bytes, (void)size;
  struct http_request *request = parser->data;
  request->has_body = true;
  return 0;
}

static int on_message_complete(http_parser *parser) {
  struct http_request *request = parser->data;
  request->is_whole = true;
  http_parser_pause(parser, 1);  // what follows is of no interest
  return 0;
}

// A body that is announced is not waited for.
static int on_headers_complete(http_parser *parser) {
  struct http_request *request = parser->data;
  bool is_chunked = (parser->flags & F_CHUNKED) != 0;
  bool is_long = parser->content_length && parser->content_length != UINT64_MAX;
  if (!is_chunked && !is_long && !parser->upgrade) return 0;
  request->has_body = request->is_whole = true;
  http_parser_pause(parser, 1);
  return 0;
}

static const http_parser_settings kSettings = {.on_url = on_url,
                                               .on_header_field = on_header_field,
                                               .on_header_value = on_header_value,
                                               .on_headers_complete = on_headers_complete,
                                               .on_body = on_body,
                                               .on_message_complete = on_message_complete};

void http_request_open(struct http_request *request) {
  *request = (struct http_request){.parser = xcalloc(1, sizeof *request->parser)};
  http_parser_init(request->parser, HTTP_REQUEST);
  request->parser->data = request;
}

void http_request_close(struct http_request *request) {
  free(request->parser);
  request->parser = NULL;
}

// The host, without its port. A page of another site that a browser shows must not get here by
// having its own name point to this machine.
static bool is_this_machine(const struct http_request *request) {
  const char *host = request->host;
  if (!request->has_host) return true;
  if (request->host_size > HTTP_HOST) return false;
  size_t size = strcspn(host, host[0] == '[' ? "]" : ":");
  if (host[0] == '[') return size == 4 && !memcmp(host, "[::1", size);
  if (size == 9 && !strncasecmp(host, "localhost", size)) return true;
  return size > 4 && !memcmp(host, "127.", 4) && strspn(host, "0123456789.") == size;
}

static int judge(const struct http_request *request) {
  if (request->parser->method != HTTP_GET) return 405;
  if (request->has_body) return 400;
  if (!is_this_machine(request)) return 421;
  return request->path_size > HTTP_PATH ? 404 : 200;
}

int http_request_feed(struct http_request *request, const char *bytes, size_t size) {
  size_t room = HTTP_REQUEST_SIZE - request->size;
  bool is_over = size > room;
  if (is_over) size = room;
  request->size += size;
  http_parser_execute(request->parser, &kSettings, bytes, size);
  if (request->is_whole) return judge(request);
  if (HTTP_PARSER_ERRNO(request->parser) == HPE_HEADER_OVERFLOW) return 431;
  if (HTTP_PARSER_ERRNO(request->parser) != HPE_OK || request->parser->upgrade) return 400;
  return is_over || request->size == HTTP_REQUEST_SIZE ? 431 : 0;
}

static const struct {
  int status;
  const char *text, *why;
} statuses[] = {
    {200, "OK", ""},
    {400, "Bad Request", "this is no HTTP request without a body"},
    {404, "Not Found", "there are /metrics and /healthz"},
    {405, "Method Not Allowed", "only GET is answered"},
    {408, "Request Timeout", "the request did not come within 5 s"},
    {421, "Misdirected Request", "the Host has to be localhost or a loopback address"},
    {431, "Request Header Fields Too Large", "a request has 8 KiB at most"},
    {503, "Service Unavailable", "too many connections; try again"},
};

enum { STATUSES = sizeof statuses / sizeof *statuses };

const char *http_request_why(int status) {
  for (size_t i = 0; i < STATUSES; i++)
    if (statuses[i].status == status) return statuses[i].why;
  return "";
}

const char *http_request_status(int status) {
  for (size_t i = 0; i < STATUSES; i++)
    if (statuses[i].status == status) return statuses[i].text;
  return "";
}
